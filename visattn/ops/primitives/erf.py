"""The error function, which NumPy lacks, and its tail to full relative accuracy.

    erf(x) = 2/√π ∫₀ˣ e^{-t²} dt            erfc(x) = 1 - erf(x)

By quotients R of polynomials from Cody, "Rational Chebyshev Approximations for the Error Function", Mathematics of
Computation 23, 1969, whose tables the coefficients are:

    |x| < 0.46875       erf(x) = x R(x²)
    |x| < 4             erfc(|x|) = e^{-x²} R(|x|)
    else                erfc(|x|) = e^{-x²} (1/√π - R(1/x²) / x²) / |x|

`scaled` is what remains of erfc without its exponential, `bell` the exponential: their product is the tail.
"""

import math
from typing import NamedTuple

import numpy as np

from visattn.ops._contract import Array, Float, checked

# Each a numerator and a denominator, highest power first.
CENTRE = (
    (1.85777706184603153e-1, 3.16112374387056560e0, 1.13864154151050156e2, 3.77485237685302021e2,
     3.20937758913846947e3),
    (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3),
)
FLANK = (
    (2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0, 6.61191906371416295e1,
     2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3,
     1.23033935479799725e3),
    (1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3,
     3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3),
)
TAIL = (
    (1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1, 1.25781726111229246e-1,
     1.60837851487422766e-2, 6.58749161529837803e-4),
    (1.0, 2.56852019228982242e0, 1.87295284992346047e0, 5.27905102951428412e-1, 6.05183413124413191e-2,
     2.33520497626869185e-3),
)


class Cache(NamedTuple):
    x: Float[Array, "*B"]


@checked
def forward(x: Float[Array, "*B"]) -> tuple[Float[Array, "*B"], Cache]:
    """y (*B): erf of every element, to a few ulps everywhere."""
    z = np.clip(x, -6, 6)                                       # beyond, erf is ±1 in both precisions
    centre = z * _quotient(CENTRE, z * z)
    flank = 1 - bell(z) * scaled(abs(z))
    y = np.where(abs(x) < 0.46875, centre, np.copysign(flank, x))
    return y, Cache(x)


@checked
def backward(dy: Float[Array, "*B"], cache: Cache) -> tuple[Array, ...]:
    """The integrand at its upper end:  dx = dy ⊙ 2/√π e^{-x²}."""
    x, = cache
    return (dy * (2 / math.pi ** 0.5) * bell(np.clip(x, -30, 30)),)


def scaled(z):
    """e^{z²} erfc(z) for z ≥ 0: from 1 at 0, falling like 1 / (√π z)."""
    near = np.minimum(z, 0.5)
    u = near * near
    centre = np.exp(u) * (1 - near * _quotient(CENTRE, u))
    y = np.where(z < 0.46875, centre, _quotient(FLANK, np.minimum(z, 4)))
    if (z > 4).any():                                           # seldom, and a third of the work
        far = np.maximum(z, 4)
        u = 1 / (far * far)                                     # far ** -2 would call pow: a hundred times slower
        y = np.where(z > 4, (math.pi ** -0.5 - _quotient(TAIL, u) * u) / far, y)
    return y


def bell(x, a=1.0):
    """e^{-a x²} for a = 1 or ½ and |x| ≤ 40, to a few ulps: rounding x² first would cost x² of them.

    h, x to the nearest sixteenth, has an exact square, and x² = h² + (x - h)(x + h).
    """
    h = np.rint(16 * x) / 16
    return np.exp(-a * h * h) * np.exp(-a * (x - h) * (x + h))


def _quotient(polynomials, x):
    """One polynomial over the other."""
    numerator, denominator = polynomials
    return _horner(numerator, x) / _horner(denominator, x)


def _horner(polynomial, x):
    y = polynomial[0] * x + polynomial[1]
    for c in polynomial[2:]:
        y *= x                                                  # in place: what this costs is passes over memory
        y += c
    return y


def example(rng):
    return (rng.normal(size=(2, 3, 5)),), {}
