"""What is true of the logistic function in particular."""

import math

import numpy as np
import pytest

from visattn import gradcheck
from visattn.ops import sigmoid


def test_by_hand():
    y, cache = sigmoid.forward(np.array([0.0, math.log(3), -math.log(3)]))
    np.testing.assert_allclose(y, [1 / 2, 3 / 4, 1 / 4], rtol=1e-15)
    np.testing.assert_allclose(sigmoid.backward(np.ones(3), cache)[0], [1 / 4, 3 / 16, 3 / 16], rtol=1e-15)


def test_its_two_sides_sum_to_one(rng):
    x = rng.normal(0, 10, size=100)
    np.testing.assert_allclose(sigmoid.forward(x)[0] + sigmoid.forward(-x)[0], 1, rtol=1e-15)


@pytest.mark.parametrize(("x", "y"), [
    (-40.0, 4.248354255291589e-18), (-500.0, 7.124576406741286e-218), (-700.0, 9.859676543759770e-305)])
def test_keeps_every_digit_where_it_is_tiny(x, y):
    """σ(-40) = e⁻⁴⁰ to 17 digits; ½ (1 + tanh(-20)) is 0."""
    np.testing.assert_allclose(sigmoid.forward(np.array(x))[0], y, rtol=5e-16)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_does_not_overflow(dtype):
    """Overflow would be a warning, and warnings fail tests."""
    y, cache = sigmoid.forward(np.array([-1e30, -1000, 1000, 1e30, -np.inf, np.inf], dtype))
    assert y.tolist() == [0, 0, 1, 1, 0, 1]
    assert not sigmoid.backward(np.ones_like(y), cache)[0].any()


def test_slope_is_even_and_largest_in_the_middle(rng):
    x = np.sort(rng.normal(size=50))
    slope = sigmoid.backward(np.ones(101), sigmoid.forward(np.concatenate([-x, [0], x]))[1])[0]
    np.testing.assert_allclose(slope[:50], slope[51:], rtol=1e-14)
    assert slope.max() == slope[50] == 0.25


@pytest.mark.parametrize("shape", [(), (1,), (0, 3), (2, 0)])
def test_any_shape(rng, shape):
    y, cache = sigmoid.forward(np.asarray(rng.normal(size=shape)))
    assert y.shape == sigmoid.backward(np.ones_like(y), cache)[0].shape == shape
    if y.size:
        gradcheck.check(sigmoid, (np.asarray(rng.normal(size=shape)),), rng=rng)
