import numpy as np
import pytest

from visattn import gradcheck
from visattn.check.definitions.gates import efficient_channel as definition
from visattn.ops.gates import efficient_channel

LN3 = np.log(3)
X = np.array([[[[3.0, 1]], [[0, 0]], [[-1, -1]]]])                  # means 2, 0, -1


def gates(z, w):
    """The gates of channels of one pixel each."""
    return efficient_channel.forward(np.array(z)[None, :, None, None], np.array(w))[1].s[0]


def test_by_hand():
    """a = (w₁ 2 + w₂ 0, w₀ 2 + w₁ 0 - w₂, w₀ 0 - w₁): beyond the first and the last channel there is zero."""
    y, cache = efficient_channel.forward(X, np.array([LN3 / 4, LN3 / 2, LN3 * 1.5]))
    np.testing.assert_allclose(cache.s, [[3 / 4, 1 / 4, 1 / (1 + 3**0.5)]], rtol=1e-14)
    np.testing.assert_allclose(y[0, :, 0], [[9 / 4, 3 / 4], [0, 0], [-1 / (1 + 3**0.5)] * 2], rtol=1e-14)


def test_gradients_by_hand():
    """All taps zero: s = ½, ds = Σ dy x = (4, 0, -2), da = ds / 4 = (1, 0, -½)."""
    y, cache = efficient_channel.forward(X, np.zeros(3))
    dx, dw = efficient_channel.backward(np.ones_like(y), cache)
    assert dw.tolist() == [0 * 2 - 0.5 * 0, 1 * 2 + 0 * 0 - 0.5 * -1, 1 * 0 + 0 * -1]
    assert dx.tolist() == np.full(X.shape, 0.5).tolist()

    far = np.array([0, 0, 0, 0, 4.0])                       # reads two channels on: a = (-4, 0, 0)
    y, cache = efficient_channel.forward(X, far)
    dx, dw = efficient_channel.backward(np.ones_like(y), cache)
    s = cache.s[0, 0]
    da = 4 * s * (1 - s)
    np.testing.assert_allclose(dw, [-0.5 * 2, 0, da * 2 - 0.5 * -1, 0, da * -1], rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(dx[0, :, 0, 0], [s, 1 / 2, 1 / 2 + 4 * da / 2], rtol=1e-14)


def test_one_tap_reads_its_own_channel_alone():
    np.testing.assert_allclose(gates([1.0, -1, 0], [LN3]), [3 / 4, 1 / 4, 1 / 2], rtol=1e-14)


def test_the_taps_are_not_turned_around():
    """The last tap reads the next channel, as in every library: a cross-correlation."""
    np.testing.assert_allclose(gates([0, 1.0, 0], [0.0, 0, LN3]), [3 / 4, 1 / 2, 1 / 2], rtol=1e-14)


def test_renaming_channels_matters_but_shifting_them_does_not(rng):
    """Away from the ends, where zeros come in."""
    z, w = rng.normal(size=9), rng.normal(size=3)
    np.testing.assert_allclose(gates(np.roll(z, 2), w)[3:8], gates(z, w)[1:6], rtol=1e-13)
    assert np.abs(gates(z[::-1], w)[::-1] - gates(z, w)).max() > 0.01


def test_gate_ignores_where_things_are(rng):
    (x, w), _ = efficient_channel.example(rng)
    _, cache = efficient_channel.forward(x, w)
    _, cache2 = efficient_channel.forward(x[:, :, ::-1, ::-1], w)
    np.testing.assert_allclose(cache2.s, cache.s, rtol=1e-13)


def test_a_channel_reads_its_neighbours_and_no_other_image(rng):
    (x, w), _ = efficient_channel.example(rng)
    other = x.copy()
    other[1, 4] += 1
    _, cache = efficient_channel.forward(x, w)
    _, cache2 = efficient_channel.forward(other, w)
    assert np.argwhere(cache2.s != cache.s).tolist() == [[1, 3], [1, 4], [1, 5]]


@pytest.mark.parametrize(("C", "K"), [(1, 1), (2, 5), (5, 1), (4, 7)])
def test_definition_and_laws_at_other_sizes(rng, C, K):
    args = rng.normal(size=(2, C, 3, 4)), rng.normal(size=K)
    y, _ = efficient_channel.forward(*args)
    np.testing.assert_allclose(y, definition.forward(*args), rtol=1e-12)
    gradcheck.check(efficient_channel, args, {}, rng)


def test_kernel_size_is_odd_and_grows_with_the_channels(rng):
    sizes = {1: 1, 4: 1, 7: 1, 8: 3, 64: 3, 128: 5, 512: 5, 1024: 5, 2048: 7}
    assert {C: efficient_channel.kernel_size(C) for C in sizes} == sizes
    assert efficient_channel.kernel_size(64, gamma=1, b=1) == 7
    assert {C: len(efficient_channel.init(rng, C).w) for C in sizes} == sizes
    with pytest.raises(ValueError, match="C must be at least 1; got 0"):
        efficient_channel.kernel_size(0)


def test_refuses_an_even_number_of_taps():
    with pytest.raises(ValueError, match="w must have an odd number of taps; got 4"):
        efficient_channel.forward(X, np.zeros(4))


def test_empty_batch():
    y, cache = efficient_channel.forward(X[:0], np.ones(3))
    dx, dw = efficient_channel.backward(y, cache)
    assert y.shape == dx.shape == (0, 3, 1, 2)
    assert dw.tolist() == [0, 0, 0]
