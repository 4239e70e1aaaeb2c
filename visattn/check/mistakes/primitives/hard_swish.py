"""What goes wrong in hard swish."""

import numpy as np

from visattn.check.changes import convention, equal, mistake

S = "s = np.clip(x + 3, 0, 6) / 6"
SLOPE = "slope = np.where(abs(x) < 3, s + x / 6, s)"

CHANGES = [
    mistake("not_divided", S, "s = np.clip(x + 3, 0, 6)",
            "The gate is not divided by 6 and runs from 0 to 6: s = min(max(x + 3, 0), 6) / 6."),
    mistake("offset_forgotten", S, "s = np.clip(x, 0, 6) / 6",
            "The 3 is missing, so the gate opens only from 0 on: s = min(max(x + 3, 0), 6) / 6 is ½ at 0."),
    mistake("steeper_gate", S, "s = np.clip(x + 1, 0, 2) / 2",
            "The gate runs from -1 to 1: here it runs from -3 to 3, s = min(max(x + 3, 0), 6) / 6."),
    mistake("one_fifth", S, "s = np.clip(0.2 * x + 0.5, 0, 1)",
            "The gate has the slope 1/5, as some hard sigmoids have it: s = min(max(x + 3, 0), 6) / 6 has 1/6."),
    mistake("gate_alone", "y = x * s", "y = s",
            "This is the gate, a hard sigmoid: y = x s."),
    mistake("gate_as_constant", SLOPE, "slope = s",
            "The gate is treated as a constant: between -3 and 3, dx = dy (s + x / 6), by the product rule."),
    mistake("sixth_forgotten", SLOPE, "slope = np.where(abs(x) < 3, s + x, s)",
            "The slope of the gate is missing: dx = dy (s + x / 6) between -3 and 3."),
    mistake("slope_everywhere", SLOPE, "slope = s + x / 6",
            "The gate's slope is added outside, too, where it is flat: below -3 the gradient is 0, above 3 it is dy."),
    convention("inner_slopes", "return (dy * slope,)",
               "slope = np.where(abs(x) <= 3, s + x / 6, s)\nreturn (dy * slope,)",
               "At the kinks the inner slope holds, -½ at -3 and 3/2 at 3; here, as in torch, it is the outer: 0 and "
               "1.",
               by="timm.layers.activations_me"),
    equal("product_first", "y = x * s", "y = x * np.clip(x + 3, 0, 6) / 6"),
    equal("sixths", S, "s = np.clip(x / 6 + 0.5, 0, 1)"),
    equal("decided_by_the_sum", SLOPE,
          "slope = np.where((abs(x) == 3) | (x + 3 <= 0) | (x + 3 >= 6), s, s + x / 6)",
          "x + 3 is rounded before it is compared with 0 and 6."),
    equal("one_fraction", SLOPE, "slope = np.where(abs(x) < 3, (2 * x + 3) / 6, s)"),
]


def three_pieces(rng):
    """numbers below -3, between, and above 3"""
    bounds = np.array([[-9.0, -3.2], [-2.8, 0], [0, 2.8], [3.2, 9]])
    return (rng.uniform(bounds[:, :1], bounds[:, 1:], size=(4, 6)),), {}


def kinks(rng):
    """exactly -3 and 3, where the outer slope holds"""
    return (np.array([[-3.0, 3.0, 0.0], [3.0, -3.0, 1.0]]),), {}


CASES = [three_pieces, kinks]
