"""What is true of spatial self-attention in particular; and the five steps, carried out as they stand."""

import numpy as np
import pytest

from visattn.ops import spatial_self_attention
from visattn.ops._tokens import as_image, as_tokens

H, W, C, D = 3, 4, 2, 5


@pytest.fixture
def steps(rng):
    """Steps 1 and 2, as they stand: an image (H, W, C), and two convolutions of it, (H, W, D)."""
    x, w_k, w_q = rng.normal(size=(H, W, C)), rng.normal(size=(C, D)), rng.normal(size=(C, D))
    return x, x @ w_k, x @ w_q


def softmax(a, axis):
    e = np.exp(a - a.max())
    return e / e.sum(axis=axis, keepdims=True)


def test_step_3_does_not_multiply_arrays_of_three_axes(steps):
    _, fk, fq = steps
    with pytest.raises(ValueError, match="matmul"):
        fk.T @ fq


def test_step_3_on_pixels_in_one_line_is_channels_against_channels(steps):
    _, fk, fq = (a.reshape(H * W, -1) for a in steps)
    assert (fk.T @ fq).shape == (D, D)                          # promised: (H·W, H·W)
    assert (fq @ fk.T).shape == (H * W, H * W)


def test_step_3_needs_as_many_channels_of_keys_as_of_queries(rng):
    with pytest.raises(ValueError, match="matmul"):
        rng.normal(size=(H * W, D)) @ rng.normal(size=(H * W, D + 1)).T


@pytest.mark.parametrize(("axis", "is_a_mean"), [(1, True), (0, False), ((0, 1), False)],
                         ids=["over the keys", "over the queries", "over all pairs"])
def test_step_3_is_a_mean_only_where_the_softmax_runs_over_the_keys(steps, axis, is_a_mean):
    _, fk, fq = (a.reshape(H * W, -1) for a in steps)
    p = softmax(fq @ fk.T, axis)
    assert np.allclose(p @ np.ones((H * W, C)), 1) == is_a_mean


def test_step_3_without_a_scale_gives_one_key_nearly_all_where_channels_are_many(rng):
    """Scores of D channels vary by √D: undivided, the largest weight of 100 grows with D towards 1."""
    def largest(channels, scale):
        q, k = rng.normal(size=(2, 100, channels))
        return softmax(scale * q @ k.T, 1).max(1).mean()

    assert largest(1, 1) < 0.15
    assert largest(512, 1) > 0.85
    assert largest(512, 512**-0.5) < 0.15


def test_step_3_with_the_keys_in_the_rows_makes_the_last_axis_the_queries(steps):
    """F_kᵀ F_q with the channels in the rows is pixels against pixels, but transposed: "softmax over the last axis",
    the habit, then gives every key one unit to hand out, and the weights that a query gives do not sum to one."""
    _, fk, fq = (a.reshape(H * W, -1).T for a in steps)         # (D, P)
    p = softmax(fk.T @ fq, -1)                                  # keys × queries
    assert p.shape == (H * W, H * W)
    assert np.abs(p.sum(0) - 1).max() > 0.1                     # a query's weights
    np.testing.assert_allclose(p.sum(1), 1)                     # a key's


def test_step_4_does_not_multiply_element_by_element(steps):
    x, fk, fq = steps
    a = np.einsum("hwd,ijd->hwij", fq, fk)
    p = softmax(a, (2, 3))
    with pytest.raises(ValueError, match="broadcast"):
        p * x


def test_step_4_fits_by_accident_where_all_sizes_are_equal():
    assert (np.ones((3, 3, 3, 3)) * np.ones((3, 3, 3))).shape == (3, 3, 3, 3)         # promised: (3, 3, 3)


def test_the_mended_steps_are_the_operator(steps, rng):
    x, fk, fq = steps
    w_o = rng.normal(size=(6, C))
    p = softmax(fq.reshape(H * W, D) @ fk.reshape(H * W, D).T, 1)
    y = (p @ x.reshape(H * W, C) @ w_o.T).reshape(H, W, 6)
    w_k, w_q = (np.linalg.lstsq(x.reshape(-1, C), f.reshape(-1, D), rcond=None)[0].T for f in (fk, fq))
    got, cache = spatial_self_attention.forward(x.transpose(2, 0, 1)[None], w_k, w_q, w_o)
    np.testing.assert_allclose(got[0].transpose(1, 2, 0), y, rtol=1e-10)
    np.testing.assert_allclose(cache.p[0], p, rtol=1e-10)


def test_an_image_of_one_colour_stays_that_colour(rng):
    x = np.ones((1, C, H, W)) * np.array([2.0, -3.0])[None, :, None, None]
    y, cache = spatial_self_attention.forward(x, rng.normal(size=(D, C)), rng.normal(size=(D, C)), np.eye(C))
    np.testing.assert_allclose(y, x, rtol=1e-14)
    np.testing.assert_allclose(cache.p, 1 / (H * W), rtol=1e-14)


def test_a_value_known_by_hand():
    """Two pixels, 0 and ln 3; q k = x_t x_s: pixel 0 sees both equally, pixel 1 weighs them 1 : 3^ln 3."""
    x = np.array([0, np.log(3)]).reshape(1, 1, 1, 2)
    one = np.ones((1, 1))
    y, _ = spatial_self_attention.forward(x, one, one, one)
    weight = 3 ** np.log(3)
    np.testing.assert_allclose(y.ravel(), [np.log(3) / 2, np.log(3) * weight / (1 + weight)], rtol=1e-14)


def test_moving_the_pixels_moves_the_answers_and_nothing_else(rng):
    (x, *params), _ = spatial_self_attention.example(rng)
    y, _ = spatial_self_attention.forward(x, *params)
    rolled, _ = spatial_self_attention.forward(np.roll(x, (1, 2), (2, 3)), *params)
    np.testing.assert_allclose(rolled, np.roll(y, (1, 2), (2, 3)), rtol=1e-12)


def test_pixels_stand_row_after_row(rng):
    x = rng.normal(size=(2, C, H, W))
    assert np.array_equal(as_tokens(x)[1, 1 * W + 2], x[1, :, 1, 2])
    assert np.array_equal(as_image(as_tokens(x), x), x)
