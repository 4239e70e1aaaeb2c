import numpy as np
import pytest

from visattn import gradcheck
from visattn.check.definitions.sampling import glimpse as definition
from visattn.ops.sampling import glimpse

X = np.arange(1.0, 25).reshape(1, 1, 4, 6)                  # rows of 6: 1 … 6, 7 … 12, 13 … 18, 19 … 24


def look(x, loc, **options):
    return glimpse.forward(x, np.array([loc], x.dtype), **options)[0][0]


def test_by_hand():
    fine, coarse = look(X, (0, 0), size=2, patches=2)[:, 0].tolist()
    assert fine == [[9, 10], [15, 16]]
    assert coarse == [[(2 + 3 + 8 + 9) / 4, (4 + 5 + 10 + 11) / 4], [(14 + 15 + 20 + 21) / 4, (16 + 17 + 22 + 23) / 4]]


def test_location_is_x_then_y_and_one_is_an_edge():
    for loc, patch in [
        ((1, -1), [[0, 0], [6, 0]]),                        # right, top: one pixel is inside
        ((-1, 1), [[0, 19], [0, 0]]),
        ((2 / 3, -0.5), [[5, 6], [11, 12]]),                # two pixels of 6 to the right, one of 4 up
    ]:
        np.testing.assert_allclose(look(X, loc, size=2)[0, 0], patch, rtol=1e-12)


def test_between_pixels_it_interpolates():
    np.testing.assert_allclose(look(X, (1 / 6, 0), size=2)[0, 0], [[9.5, 10.5], [15.5, 16.5]], rtol=1e-12)
    np.testing.assert_allclose(look(X, (1 / 6, 1 / 4), size=1)[0, 0], [[16]], rtol=1e-12)      # centre on centre


def test_looking_to_the_right_is_moving_the_picture_to_the_left(rng):
    x = rng.normal(size=(1, 2, 8, 10))
    moved = np.zeros_like(x)
    moved[..., :-3] = x[..., 3:]
    options = {"size": 2, "patches": 2}
    np.testing.assert_allclose(look(x, (0.1 + 3 * 2 / 10, 0.3), **options), look(moved, (0.1, 0.3), **options),
                               rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("factor", [2, 3])
def test_where_it_meets_whole_pixels_it_is_the_cut_of_the_paper(rng, factor):
    """Cut g s^k × g s^k pixels, zeros outside, and average blocks."""
    H, W, g, K = 8, 12, 2, 2
    x = rng.normal(size=(1, 3, H, W))
    room = g * factor ** (K - 1)
    padded = np.pad(x, ((0, 0), (0, 0), (room, room), (room, room)))
    for row, column in [(4, 6), (0, 0), (8, 3), (1, 12)]:   # edges of pixels, from the edge of the image
        y = look(x, (2 * column / W - 1, 2 * row / H - 1), size=g, patches=K, factor=factor)
        for k in range(K):
            s = factor**k
            top, left = row + room - g * s // 2, column + room - g * s // 2
            cut = padded[0, :, top:top + g * s, left:left + g * s]
            np.testing.assert_allclose(y[k], cut.reshape(3, g, s, g, s).mean((2, 4)), rtol=1e-12, atol=1e-13)


def test_every_patch_of_a_constant_image_is_constant():
    y = look(np.full((1, 1, 9, 9), 5.0), (0.1, -0.1), size=2, patches=2, factor=3)
    np.testing.assert_allclose(y, 5, rtol=1e-12)


def test_gradients_by_hand():
    """Every pixel under the patch weighs 1 / s²; a step of x by one changes the sum of 2 × 2 by 4, W / 2 = 3 pixels."""
    y, cache = glimpse.forward(X, np.zeros((1, 2)), size=2)
    dx, dloc = glimpse.backward(np.ones_like(y), cache)
    np.testing.assert_allclose(dx[0, 0], np.pad(np.ones((2, 2)), ((1, 1), (2, 2))), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(dloc, [[4 * 1 * 3, 4 * 6 * 2]], rtol=1e-12)

    y, cache = glimpse.forward(X, np.zeros((1, 2)), size=2, patches=2)
    dx, _ = glimpse.backward(np.ones_like(y), cache)
    expected = np.pad(np.full((4, 4), 1 / 4), ((0, 0), (1, 1))) + np.pad(np.ones((2, 2)), ((1, 1), (2, 2)))
    np.testing.assert_allclose(dx[0, 0], expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("options", [{"size": 3}, {"size": 2, "patches": 3}, {"size": 1, "patches": 3, "factor": 3}],
                         ids=str)
def test_definition_and_laws(rng, options):
    x, loc = rng.normal(size=(2, 3, 5, 7)), rng.uniform(-1.3, 1.3, size=(2, 2))
    y, _ = glimpse.forward(x, loc, **options)
    np.testing.assert_allclose(y, definition.forward(x, loc, **options), rtol=1e-12, atol=1e-13)
    gradcheck.check(glimpse, (x, loc), options, rng)


def test_the_cache_says_where_it_looked():
    _, cache = glimpse.forward(X, np.array([[0.5, 0]]), size=2, patches=2)
    fine, coarse = (c.grid[0, 0, :, 0] for c in cache.looks)
    np.testing.assert_allclose(fine, 0.5 + np.array([-1, 1]) / 6)
    np.testing.assert_allclose(coarse, 0.5 + np.array([-3, -1, 1, 3]) / 6)


def test_far_away_there_is_nothing():
    y, cache = glimpse.forward(X, np.array([[9.0, 9]]), size=2, patches=2)
    assert not y.any()
    assert not any(g.any() for g in glimpse.backward(np.ones_like(y), cache))


def test_a_location_that_is_nan_spoils_its_own_glimpse_alone():
    y, cache = glimpse.forward(np.repeat(X, 2, axis=0), np.array([[np.nan, 0], [0, 0]]), size=2, patches=2)
    assert np.isnan(y[0]).all()
    assert np.isfinite(y[1]).all()
    dx, dloc = glimpse.backward(np.ones_like(y), cache)
    assert np.isfinite(dx).all()
    assert np.isfinite(dloc[1]).all()


def test_empty_batch():
    y, cache = glimpse.forward(X[:0], np.zeros((0, 2)), size=2, patches=2)
    assert y.shape == (0, 2, 1, 2, 2)
    assert [g.shape for g in glimpse.backward(y, cache)] == [(0, 1, 4, 6), (0, 2)]


@pytest.mark.parametrize(("options", "message"), [
    ({"size": 0}, "size must be at least 1; got 0"),
    ({"size": 2, "patches": 0}, "patches must be at least 1; got 0"),
    ({"size": 2, "factor": 1}, "factor must be at least 2; got 1"),
    ({"size": 13}, "be at most 12, which sees all from anywhere; got size 13, factor 2, patches 1"),
    ({"size": 2, "patches": 10**6}, "be at most 12"),
])
def test_refuses_a_retina_that_makes_no_sense(options, message):
    with pytest.raises(ValueError, match=message):
        look(X, (0, 0), **options)


def test_backward_refuses_patches_of_another_size():
    y, cache = glimpse.forward(X, np.zeros((1, 2)), size=2, patches=2)
    for wrong in (y[:, :1], y[..., :1], np.zeros((1, 2, 1, 4, 4))):
        with pytest.raises(ValueError, match="dy must have 2 patches of 2 by 2; got shape"):
            glimpse.backward(wrong, cache)
