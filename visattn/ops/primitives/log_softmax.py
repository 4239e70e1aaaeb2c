"""The logarithm of softmax, without ever forming a weight that might underflow to 0.

    y_s = x_s - log Σ_t e^{x_t}
"""

from typing import NamedTuple

import numpy as np

from visattn.ops._contract import Array, Float, checked, require


class Cache(NamedTuple):
    y: Float[Array, "*B"]
    axis: int


def rules(x, axis):
    require(-x.ndim <= axis < x.ndim, "axis", f"name one of the {x.ndim} axes of x", axis)
    require(x.shape[axis] > 0, "x", f"have at least one element along axis {axis}", f"shape {x.shape}")


@checked(rules)
def forward(x: Float[Array, "*B"], *, axis: int = -1) -> tuple[Float[Array, "*B"], Cache]:
    """y (*B): logarithms of weights that sum to one along `axis`; -∞ where x is."""
    a = x - x.max(axis, keepdims=True)                          # the shift cancels; e^a ≤ 1 cannot overflow
    y = a - np.log(np.exp(a).sum(axis, keepdims=True))
    return y, Cache(y, axis)


@checked
def backward(dy: Float[Array, "*B"], cache: Cache) -> tuple[Array, ...]:
    """From ∂y_s/∂x_t = [s = t] - p_t with p = e^y:  dx = dy - p Σ_s dy_s."""
    y, axis = cache
    dx = dy - np.exp(y) * dy.sum(axis, keepdims=True)
    return (dx,)


def example(rng):
    return (rng.normal(size=(2, 3, 5)),), {"axis": 1}
