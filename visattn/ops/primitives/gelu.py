"""GELU: every number times the chance that a standard normal one lies below it.

Hendrycks & Gimpel, "Gaussian Error Linear Units (GELUs)", 2016.

    y = x Φ(x)
    Φ(x) = ½ (1 + erf(x / √2))                              approximate="none"
    Φ(x) ≈ ½ (1 + tanh(√(2/π) (x + 0.044715 x³)))           approximate="tanh", from the same paper

Neither is computed as written: left of 0 the two terms cancel, and by x = -9 no digit of Φ would be left.
"""

import math
from typing import Literal, NamedTuple

import numpy as np

from visattn.ops._contract import Array, Float, checked
from visattn.ops.primitives import erf, sigmoid


class Cache(NamedTuple):
    z: Float[Array, "*B"]                           # x within ±40
    p: Float[Array, "*B"]                           # Φ(x), the gate
    approximate: Literal["none", "tanh"]


@checked
def forward(
    x: Float[Array, "*B"], *, approximate: Literal["none", "tanh"] = "none"
) -> tuple[Float[Array, "*B"], Cache]:
    """y (*B); accurate to a few ulps down to where Φ underflows."""
    z = np.clip(x, -40, 40)                                     # beyond, Φ is 0 or 1, and x³ may overflow
    if approximate == "tanh":
        p, _ = sigmoid.forward((8 / math.pi) ** 0.5 * (z + 0.044715 * z * z * z))  # ½ (1 + tanh u) = σ(2u)
    else:
        tail = erf.bell(z, 0.5) * erf.scaled(abs(z) / 2 ** 0.5) / 2                 # Φ(-|x|) = ½ erfc(|x| / √2)
        p = np.where(z < 0, tail, 1 - tail)
    y = x * p
    return y, Cache(z, p, approximate)


@checked
def backward(dy: Float[Array, "*B"], cache: Cache) -> tuple[Array, ...]:
    """
        y = x Φ(x)              dx = dy ⊙ (Φ(x) + x Φ'(x))
        Φ, exact                Φ' = e^{-x²/2} / √(2π)                  the normal density
        Φ = σ(u), by tanh       Φ' = σ(u) σ(-u) du/dx,                  du/dx = √(8/π) (1 + 3 · 0.044715 x²)
    """
    z, p, approximate = cache
    if approximate == "tanh":
        slope = p * (1 - p) * (8 / math.pi) ** 0.5 * (1 + 3 * 0.044715 * z ** 2)
    else:
        slope = erf.bell(z, 0.5) / (2 * math.pi) ** 0.5
    return (dy * (p + z * slope),)


def example(rng):
    return (rng.normal(size=(2, 3, 5)),), {}
