"""What goes wrong in the error function."""

import numpy as np

from visattn.check.changes import equal, mistake, plain

Y = "y = np.where(abs(x) < 0.46875, centre, np.copysign(flank, x))"
DX = "return (dy * (2 / math.pi ** 0.5) * bell(np.clip(x, -30, 30)),)"

CHANGES = [
    mistake("even", Y, "y = np.where(abs(x) < 0.46875, abs(centre), flank)",
            "The sign of x is lost: erf(-x) = -erf(x)."),
    mistake("complement", Y, "y = 1 - np.where(abs(x) < 0.46875, centre, np.copysign(flank, x))",
            "This is the complement, erfc(x) = 1 - erf(x): erf(0) = 0."),
    mistake("normal_distribution", "z = np.clip(x, -6, 6)", "x = x / 2 ** 0.5\nz = np.clip(x, -6, 6)",
            "The argument is divided by √2, as for the normal distribution Φ(x) = ½ (1 + erf(x / √2)): "
            "erf itself takes x as it is."),
    mistake("five_coefficients", Y,
            "t = 1 / (1 + 0.3275911 * abs(x))\n"
            "tail = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))\n"
            "y = np.copysign(1 - tail * np.exp(-x * x), x)",
            "The approximation by five coefficients (Abramowitz & Stegun, 7.1.26) is off by 1.5e-7 everywhere: "
            "near 0 no digit is right."),
    mistake("factor_forgotten", DX, "return (dy * bell(np.clip(x, -30, 30)),)",
            "The factor before the integral is missing in the derivative: dx = dy ⊙ 2/√π e^{-x²}."),
    mistake("half_the_factor", DX, "return (dy * math.pi ** -0.5 * bell(np.clip(x, -30, 30)),)",
            "The derivative lacks its 2: dx = dy ⊙ 2/√π e^{-x²}."),
    mistake("half_in_the_exponent", DX, "return (dy * (2 / math.pi ** 0.5) * bell(np.clip(x, -30, 30), 0.5),)",
            "The exponent has a ½ too many, which belongs to the normal density: dx = dy ⊙ 2/√π e^{-x²}."),
    plain("bell_in_one_piece",
          "h = np.rint(16 * x) / 16\nreturn np.exp(-a * h * h) * np.exp(-a * (x - h) * (x + h))",
          "return np.exp(-a * x * x)",
          "Rounding x to a sixteenth is no error, since both factors have it."),
    plain("smaller_polynomials", "y = np.where(z < 0.46875, centre, _quotient(FLANK, np.minimum(z, 4)))",
          "smaller = [[c / 128 for c in polynomial] for polynomial in FLANK]\n"
          "y = np.where(z < 0.46875, centre, _quotient(smaller, np.minimum(z, 4)))",
          "The quotient is the same; no library that has float16 would let these polynomials overflow there."),
    equal("of_a_library", Y, Y + " * np.exp(np.zeros_like(x))",
          "A factor of 1, known as well as an exponential is: a library's erf may be as inexact."),
]


def near_zero(rng):
    """tiny numbers, where erf(x) is 2/√π x: relative accuracy"""
    return (1e-4 * rng.normal(size=(2, 6)),), {}


def far_out(rng):
    """where erf is ±1, and its derivative vanishes"""
    x = rng.uniform(3, 30, size=(2, 5))
    return (np.concatenate([x, -x]),), {}


def where_formulas_meet(rng):
    """around ±0.47 and ±4, where one approximation hands over to the next"""
    x = np.array([[0.46, 0.47, 0.48], [3.9, 4.0, 4.1]]) + rng.uniform(-0.01, 0.01, size=(2, 3))
    return (np.concatenate([x, -x]),), {}


CASES = [near_zero, far_out, where_formulas_meet]
