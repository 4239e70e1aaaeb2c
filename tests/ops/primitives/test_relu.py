"""What is true of the rectified linear unit in particular."""

import numpy as np
import pytest

from visattn.ops import relu


def test_by_hand():
    y, cache = relu.forward(np.array([-2.0, 3.0, 0.5]))
    assert y.tolist() == [0, 3, 0.5]
    assert relu.backward(np.array([5.0, 7.0, -1.0]), cache)[0].tolist() == [0, 7, -1]


def test_nothing_passes_at_the_kink():
    _, cache = relu.forward(np.array([0.0, -0.0, 5e-324]))
    assert relu.backward(np.ones(3), cache)[0].tolist() == [0, 0, 1]


def test_what_is_cut_off_passes_nothing_whatever_arrives():
    _, cache = relu.forward(np.array([-1.0, -1.0]))
    assert relu.backward(np.array([np.nan, np.inf]), cache)[0].tolist() == [0, 0]


def test_the_two_sides_make_the_number(rng):
    x = rng.normal(size=50)
    np.testing.assert_array_equal(relu.forward(x)[0] - relu.forward(-x)[0], x)
    np.testing.assert_array_equal(relu.forward(relu.forward(x)[0])[0], relu.forward(x)[0])


def test_nan_is_no_zero():
    assert np.isnan(relu.forward(np.array([np.nan]))[0]).all()


@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_any_shape(shape):
    y, cache = relu.forward(np.ones(shape))
    assert y.shape == relu.backward(y, cache)[0].shape == shape
