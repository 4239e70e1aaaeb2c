"""What is true of the linear map in particular."""

import numpy as np
import pytest

from visattn import gradcheck
from visattn.check.definitions.primitives import linear as definition
from visattn.ops import linear

W, B = np.array([[1.0, 2.0], [0.0, -1.0], [3.0, 0.5]]), np.array([10.0, 20.0, 30.0])


def test_by_hand():
    y, cache = linear.forward(np.array([[2.0, 4.0]]), W, B)
    assert y.tolist() == [[20, 16, 38]]
    dx, dw, db = linear.backward(np.array([[1.0, -1.0, 2.0]]), cache)
    assert dx.tolist() == [[7, 4]]
    assert dw.tolist() == [[2, 4], [-2, -4], [4, 8]]
    assert db.tolist() == [1, -1, 2]


def test_without_a_bias_there_are_two_gradients():
    y, cache = linear.forward(np.array([[2.0, 4.0]]), W)
    assert y.tolist() == [[10, -4, 8]]
    assert len(linear.backward(y, cache)) == 2


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("lead", [(), (4,), (2, 3, 1)])
def test_any_number_of_leading_axes(rng, lead, biased):
    args = rng.normal(size=(*lead, 2)), W, *([B] if biased else [])
    np.testing.assert_allclose(linear.forward(*args)[0], definition.forward(*args), rtol=1e-12)
    gradcheck.check(linear, args, rng=rng)


def test_places_do_not_see_each_other(rng):
    x = rng.normal(size=(3, 4, 2))
    y, _ = linear.forward(x, W, B)
    turned, _ = linear.forward(x[::-1, ::-1], W, B)
    np.testing.assert_allclose(turned, y[::-1, ::-1], rtol=1e-14)


def test_maps_sums_to_sums(rng):
    x, z = rng.normal(size=(2, 5, 2))
    np.testing.assert_allclose(linear.forward(x + 3 * z, W)[0], linear.forward(x, W)[0] + 3 * linear.forward(z, W)[0],
                               rtol=1e-13, atol=1e-13)


def test_no_places_no_gradient():
    y, cache = linear.forward(np.zeros((0, 7, 2)), W, B)
    dx, dw, db = linear.backward(y, cache)
    assert (y.shape, dx.shape) == ((0, 7, 3), (0, 7, 2))
    assert not dw.any()
    assert not db.any()


def test_starts_within_the_bound_of_glorot(rng):
    w, b = linear.init(rng, 30, 20)
    assert w.shape == (20, 30)
    assert 0.9 * (6 / 50) ** 0.5 < abs(w).max() <= (6 / 50) ** 0.5
    assert not b.any()
