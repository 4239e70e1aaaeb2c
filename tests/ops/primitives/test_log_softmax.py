"""What is true of log softmax in particular."""

import math

import numpy as np
import pytest

from visattn import gradcheck
from visattn.check.definitions.primitives import log_softmax as definition
from visattn.ops import log_softmax, softmax


def test_by_hand():
    y, cache = log_softmax.forward(np.log([[1.0, 2.0, 5.0]]))
    np.testing.assert_allclose(y, np.log([[1 / 8, 2 / 8, 5 / 8]]), rtol=1e-15)
    dx, = log_softmax.backward(np.array([[8.0, 0.0, 0.0]]), cache)          # 8 ([s = 0] - p_s)
    np.testing.assert_allclose(dx, [[7, -2, -5]], rtol=1e-14)


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
def test_is_the_logarithm_of_softmax(rng, axis):
    x = rng.normal(0, 3, size=(2, 3, 5))
    y, cache = log_softmax.forward(x, axis=axis)
    np.testing.assert_allclose(np.exp(y), softmax.forward(x, axis=axis)[0], rtol=1e-13)
    np.testing.assert_allclose(np.exp(y).sum(axis), 1, rtol=1e-14)
    np.testing.assert_allclose(y, definition.forward(x, axis=axis), rtol=1e-13)
    np.testing.assert_allclose(log_softmax.backward(np.cos(x), cache)[0].sum(axis), 0, atol=1e-14)
    gradcheck.check(log_softmax, (x,), {"axis": axis}, rng)


def test_ignores_what_a_row_has_in_common(rng):
    x, shift = rng.normal(size=(4, 5)), rng.normal(size=(4, 1))
    np.testing.assert_allclose(log_softmax.forward(x + shift)[0], log_softmax.forward(x)[0], rtol=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_finite_where_softmax_is_zero(dtype):
    y, cache = log_softmax.forward(np.array([[1000, 0, -1000]], dtype))
    assert y.tolist() == [[0, -1000, -2000]]
    assert log_softmax.backward(np.array([[0, 1, 0]], dtype), cache)[0].tolist() == [[-1, 1, 0]]


def test_what_is_almost_certain_keeps_half_its_digits():
    """log(1 / (1 + e⁻²⁰)) = -e⁻²⁰: 1 + e⁻²⁰ holds eight digits of e⁻²⁰."""
    np.testing.assert_allclose(log_softmax.forward(np.array([20.0, 0.0]))[0][0], -math.exp(-20), rtol=1e-7)


def test_minus_infinity_stays():
    y, cache = log_softmax.forward(np.array([[0.0, -np.inf, 0.0]]))
    np.testing.assert_allclose(y, [[-math.log(2), -np.inf, -math.log(2)]])
    assert log_softmax.backward(np.array([[1.0, 0.0, 0.0]]), cache)[0].tolist() == [[0.5, 0, -0.5]]


def test_no_rows():
    y, cache = log_softmax.forward(np.zeros((0, 4)))
    assert log_softmax.backward(y, cache)[0].shape == (0, 4)


@pytest.mark.parametrize(("shape", "axis", "words"), [
    ((2, 3), 2, "axis must name one of the 2 axes of x; got 2"),
    ((2, 0), 1, "x must have at least one element along axis 1")])
def test_refuses_an_axis_without_elements(shape, axis, words):
    with pytest.raises(ValueError, match=words):
        log_softmax.forward(np.zeros(shape), axis=axis)
