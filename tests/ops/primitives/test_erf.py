"""What is true of the error function in particular."""

import math

import numpy as np
import pytest

from visattn import gradcheck
from visattn.ops import erf

# To 17 digits, in arithmetic of 30.
VALUES = [(0.5, 0.52049987781304654), (1.0, 0.84270079294971487), (2.0, 0.99532226501895273)]
TAIL = [(0.25, 0.72367360983176307), (1.0, 0.15729920705028513), (3.0, 2.2090496998585441e-5),
        (4.3, 1.1934717937220432e-9), (9.7, 7.9361075632145117e-43), (17.1, 3.3545945400349904e-129),
        (25.9, 1.0202833184732667e-293)]
BELL = [(4.3, 9.3302875745050054e-9), (9.7, 1.3716149109493725e-41), (17.1, 1.018475407146788e-127),
        (25.9, 4.6872551452931921e-292)]


@pytest.mark.parametrize(("x", "y"), VALUES)
def test_by_hand(x, y):
    np.testing.assert_allclose(erf.forward(np.array([x, -x]))[0], [y, -y], rtol=5e-16)


def test_slope_by_hand():
    """2/√π at 0, 2/(e √π) at ±1."""
    x = np.array([0.0, 1.0, -1.0])
    dx, = erf.backward(np.ones(3), erf.forward(x)[1])
    np.testing.assert_allclose(dx, [2 / math.pi ** 0.5] + 2 * [2 / math.e / math.pi ** 0.5], rtol=5e-16)


@pytest.mark.parametrize(("dtype", "ulps"), [(np.float64, 4), (np.float32, 6)])
def test_within_a_few_ulps_of_libm_everywhere(rng, dtype, ulps):
    """Across the seams of the three approximations, and down to the smallest numbers there are."""
    tiny = np.finfo(dtype).smallest_subnormal
    x = np.concatenate([np.linspace(-7, 7, 4001), np.linspace(0.468, 0.470, 201), np.linspace(3.99, 4.01, 201),
                        10.0 ** rng.uniform(-37, 0, 500), -10.0 ** rng.uniform(-37, 1, 500), [tiny, -1e4 * tiny]])
    x = x.astype(dtype)
    y, wanted = erf.forward(x)[0], np.array([math.erf(v) for v in x.tolist()])
    assert y.dtype == dtype
    assert (abs(y - wanted) / np.spacing(abs(wanted).astype(dtype))).max() <= ulps


@pytest.mark.parametrize(("z", "y"), TAIL)
def test_tail_keeps_its_digits(z, y):
    """Where 1 - erf has lost them all, from 6 on."""
    z = np.array(z)
    np.testing.assert_allclose(erf.bell(z) * erf.scaled(z), y, rtol=2e-15)


@pytest.mark.parametrize(("x", "y"), BELL)
def test_bell_keeps_its_digits(x, y):
    """exp(-x * x) loses two of them by the last."""
    np.testing.assert_allclose(erf.bell(np.array([x, -x])), y, rtol=1e-15)
    assert abs(np.exp(-25.9 * 25.9) / BELL[-1][1] - 1) > 1e-14


def test_odd_monotone_and_within_one(rng):
    x = np.sort(rng.normal(0, 3, size=2000))
    y, _ = erf.forward(x)
    np.testing.assert_array_equal(erf.forward(-x)[0], -y)
    assert (np.diff(y) >= -2e-16).all()
    assert abs(y).max() <= 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ends_and_signed_zero(dtype):
    huge = np.finfo(dtype).max
    x = np.array([np.inf, -np.inf, huge, -huge, 6, 0.0, -0.0], dtype)
    y, cache = erf.forward(x)
    assert y.tolist() == [1, -1, 1, -1, 1, 0, 0]
    assert np.signbit(y).tolist() == [False, True, False, True, False, False, True]
    assert erf.backward(np.ones_like(x), cache)[0][:4].tolist() == [0] * 4
    assert np.isnan(erf.forward(np.array(np.nan, dtype))[0])


@pytest.mark.parametrize("x", [1e-3, 0.46875, 1.0, 2.0])
def test_gradient_across_the_seam(rng, x):
    gradcheck.check(erf, (np.array([x, -x]),), rng=rng)


@pytest.mark.parametrize("x", [4.0, 5.5, 9.75, 26.0])
def test_gradient_where_erf_is_flat(x):
    """No difference of values shows it there."""
    dx, = erf.backward(np.ones(2), erf.forward(np.array([x, -x]))[1])
    np.testing.assert_allclose(dx, 2 / math.pi ** 0.5 * math.exp(-x * x), rtol=1e-15)


def test_nothing_in_nothing_out():
    y, cache = erf.forward(np.zeros((0, 3)))
    assert y.shape == erf.backward(y, cache)[0].shape == (0, 3)
