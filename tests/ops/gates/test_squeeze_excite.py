import numpy as np
import pytest

from visattn import gradcheck
from visattn.check.definitions.gates import squeeze_excite as definition
from visattn.ops.gates import squeeze_excite

LN3 = np.log(3)
X = np.array([[[[1.0, 5], [2, 4]], [[1, 1], [0, 2]]]])                  # means 3 and 1
W1, W2 = np.array([[1.0, -1]]), np.array([[LN3 / 2], [-LN3 / 2]])       # h = 2, b = ±ln 3, s = ¾ and ¼


def test_by_hand():
    y, cache = squeeze_excite.forward(X, W1, W2)
    np.testing.assert_allclose(cache.s, [[3 / 4, 1 / 4]], rtol=1e-15)
    np.testing.assert_allclose(y, [[[[0.75, 3.75], [1.5, 3]], [[0.25, 0.25], [0, 0.5]]]], rtol=1e-15)


def test_gradients_by_hand():
    """dy = 1: ds = (12, 4), db = ds · 3/16 = (9, 3) / 4, dh = da = ¾ ln 3, dz = ± that, a quarter for each pixel."""
    y, cache = squeeze_excite.forward(X, W1, W2)
    dx, dw1, dw2 = squeeze_excite.backward(np.ones_like(y), cache)
    np.testing.assert_allclose(dw2, [[9 / 4 * 2], [3 / 4 * 2]], rtol=1e-14)
    np.testing.assert_allclose(dw1, [[3 / 4 * LN3 * 3, 3 / 4 * LN3 * 1]], rtol=1e-14)
    pooled = 3 / 4 * LN3 / 4
    np.testing.assert_allclose(dx[0, 0], np.full((2, 2), 3 / 4 + pooled), rtol=1e-14)
    np.testing.assert_allclose(dx[0, 1], np.full((2, 2), 1 / 4 - pooled), rtol=1e-14)


def test_without_an_expansion_every_gate_is_one_half(rng):
    (x, w1, w2), _ = squeeze_excite.example(rng)
    y, _ = squeeze_excite.forward(x, w1, 0 * w2)
    np.testing.assert_array_equal(y, x / 2)


def test_gate_ignores_where_things_are(rng):
    (x, w1, w2), _ = squeeze_excite.example(rng)
    places = rng.permutation(x[0, 0].size)
    moved = x.reshape(*x.shape[:2], -1)[:, :, places].reshape(x.shape)
    _, cache = squeeze_excite.forward(x, w1, w2)
    _, cache2 = squeeze_excite.forward(moved, w1, w2)
    np.testing.assert_allclose(cache2.s, cache.s, rtol=1e-13)


def test_channels_may_be_renamed(rng):
    (x, w1, w2), _ = squeeze_excite.example(rng)
    names = rng.permutation(x.shape[1])
    y, _ = squeeze_excite.forward(x, w1, w2)
    y2, _ = squeeze_excite.forward(x[:, names], w1[:, names], w2[names])
    np.testing.assert_allclose(y2, y[:, names], rtol=1e-13)


def test_every_channel_reads_all_channels_of_its_own_image(rng):
    (x, w1, w2), _ = squeeze_excite.example(rng)
    other = x.copy()
    other[1, 2] += 1
    _, cache = squeeze_excite.forward(x, abs(w1), w2)
    _, cache2 = squeeze_excite.forward(other + 0, abs(w1), w2)
    assert (cache2.s[0] == cache.s[0]).all()
    assert (cache2.s[1] != cache.s[1]).all()


def test_a_bottleneck_at_zero_passes_nothing():
    """δ'(0) = 0: where W₁ z is exactly 0, only the direct path is left."""
    y, cache = squeeze_excite.forward(X, np.array([[1.0, -3]]), W2)
    dx, dw1, dw2 = squeeze_excite.backward(np.ones_like(y), cache)
    assert dx.tolist() == np.full(X.shape, 0.5).tolist()
    assert dw1.tolist() == [[0, 0]]
    assert dw2.tolist() == [[0], [0]]


@pytest.mark.parametrize(("shape", "r"), [((2, 3, 1, 1), 3), ((1, 5, 4, 2), 16), ((3, 6, 2, 5), 1)], ids=str)
def test_definition_and_laws_at_other_sizes(rng, shape, r):
    args = (rng.normal(size=shape), *squeeze_excite.init(rng, shape[1], r))
    y, _ = squeeze_excite.forward(*args)
    np.testing.assert_allclose(y, definition.forward(*args), rtol=1e-12)
    gradcheck.check(squeeze_excite, args, {}, rng)


def test_reduction_is_rounded_down_and_leaves_a_channel(rng):
    shapes = {C: squeeze_excite.init(rng, C).w1.shape for C in (64, 480, 40, 8)}
    assert shapes == {64: (4, 64), 480: (30, 480), 40: (2, 40), 8: (1, 8)}
    with pytest.raises(ValueError, match="r must be at least 1; got 0"):
        squeeze_excite.init(rng, 8, r=0)


def test_empty_batch():
    y, cache = squeeze_excite.forward(X[:0], W1, W2)
    dx, dw1, dw2 = squeeze_excite.backward(y, cache)
    assert y.shape == dx.shape == (0, 2, 2, 2)
    assert not dw1.any()
    assert not dw2.any()


def test_refuses_weights_of_other_sizes():
    with pytest.raises(ValueError, match=r"w2 must be .* axis M is 3, but 1 in w1"):
        squeeze_excite.forward(X, W1, np.ones((2, 3)))
