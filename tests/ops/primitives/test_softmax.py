"""What is true of softmax in particular."""

import math

import numpy as np
import pytest

from visattn import gradcheck
from visattn.check.definitions.primitives import softmax as definition
from visattn.ops import softmax


def test_by_hand():
    p, cache = softmax.forward(np.log([[1.0, 2.0, 5.0]]))
    np.testing.assert_allclose(p, [[1 / 8, 2 / 8, 5 / 8]], rtol=1e-15)
    dx, = softmax.backward(np.array([[8.0, 0.0, 0.0]]), cache)          # p₀ ([s = 0] - p_s) · 8
    np.testing.assert_allclose(dx, [[7 / 8, -2 / 8, -5 / 8]], rtol=1e-15)


def test_masked_by_hand():
    p, cache = softmax.forward(np.log([[1.0, 2.0, 5.0]]), mask=np.array([[True, False, True]]))
    np.testing.assert_allclose(p, [[1 / 6, 0, 5 / 6]], rtol=1e-15)
    dx, = softmax.backward(np.array([[6.0, 100.0, 0.0]]), cache)
    np.testing.assert_allclose(dx, [[5 / 6, 0, -5 / 6]], rtol=1e-15)


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
def test_sums_to_one_along_its_axis(rng, axis):
    x = rng.normal(0, 3, size=(2, 3, 5))
    p, cache = softmax.forward(x, axis=axis)
    np.testing.assert_allclose(p.sum(axis), 1, rtol=1e-15)
    np.testing.assert_allclose(p, definition.forward(x, axis=axis), rtol=1e-13)
    dx, = softmax.backward(np.cos(x), cache)
    np.testing.assert_allclose(dx.sum(axis), 0, atol=1e-15)
    gradcheck.check(softmax, (x,), {"axis": axis}, rng)


def test_ignores_what_a_row_has_in_common(rng):
    x, shift = rng.normal(size=(4, 5)), rng.normal(size=(4, 1))
    np.testing.assert_allclose(softmax.forward(x + shift)[0], softmax.forward(x)[0], rtol=1e-13)
    exact = np.array([[1.0, 2.0, 4.0]])
    np.testing.assert_array_equal(softmax.forward(exact + 1e6)[0], softmax.forward(exact)[0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_does_not_overflow(dtype):
    x = np.array([[1000, 999, -1000], [-1e5, -1e5, -1e5 - 1]], dtype)
    a, b = 1 / (1 + math.exp(-1)), 1 / (2 + math.exp(-1))
    np.testing.assert_allclose(softmax.forward(x)[0], [[a, 1 - a, 0], [b, b, 1 - 2 * b]], rtol=1e-6)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf, -np.inf, 1e30])
def test_a_row_with_nothing_gives_exactly_zero(rng, value):
    """Whatever its values and the gradient that arrives: decided on the mask."""
    x, dp = rng.normal(size=(3, 4)), rng.normal(size=(3, 4))
    mask = np.array([[True] * 4, [False] * 4, [True, False, True, False]])
    plain, plain_cache = softmax.forward(x, mask=mask)
    plain_dx, = softmax.backward(dp, plain_cache)
    x[~mask] = dp[~mask] = value
    p, cache = softmax.forward(x, mask=mask)
    dx, = softmax.backward(dp, cache)
    assert p[1].tolist() == dx[1].tolist() == [0] * 4
    np.testing.assert_array_equal(p, plain)
    np.testing.assert_array_equal(dx, plain_dx)


def test_a_masked_element_may_be_the_largest():
    """Also where what is left lies below any number that could stand for -∞."""
    for x in (np.array([[1e9, 0.0, 0.0]]), np.array([[0.0, -1e30, -1e30]])):
        p, _ = softmax.forward(x, mask=np.array([[False, True, True]]))
        assert p.tolist() == [[0, 0.5, 0.5]]


def test_masking_nothing_is_no_mask(rng):
    x = rng.normal(size=(3, 4))
    np.testing.assert_array_equal(softmax.forward(x, mask=np.ones((3, 4), bool))[0], softmax.forward(x)[0])


@pytest.mark.parametrize("shape", [(5,), (1, 5), (3, 1), (2, 3, 5), (1, 1, 1)])
@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_a_mask_is_broadcast(rng, shape, axis):
    x, mask = rng.normal(size=(2, 3, 5)), rng.random(shape) < 0.6
    p, _ = softmax.forward(x, axis=axis, mask=mask)
    np.testing.assert_allclose(p, definition.forward(x, axis=axis, mask=mask), rtol=1e-13)
    full, _ = softmax.forward(x, axis=axis, mask=np.broadcast_to(mask, x.shape))
    np.testing.assert_array_equal(p, full)
    gradcheck.check(softmax, (x,), {"axis": axis, "mask": mask}, rng)


def test_minus_infinity_is_a_weight_of_zero():
    """By value, not by mask: a row of nothing but -∞ is NaN."""
    p, _ = softmax.forward(np.array([[0.0, -np.inf]]))
    assert p.tolist() == [[1, 0]]
    with np.errstate(invalid="ignore"):
        assert np.isnan(softmax.forward(np.full((1, 2), -np.inf))[0]).all()


def test_rows_do_not_see_each_other(rng):
    x = rng.normal(size=(3, 4))
    p, _ = softmax.forward(x)
    x[1] = np.nan
    np.testing.assert_array_equal(softmax.forward(x)[0][[0, 2]], p[[0, 2]])


def test_no_rows(rng):
    p, cache = softmax.forward(np.zeros((0, 4)), mask=np.zeros((0, 4), bool))
    assert softmax.backward(p, cache)[0].shape == (0, 4)


@pytest.mark.parametrize(("shape", "axis", "words"), [
    ((2, 3), 2, "axis must name one of the 2 axes of x; got 2"), ((2, 3), -3, "axis must name one of the 2 axes"),
    ((2, 0), 1, "x must have at least one element along axis 1"), ((), 0, "axis must name one of the 0 axes")])
def test_refuses_an_axis_without_elements(shape, axis, words):
    with pytest.raises(ValueError, match=words):
        softmax.forward(np.zeros(shape), axis=axis)
