"""What is true of hard swish in particular."""

import numpy as np
import pytest

from visattn import gradcheck
from visattn.check.definitions.primitives import hard_swish as definition
from visattn.ops import hard_swish


def test_by_hand():
    y, cache = hard_swish.forward(np.array([-4.0, -1.5, 0.0, 1.0, 4.0]))
    np.testing.assert_allclose(y, [0, -0.375, 0, 2 / 3, 4], rtol=1e-15)
    np.testing.assert_allclose(cache.s, [0, 0.25, 0.5, 2 / 3, 1], rtol=1e-15)
    np.testing.assert_allclose(hard_swish.backward(np.ones(5), cache)[0], [0, 0, 0.5, 5 / 6, 1], rtol=1e-15)


def test_at_the_kinks_the_outer_slope_holds():
    y, cache = hard_swish.forward(np.array([-3.0, 3.0]))
    assert y.tolist() == [0, 3]
    assert hard_swish.backward(np.ones(2), cache)[0].tolist() == [0, 1]


def test_beside_the_kinks_the_inner_slope():
    inside = np.array([np.nextafter(-3, 0), np.nextafter(3, 0)])
    np.testing.assert_allclose(hard_swish.backward(np.ones(2), hard_swish.forward(inside)[1])[0], [-0.5, 1.5],
                               rtol=1e-14)


@pytest.mark.parametrize("x", [-5.0, -2.9, -1.0, 0.0, 2.9, 5.0])
def test_every_piece(rng, x):
    x = x + rng.uniform(-0.05, 0.05, size=(2, 3))
    np.testing.assert_allclose(hard_swish.forward(x)[0], definition.forward(x), rtol=1e-13)
    gradcheck.check(hard_swish, (x,), rng=rng)


def test_lowest_at_minus_three_halves():
    x = np.linspace(-6, 6, 1201)
    y, cache = hard_swish.forward(x)
    assert x[y.argmin()] == -1.5
    assert y.min() == -0.375
    assert abs(hard_swish.backward(np.ones(1201), cache)[0][y.argmin()]) < 1e-15


def test_nothing_in_nothing_out():
    y, cache = hard_swish.forward(np.zeros((0, 3)))
    assert y.shape == hard_swish.backward(y, cache)[0].shape == (0, 3)
