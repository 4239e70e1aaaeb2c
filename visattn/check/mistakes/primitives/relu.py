"""What goes wrong in ReLU."""

import numpy as np

from visattn.check.changes import convention, mistake

CHANGES = [
    mistake("leaky", "y = np.maximum(x, 0)", "y = np.where(x > 0, x, 0.01 * x)",
            "A hundredth of what is negative passes: that is a leaky ReLU. y = max(x, 0)."),
    mistake("absolute", "y = np.maximum(x, 0)", "y = abs(x)",
            "What is negative changes its sign instead of becoming 0: y = max(x, 0)."),
    mistake("capped", "y = np.maximum(x, 0)", "y = np.clip(x, 0, 6)",
            "Numbers above 6 are cut off: that is ReLU6. y = max(x, 0)."),
    mistake("gradient_everywhere", "return (np.where(y > 0, dy, 0),)", "return (np.where(y >= 0, dy, 0),)",
            "The gradient passes everywhere, since y ≥ 0 is true of every output: dx is dy where x > 0, and 0 "
            "elsewhere."),
    mistake("sign_of_the_gradient", "return (np.where(y > 0, dy, 0),)", "return (np.maximum(dy, 0),)",
            "The ReLU is applied to the gradient: what counts is the sign of x, dx is dy where x > 0."),
    mistake("gradient_not_multiplied", "return (np.where(y > 0, dy, 0),)", "return ((y > 0).astype(y.dtype),)",
            "This is the derivative alone, 1 where x > 0: by the chain rule it is multiplied by dy."),
    convention("one_at_zero", "return y, Cache(y)", "return y, Cache(np.where(x == 0, 1, y))",
               "At exactly 0 the gradient passes: the derivative there is 1, not 0.", by="torch.clamp(x, min=0)"),
]


def zeros(rng):
    """numbers that are exactly 0: the derivative there is 0"""
    return (rng.integers(-2, 3, size=(3, 5)) * 1.0,), {}


def above_six(rng):
    """numbers above 6 and below -6"""
    return (np.concatenate([rng.uniform(7, 12, size=(2, 3)), rng.uniform(-12, -7, size=(2, 3))]),), {}


CASES = [zeros, above_six]
