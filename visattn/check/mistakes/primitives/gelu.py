"""What goes wrong in GELU."""

import numpy as np

from visattn.check.changes import convention, equal, mistake

EXACT = "p = np.where(z < 0, tail, 1 - tail)"
TAIL = "tail = erf.bell(z, 0.5) * erf.scaled(abs(z) / 2 ** 0.5) / 2"
TANH = "p, _ = sigmoid.forward((8 / math.pi) ** 0.5 * (z + 0.044715 * z * z * z))"
SLOPE = "slope = erf.bell(z, 0.5) / (2 * math.pi) ** 0.5"
TANH_SLOPE = "slope = p * (1 - p) * (8 / math.pi) ** 0.5 * (1 + 3 * 0.044715 * z ** 2)"
DX = "return (dy * (p + z * slope),)"

CHANGES = [
    mistake("root_two_forgotten", TAIL, "tail = erf.bell(z) * erf.scaled(abs(z)) / 2",
            "The argument of erf is not divided by √2: Φ(x) = ½ (1 + erf(x / √2)) is the normal distribution."),
    mistake("approximation_ignored", "z = np.clip(x, -40, 40)", 'approximate = "none"\nz = np.clip(x, -40, 40)',
            'The exact formula is computed although approximate="tanh" asks for the other: they differ by up to 5e-4.'),
    mistake("coefficients_swapped", TANH,
            "p, _ = sigmoid.forward(2 * 0.044715 * (z + (2 / math.pi) ** 0.5 * z * z * z))",
            "The two constants have changed places: tanh(√(2/π) (x + 0.044715 x³)); √(2/π) = 0.798 stands outside."),
    mistake("square_for_cube", TANH, "p, _ = sigmoid.forward((8 / math.pi) ** 0.5 * (z + 0.044715 * z * z))",
            "x² stands where x³ should: tanh(√(2/π) (x + 0.044715 x³)) is an odd function of x."),
    mistake("no_root_of_two_over_pi", TANH, "p, _ = sigmoid.forward(4 / math.pi * (z + 0.044715 * z * z * z))",
            "The root is missing from √(2/π): tanh(√(2/π) (x + 0.044715 x³))."),
    mistake("silu", EXACT, "p, _ = sigmoid.forward(z)",
            "The gate is the sigmoid of x: that is SiLU, x σ(x). GELU's is the normal distribution, x Φ(x)."),
    mistake("only_the_gate", DX, "return (dy * p,)",
            "Only x is differentiated, not its gate: dx = dy ⊙ (Φ(x) + x Φ'(x))."),
    mistake("x_forgotten", DX, "return (dy * (p + slope),)",
            "The second term lacks its x: dx = dy ⊙ (Φ(x) + x Φ'(x)), by the product rule."),
    mistake("minus", DX, "return (dy * (p - z * slope),)",
            "The sign of the second term is wrong: dx = dy ⊙ (Φ(x) + x Φ'(x)), which is negative below x = -0.75."),
    mistake("half_forgotten_in_the_density", SLOPE, "slope = erf.bell(z) / (2 * math.pi) ** 0.5",
            "The ½ is missing in the exponent of the density: Φ'(x) = e^{-x²/2} / √(2π)."),
    mistake("density_not_normalised", SLOPE, "slope = erf.bell(z, 0.5)",
            "The density lacks its factor: Φ'(x) = e^{-x²/2} / √(2π)."),
    mistake("three_forgotten", TANH_SLOPE, "slope = p * (1 - p) * (8 / math.pi) ** 0.5 * (1 + 0.044715 * z ** 2)",
            "The derivative of x³ lacks its 3: du/dx = √(8/π) (1 + 3 · 0.044715 x²)."),
    mistake("inner_derivative_forgotten", TANH_SLOPE, "slope = p * (1 - p)",
            "The chain rule stops too early: Φ = σ(u), so Φ' = σ(u) σ(-u) du/dx with du/dx = √(8/π) (1 + 3 · "
            "0.044715 x²)."),
    mistake("exact_slope", TANH_SLOPE, SLOPE,
            "The gradient is that of the exact formula, the output that of the approximation by tanh: "
            "the slope is off by up to 1e-3."),
    convention("tanh", "z = np.clip(x, -40, 40)", 'approximate = "tanh"\nz = np.clip(x, -40, 40)',
               'Φ is approximated by tanh where nothing was asked for; here that is approximate="tanh". '
               "They differ by up to 5e-4.", by="jax.nn.gelu, torch with approximate=\"tanh\""),
    convention("quick", "y = x * p", "p, _ = sigmoid.forward(1.702 * z)\ny = x * p",
               "Φ(x) is approximated by σ(1.702 x), from the same paper; it is off by up to 0.02.",
               by="CLIP, timm.layers.quick_gelu"),
    equal("as_written", EXACT, "p = 0.5 * (1 + erf.forward(z / 2 ** 0.5)[0] * np.exp(np.zeros_like(z)))",
          "The last factor is 1, known as well as an exponential is: a library's erf may be as inexact."),
    equal("as_written_tanh", TANH, "p = 0.5 * (1 + np.tanh((2 / math.pi) ** 0.5 * (z + 0.044715 * z ** 3)))"),
    equal("slope_of_tanh", TANH_SLOPE,
          "slope = 0.5 * (1 - (2 * p - 1) ** 2) * (2 / math.pi) ** 0.5 * (1 + 3 * 0.044715 * z ** 2)"),
]


def moderate(rng):
    """numbers up to ±4, where the formulas differ most"""
    return (rng.uniform(-4, 4, size=(4, 6)),), {}


def moderate_tanh(rng):
    """the same by tanh"""
    return (rng.uniform(-4, 4, size=(4, 6)),), {"approximate": "tanh"}


def left_tail(rng):
    """far left, where the gate nearly vanishes and the gradient is negative"""
    return (rng.uniform(-8, -2.5, size=(3, 5)),), {}


def large(rng):
    """far out on both sides: identity and zero, without overflow in x³"""
    x = rng.uniform(20, 60, size=(2, 6))
    return (np.concatenate([x, -x]),), {"approximate": "tanh"}


CASES = [moderate, moderate_tanh, left_tail, large]
