"""What goes wrong in the sigmoid."""

import numpy as np

from visattn.check.changes import convention, equal, mistake

CHANGES = [
    mistake("sign", "y = np.where(x >= 0, 1, e) / (1 + e)", "y = np.where(x >= 0, e, 1) / (1 + e)",
            "The sign of x is lost: this is 1 / (1 + eˣ) = σ(-x), which falls. σ(x) = 1 / (1 + e⁻ˣ)."),
    mistake("one_branch", "y = np.where(x >= 0, 1, e) / (1 + e)", "y = 1 / (1 + e)",
            "Negative numbers are treated like positive ones: every gate is at least ½. "
            "For x < 0, σ(x) = e^{x} / (1 + e^{x}), with e^{-|x|} both above and below."),
    mistake("overflow", "y = np.where(x >= 0, 1, e) / (1 + e)", "y = np.exp(x) / (1 + np.exp(x))",
            "Written as eˣ / (1 + eˣ), the exponential overflows for large x, and ∞ / ∞ is NaN. For x > 0, 1 / (1 + "
            "e⁻ˣ)."),
    mistake("tanh_of_the_whole", "y = np.where(x >= 0, 1, e) / (1 + e)", "y = 0.5 * (1 + np.tanh(x))",
            "The argument of tanh is not halved, so the gate is twice as steep: σ(x) = ½ (1 + tanh(x / 2))."),
    mistake("derivative_of_the_output", "return (dy * y * (1 - y),)",
            "s = 1 / (1 + np.exp(-y))\nreturn (dy * s * (1 - s),)",
            "The derivative is taken at y, which is σ(x) already: the sigmoid is applied twice. σ' = y (1 - y).",
            "lesson 2"),
    mistake("derivative_of_the_argument", "return y, Cache(y)", "return y, Cache(x)",
            "The argument stands where the output belongs, x (1 - x): σ' = y (1 - y) with y = σ(x).", "lesson 2"),
    mistake("derivative_is_the_gate", "return (dy * y * (1 - y),)", "return (dy * y,)",
            "The derivative lacks its second factor: σ' = y (1 - y), which is 0 where a gate is fully open.",
            "lesson 2"),
    mistake("derivative_of_tanh", "return (dy * y * (1 - y),)", "return (dy * (1 - y * y),)",
            "1 - y² is the derivative of tanh. That of the sigmoid is σ' = y (1 - y), and at most ¼.", "lesson 2"),
    mistake("derivative_forgotten", "return (dy * y * (1 - y),)", "return (dy.copy(),)",
            "The gradient passes as if the sigmoid were not there: dx = dy ⊙ y (1 - y).", "lesson 2"),
    convention("hard", "return y, Cache(y)", "y = np.clip(x + 3, 0, 6) / 6\nreturn y, Cache(y)",
               "This is the hard sigmoid, min(max(x + 3, 0), 6) / 6: straight lines, as in MobileNetV3.",
               by="torch.nn.functional.hardsigmoid"),
    equal("tanh", "y = np.where(x >= 0, 1, e) / (1 + e)", "y = 0.5 * (1 + np.tanh(x / 2))"),
]


def saturated(rng):
    """gates fully open and fully shut, beyond ±30: tails and their derivatives"""
    x = rng.uniform(30, 40, size=(2, 3, 4))
    return (np.concatenate([x, -x, rng.normal(size=(2, 3, 4))], axis=2),), {}


def too_large(rng, precision):
    """arguments beyond the logarithm of the largest number, of both signs: exponentials that overflow"""
    x = rng.uniform(precision.log_max + 1, 1.3 * precision.log_max + 8, size=(3, 4))
    return (np.concatenate([x, -x, rng.normal(size=(3, 4))]),), {}


def around_zero(rng):
    """at 0 the gate is ½ and the slope ¼"""
    return (np.concatenate([np.zeros(3), rng.uniform(-0.01, 0.01, size=6)]),), {}


CASES = [saturated, too_large, around_zero]
