"""What is true of GELU in particular."""

import math

import numpy as np
import pytest

from visattn import gradcheck
from visattn.check.definitions.primitives import gelu as definition
from visattn.ops import gelu

# x, y, dy/dx to 17 digits, in arithmetic of 30.
EXACT = [(1.0, 0.84134474606854295, 1.0833154705876863), (-1.0, -0.15865525393145705, -0.083315470587686298),
         (-5.0, -1.4332578593959696e-6, -7.1469460017922946e-6),
         (-10.0, -7.6198530241605261e-23, -7.6184000964648141e-22),
         (-5.3, -3.0687710411812348e-7, -1.6229137444598224e-6),
         (-21.7, -2.2260162773522157e-103, -4.8304122081993e-102),
         (-36.6, -5.2339355765109576e-292, -1.9156182938439294e-290),
         (-37.0, -2.1184613523340934e-298, -7.8382986694185162e-297)]
TANH = [(1.0, 0.8411919906082767, 1.0829640838457826), (-1.0, -0.1588080093917233, -0.082964083845782555),
        (-5.0, -2.291796196629506e-7, -1.5463619875325946e-6), (-10.0, -1.204092348209806e-37, -2.7576380638540316e-36)]


@pytest.mark.parametrize(("x", "y", "slope"), EXACT)
def test_known_values_keep_their_digits_far_into_the_tail(x, y, slope):
    """½ x (1 + erf(x / √2)) is 0 from -9 on, and has lost half of its digits at -5."""
    got, cache = gelu.forward(np.array(x))
    np.testing.assert_allclose(got, y, rtol=2e-15)
    np.testing.assert_allclose(gelu.backward(np.array(1.0), cache)[0], slope, rtol=2e-15)


@pytest.mark.parametrize(("x", "y", "slope"), TANH)
def test_known_values_of_the_approximation(x, y, slope):
    got, cache = gelu.forward(np.array(x), approximate="tanh")
    np.testing.assert_allclose(got, y, rtol=1e-13)
    np.testing.assert_allclose(gelu.backward(np.array(1.0), cache)[0], slope, rtol=1e-13)


def test_tail_in_single_precision():
    x = np.array([-5, -10, -12], np.float32)
    y, _ = gelu.forward(x)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, [-1.4332578593959696e-6, -7.6198530241605261e-23, -12 * 1.7764821120776789e-33],
                               rtol=1e-6)


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_odd_part_is_half_of_x(rng, approximate):
    """Φ(x) + Φ(-x) = 1, so y(x) - y(-x) = x: the gate is the same from both sides."""
    x = rng.normal(0, 3, size=100)
    y, cache = gelu.forward(x, approximate=approximate)
    mirrored, mirrored_cache = gelu.forward(-x, approximate=approximate)
    np.testing.assert_allclose(y - mirrored, x, rtol=1e-14)
    np.testing.assert_allclose(cache.p + mirrored_cache.p, 1, rtol=1e-14)


def test_the_approximation_is_one():
    x = np.linspace(-8, 8, 2001)
    worst = abs(gelu.forward(x)[0] - gelu.forward(x, approximate="tanh")[0]).max()
    assert 4e-4 < worst < 5e-4


@pytest.mark.parametrize("approximate", ["none", "tanh"])
@pytest.mark.parametrize("shape", [(), (7,), (2, 1, 3)])
def test_both_and_every_shape(rng, approximate, shape):
    x = np.asarray(rng.normal(0, 2, size=shape))
    np.testing.assert_allclose(gelu.forward(x, approximate=approximate)[0],
                               definition.forward(x, approximate=approximate), rtol=1e-12)
    gradcheck.check(gelu, (x,), {"approximate": approximate}, rng)


@pytest.mark.parametrize("approximate", ["none", "tanh"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_far_out_it_is_relu(approximate, dtype):
    """x³ and e^{x²} overflow here, and that would be a warning."""
    x = np.array([-1e30, -100, 0, 100, 1e30], dtype)
    y, cache = gelu.forward(x, approximate=approximate)
    np.testing.assert_array_equal(y, np.maximum(x, 0))
    np.testing.assert_array_equal(gelu.backward(np.ones_like(x), cache)[0], [0, 0, 0.5, 1, 1])


def test_has_one_minimum_left_of_zero():
    """At -0.7517915 it is -0.1699712, and flat."""
    x = np.array([-0.751791524693564457457904947])
    y, cache = gelu.forward(x)
    np.testing.assert_allclose(y, -0.169971207479902, rtol=1e-12)
    assert abs(gelu.backward(np.ones(1), cache)[0][0]) < 1e-15


def test_nothing_in_nothing_out():
    y, cache = gelu.forward(np.zeros((0, 3)))
    assert y.shape == gelu.backward(y, cache)[0].shape == (0, 3)


def test_refuses_another_approximation():
    with pytest.raises(ValueError, match=r"approximate must be one of 'none', 'tanh'; got 'sigmoid'"):
        gelu.forward(np.ones(3), approximate="sigmoid")


def test_slope_is_the_gate_plus_the_density():
    assert math.isclose(gelu.backward(np.array(1.0), gelu.forward(np.array(0.0))[1])[0], 0.5)
