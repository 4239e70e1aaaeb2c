import numpy as np
import pytest

from visattn import gradcheck
from visattn.check.definitions.gates import channel_gate as definition
from visattn.ops.gates import channel_gate

LN3 = np.log(3)
X = np.array([[[[1.0, 5], [2, 4]], [[1, 1], [0, 2]]]])      # means 3, 1; maxima 5, 2
W1 = np.array([[1.0, -1], [-1, 2]])                         # (2, -1) and (3, -1): h = (2, 0), h′ = (3, 0)
W2 = np.array([[LN3 / 5, 9], [-LN3 / 5, 9]])                # b = ±ln 3
TIES = ("first", "even")


def run(x, w1, w2, dy=None, **options):
    y, cache = channel_gate.forward(x, w1, w2, **options)
    return channel_gate.backward(np.ones_like(y) if dy is None else dy, cache)


def test_by_hand():
    y, cache = channel_gate.forward(X, W1, W2)
    assert cache.z.tolist() == [[[3, 1], [5, 2]]]
    np.testing.assert_allclose(cache.s, [[3 / 4, 1 / 4]], rtol=1e-14)
    np.testing.assert_allclose(y, [[[[0.75, 3.75], [1.5, 3]], [[0.25, 0.25], [0, 0.5]]]], rtol=1e-14)


def test_gradients_by_hand():
    """dy = 1: ds = (12, 4), db = ds · 3/16 = (9, 3) / 4, da = (¾ · 2 ln 3 / 5, 0) of both vectors."""
    dx, dw1, dw2 = run(X, W1, W2)
    da = (9 - 3) / 4 * LN3 / 5
    np.testing.assert_allclose(dw2, [[9 / 4 * (2 + 3), 0], [3 / 4 * (2 + 3), 0]], rtol=1e-14)
    np.testing.assert_allclose(dw1, [[da * (3 + 5), da * (1 + 2)], [0, 0]], rtol=1e-14)
    np.testing.assert_allclose(dx[0, 0], 3 / 4 + da / 4 + np.array([[0, da], [0, 0]]), rtol=1e-14)
    np.testing.assert_allclose(dx[0, 1], 1 / 4 - da / 4 - np.array([[0, 0], [0, da]]), rtol=1e-14)


def test_each_vector_has_its_own_mask():
    """Means (-1, 0) close the bottleneck, maxima (1, 0) open it: only the maximum passes a gradient."""
    x = np.array([[[[1.0, -3]], [[0, 0]]]])
    dx, dw1, _ = run(x, np.array([[1.0, 0]]), np.array([[1.0], [0]]))
    s = 1 / (1 + np.exp(-1))
    da = -2 * s * (1 - s)
    np.testing.assert_allclose(dw1, [[da, 0]], rtol=1e-14)
    np.testing.assert_allclose(dx[0, 0, 0], [s + da, s], rtol=1e-14)


def test_without_an_expansion_every_gate_is_one_half(rng):
    (x, w1, w2), _ = channel_gate.example(rng)
    np.testing.assert_array_equal(channel_gate.forward(x, w1, 0 * w2)[0], x / 2)


def test_of_a_constant_channel_mean_and_maximum_are_one(rng):
    """Then the gate is that of squeeze-and-excitation with twice the expansion."""
    from visattn.ops.gates import squeeze_excite

    (x, w1, w2), _ = channel_gate.example(rng)
    x = np.broadcast_to(x[:, :, :1, :1], x.shape)
    np.testing.assert_allclose(channel_gate.forward(x, w1, w2)[0], squeeze_excite.forward(x, w1, 2 * w2)[0], rtol=1e-12)


def test_gate_ignores_where_things_are(rng):
    (x, w1, w2), _ = channel_gate.example(rng)
    places = rng.permutation(x[0, 0].size)
    moved = x.reshape(*x.shape[:2], -1)[:, :, places].reshape(x.shape)
    _, cache = channel_gate.forward(x, w1, w2)
    _, cache2 = channel_gate.forward(moved, w1, w2)
    np.testing.assert_allclose(cache2.s, cache.s, rtol=1e-13)


def test_images_do_not_mix(rng):
    (x, w1, w2), _ = channel_gate.example(rng)
    other = x.copy()
    other[1] += 1
    y, cache = channel_gate.forward(x, w1, w2)
    y2, _ = channel_gate.forward(other, w1, w2)
    assert (y2[0] == y[0]).all()
    dx, _, _ = channel_gate.backward((np.arange(2) == 1)[:, None, None, None] * np.ones_like(y), cache)
    assert not dx[0].any()


def test_of_equal_pixels_the_first_takes_the_maximums_gradient_or_all_share_it():
    """A channel that a ReLU has closed is one tie; dz′ of the other channel's gate comes to it all the same."""
    x = np.array([[[[0.0, 0, 0, 0]], [[1, 4, 4, 3]]]])      # means 0, 3; maxima 0, 4
    w1, w2 = np.array([[1.0, 1]]), np.array([[0.0], [0.1]])
    s = 1 / (1 + np.exp(-0.7))
    da = 12 * s * (1 - s) * 0.1
    first, even = ([da, 0, 0, 0], [0, da, 0, 0]), ([da / 4] * 4, [0, da / 2, da / 2, 0])
    for ties, (closed, equal) in [("first", first), ("even", even)]:
        dx, _, _ = run(x, w1, w2, ties=ties)
        np.testing.assert_allclose(dx[0, 0, 0], 1 / 2 + da / 4 + np.array(closed), rtol=1e-14)
        np.testing.assert_allclose(dx[0, 1, 0], s + da / 4 + np.array(equal), rtol=1e-14)


@pytest.mark.parametrize("ties", TIES)
@pytest.mark.parametrize(("shape", "r"), [((2, 3, 1, 1), 3), ((1, 5, 4, 2), 16), ((3, 6, 2, 5), 1)], ids=str)
def test_definition_and_laws_at_other_sizes(rng, shape, r, ties):
    args = (rng.normal(size=shape), *channel_gate.init(rng, shape[1], r))
    y, _ = channel_gate.forward(*args, ties=ties)
    np.testing.assert_allclose(y, definition.forward(*args, ties=ties), rtol=1e-12)
    gradcheck.check(channel_gate, args, {"ties": ties}, rng)


def test_reduction_is_rounded_down_and_leaves_a_channel(rng):
    shapes = {C: channel_gate.init(rng, C).w2.shape for C in (24, 40, 72, 8)}
    assert shapes == {24: (24, 1), 40: (40, 2), 72: (72, 4), 8: (8, 1)}
    with pytest.raises(ValueError, match="r must be at least 1; got 0"):
        channel_gate.init(rng, 8, r=0)


@pytest.mark.parametrize("ties", TIES)
def test_empty_batch(ties):
    y, cache = channel_gate.forward(X[:0], W1, W2, ties=ties)
    dx, dw1, dw2 = channel_gate.backward(y, cache)
    assert y.shape == dx.shape == (0, 2, 2, 2)
    assert not dw1.any()
    assert not dw2.any()
