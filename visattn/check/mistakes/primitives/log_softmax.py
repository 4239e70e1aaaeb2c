"""What goes wrong in log-softmax."""

import numpy as np

from visattn.check.changes import equal, mistake

A = "a = x - x.max(axis, keepdims=True)"
Y = "y = a - np.log(np.exp(a).sum(axis, keepdims=True))"
DX = "dx = dy - np.exp(y) * dy.sum(axis, keepdims=True)"

CHANGES = [
    mistake("other_axis", A, "axis = (axis % x.ndim - 1) % x.ndim\n" + A,
            "The weights are normalised along the axis before the right one: y_s = x_s - log Σ_t e^{x_t} sums over "
            "the axis "
            "that it runs along."),
    mistake("no_maximum", A, "a = x",
            "The maximum is not subtracted before the exponential, which overflows: log ∞ is ∞. The shift cancels.",
            "lesson 1"),
    mistake("maximum_not_added_back", Y, "y = x - np.log(np.exp(a).sum(axis, keepdims=True))",
            "The maximum was subtracted inside the logarithm and not added back: log Σ e^{x} = m + log Σ e^{x - m}. "
            "e^y does not sum to 1."),
    mistake("logarithm_of_softmax", Y, "y = np.log(np.exp(a) / np.exp(a).sum(axis, keepdims=True))",
            "The logarithm of a finished weight is taken: a weight that underflows to 0 gives -∞. "
            "y_s = x_s - log Σ_t e^{x_t} never forms it.", "lesson 1"),
    mistake("mean_in_the_logarithm", Y, "y = a - np.log(np.exp(a).mean(axis, keepdims=True))",
            "The exponentials are averaged, not summed: y is too large by the logarithm of their number."),
    mistake("base_two", Y, "y = a - np.log2(np.exp(a).sum(axis, keepdims=True))",
            "The logarithm is to base 2, the exponential to base e: y_s = x_s - ln Σ_t e^{x_t}."),
    mistake("gradient_of_softmax", DX,
            "dx = np.exp(y) * (dy - (np.exp(y) * dy).sum(axis, keepdims=True))",
            "This is the gradient of softmax: with the logarithm, dx = dy - p Σ_s dy_s.", "lesson 1"),
    mistake("one_for_the_sum", DX, "dx = dy - np.exp(y)",
            "The sum over dy is missing, as if dy were 1 in one place: dx = dy - p Σ_s dy_s.", "lesson 1"),
    mistake("logarithm_for_the_weight", DX, "dx = dy - y * dy.sum(axis, keepdims=True)",
            "y stands where the weight should, which is its exponential: dx = dy - e^y Σ_s dy_s.", "lesson 1"),
    mistake("unweighted", DX, "dx = dy - dy.mean(axis, keepdims=True)",
            "The sum is spread evenly: it is shared out by the weights, dx = dy - p Σ_s dy_s.", "lesson 1"),
    equal("log_sum_exp", A + "\n" + Y,
          "m = x.max(axis, keepdims=True)\ny = x - (m + np.log(np.exp(x - m).sum(axis, keepdims=True)))"),
    equal("through_the_maximum", DX, """
a = y - y.max(axis, keepdims=True)
e = np.exp(a)
dx = dy - e * (dy.sum(axis, keepdims=True) / e.sum(axis, keepdims=True))
dx = np.where(a == 0, dx - dx.sum(axis, keepdims=True), dx)""",
          "The maximum is differentiated, too: its gradient is 0 but for rounding, and goes to the largest."),
]


def too_large(rng, precision):
    """numbers far above and far below what an exponential can hold: no maximum subtracted"""
    x = 1.2 * precision.log_max + rng.normal(size=(2, 3, 4))
    return (np.concatenate([x, -x], axis=1),), {}


def vanishing_weights(rng, precision):
    """rows in which all weights but one underflow: the logarithm of a finished weight"""
    x = rng.normal(size=(3, 5))
    x[:, 2] += 1.5 * precision.log_max + 20
    return (x,), {}


def first_axis(rng):
    """along the first of several axes"""
    return (rng.normal(size=(4, 2, 3)),), {"axis": 0}


def one_element(rng):
    """rows of one element: 0, and no gradient"""
    return (rng.normal(size=(3, 2, 1)),), {}


CASES = [too_large, vanishing_weights, first_axis, one_element]

ALIASES = {"dim": "axis"}
