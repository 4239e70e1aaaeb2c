import numpy as np
import pytest
from strict import get, put

from visattn import gradcheck
from visattn.check.definitions.gates import spatial_gate as definition
from visattn.ops.gates import spatial_gate

LN3 = np.log(3)
X = np.array([[[[1.0, 5], [2, 4]], [[3, 1], [0, 2]]]])      # means [[2, 3], [1, 3]], maxima [[3, 5], [2, 4]]
TIES = ("first", "even")


def kernel(rows, columns, taps):
    """(1, 2, rows, columns): zero but for taps {(map, row, column): weight}."""
    w = np.zeros((1, 2, rows, columns))
    for place, value in taps.items():
        w[(0, *place)] = value
    return w


def test_by_hand():
    """Mean less half of the maximum, in units of 2 ln 3: [[½, ½], [0, 1]]."""
    y, cache = spatial_gate.forward(X, kernel(1, 1, {(0, 0, 0): 2 * LN3, (1, 0, 0): -LN3}))
    np.testing.assert_allclose(cache.s, [[[[3 / 4, 3 / 4], [1 / 2, 9 / 10]]]], rtol=1e-14)
    np.testing.assert_allclose(y[0, 0], [[0.75, 3.75], [1, 3.6]], rtol=1e-14)
    np.testing.assert_allclose(y[0, 1], [[2.25, 0.75], [0, 1.8]], rtol=1e-14)


def test_a_tap_reads_the_pixel_beside_and_zero_outside():
    _, cache = spatial_gate.forward(X, kernel(3, 5, {(1, 1, 3): LN3}))                # the maximum to the right
    np.testing.assert_allclose(cache.s[0, 0], [[3**5 / (1 + 3**5), 1 / 2], [3**4 / (1 + 3**4), 1 / 2]], rtol=1e-14)
    _, cache = spatial_gate.forward(X, kernel(3, 5, {(0, 0, 2): LN3}))                # the mean above
    np.testing.assert_allclose(cache.s[0, 0], [[1 / 2, 1 / 2], [9 / 10, 27 / 28]], rtol=1e-14)


def test_gradients_by_hand():
    """Two channels, one pixel: means 2, maximum 3; w = 0, so s = ½, ds = 4, da = 1, dd = 0."""
    x = X[:, :, :1, :1]
    y, cache = spatial_gate.forward(x, np.zeros((1, 2, 1, 1)))
    dx, dw = spatial_gate.backward(np.ones_like(y), cache)
    assert dx[0, :, 0, 0].tolist() == [0.5, 0.5]
    assert dw.tolist() == [[[[2]], [[3]]]]
    y, cache = spatial_gate.forward(x, kernel(1, 1, {(0, 0, 0): 3.0, (1, 0, 0): -2}))         # a = 0 again
    dx, dw = spatial_gate.backward(np.ones_like(y), cache)
    assert dx[0, :, 0, 0].tolist() == [0.5 + 3 / 2, 0.5 + 3 / 2 - 2]
    assert dw.tolist() == [[[[2]], [[3]]]]


def test_without_a_kernel_every_gate_is_one_half(rng):
    (x, w), _ = spatial_gate.example(rng)
    np.testing.assert_array_equal(spatial_gate.forward(x, 0 * w)[0], x / 2)


def test_channels_may_be_renamed_the_gate_is_theirs_together(rng):
    (x, w), _ = spatial_gate.example(rng)
    names = rng.permutation(x.shape[1])
    y, cache = spatial_gate.forward(x, w)
    y2, _ = spatial_gate.forward(x[:, names], w)
    np.testing.assert_allclose(y2, y[:, names], rtol=1e-13)
    assert cache.s.shape == (2, 1, 4, 6)


def test_a_moved_image_has_its_gates_moved(rng):
    """Away from the edges, where zeros come in."""
    x, w = np.zeros((1, 3, 9, 11)), rng.normal(size=(1, 2, 3, 5))
    x[:, :, 2:5, 2:6] = rng.normal(size=(1, 3, 3, 4))
    _, cache = spatial_gate.forward(x, w)
    _, cache2 = spatial_gate.forward(np.roll(x, (2, 3), axis=(2, 3)), w)
    np.testing.assert_allclose(cache2.s, np.roll(cache.s, (2, 3), axis=(2, 3)), rtol=1e-13)


def test_images_do_not_mix(rng):
    (x, w), _ = spatial_gate.example(rng)
    other = x.copy()
    other[1] += 1
    y, cache = spatial_gate.forward(x, w)
    assert (spatial_gate.forward(other, w)[0][0] == y[0]).all()
    dx, _ = spatial_gate.backward((np.arange(2) == 1)[:, None, None, None] * np.ones_like(y), cache)
    assert not dx[0].any()


def test_of_equal_channels_the_first_takes_the_maximums_gradient_or_all_share_it():
    """A pixel that a ReLU has closed is one tie."""
    x = np.array([0.0, 0, 0, 1, 4, 4]).reshape(2, 3, 1, 1)
    for ties, shares in [("first", [[1, 0, 0], [0, 1, 0]]), ("even", [[1 / 3] * 3, [0, 1 / 2, 1 / 2]])]:
        y, cache = spatial_gate.forward(x, kernel(1, 1, {(1, 0, 0): LN3}), ties=ties)
        dx, _ = spatial_gate.backward(np.array([[1.0, 1, 1], [0, 0, 1]]).reshape(x.shape), cache)
        s = 81 / 82
        dmax = 4 * s * (1 - s) * LN3
        np.testing.assert_allclose(y[1, :, 0, 0], [s, 4 * s, 4 * s], rtol=1e-13)
        np.testing.assert_allclose(dx[0, :, 0, 0], [1 / 2] * 3, rtol=1e-14)         # ds = Σ dy x = 0
        np.testing.assert_allclose(dx[1, :, 0, 0], np.array([0, 0, s]) + dmax * np.array(shares[1]), rtol=1e-12)
    _, cache = spatial_gate.forward(x, kernel(1, 1, {}), ties="first")
    assert cache.wins[:, :, 0, 0].tolist() == [[True, False, False], [False, True, False]]
    _, cache = spatial_gate.forward(x, kernel(1, 1, {}), ties="even")
    assert cache.wins[:, :, 0, 0].tolist() == [[True, True, True], [False, True, True]]


@pytest.mark.parametrize("ties", TIES)
@pytest.mark.parametrize(("shape", "size"),
                         [((2, 3, 1, 1), (7, 7)), ((1, 1, 4, 2), (1, 3)), ((2, 3, 3, 5), (7, 1))], ids=str)
def test_definition_and_laws_at_other_sizes(rng, shape, size, ties):
    args = rng.normal(size=shape), rng.normal(size=(1, 2, *size))
    y, _ = spatial_gate.forward(*args, ties=ties)
    np.testing.assert_allclose(y, definition.forward(*args, ties=ties), rtol=1e-12)
    gradcheck.check(spatial_gate, args, {"ties": ties}, rng)


def test_both_rules_run_on_the_strict_double(rng):
    (x, w), _ = spatial_gate.example(rng)
    for ties in TIES:
        y, cache = spatial_gate.forward(x, w, ties=ties)
        y2, cache2 = spatial_gate.forward(put(x), put(w), ties=ties)
        for mine, theirs in zip(spatial_gate.backward(y, cache), spatial_gate.backward(y2, cache2), strict=True):
            np.testing.assert_array_equal(get(theirs), mine)


def test_the_kernel_is_seven_by_seven_unless_told(rng):
    assert spatial_gate.init(rng).w.shape == (1, 2, 7, 7)
    assert spatial_gate.init(rng, 3).w.shape == (1, 2, 3, 3)


def test_refuses_a_kernel_without_a_middle():
    with pytest.raises(ValueError, match=r"w must have an odd number of rows and columns; got \(3, 4\)"):
        spatial_gate.forward(X, np.zeros((1, 2, 3, 4)))
    with pytest.raises(ValueError, match=r"w must be .* axes \(1, 2, Kh, Kw\)"):
        spatial_gate.forward(X, np.zeros((1, 3, 3, 3)))


@pytest.mark.parametrize("ties", TIES)
def test_empty_batch(ties):
    y, cache = spatial_gate.forward(X[:0], np.ones((1, 2, 3, 3)), ties=ties)
    dx, dw = spatial_gate.backward(y, cache)
    assert y.shape == dx.shape == (0, 2, 2, 2)
    assert not dw.any()
