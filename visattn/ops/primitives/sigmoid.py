"""The logistic function: any number to a gate between 0 and 1.

    y = σ(x) = 1 / (1 + e⁻ˣ)
"""

from typing import NamedTuple

import numpy as np

from visattn.ops._contract import Array, Float, checked


class Cache(NamedTuple):
    y: Float[Array, "*B"]


@checked
def forward(x: Float[Array, "*B"]) -> tuple[Float[Array, "*B"], Cache]:
    """y (*B): σ of every element, in (0, 1); accurate to a few ulps also where σ is tiny."""
    e = np.exp(-abs(x))                             # in (0, 1]: neither sign of x overflows
    y = np.where(x >= 0, 1, e) / (1 + e)            # e⁻ˣ for x < 0 is 1/e: numerator and denominator times e
    return y, Cache(y)


@checked
def backward(dy: Float[Array, "*B"], cache: Cache) -> tuple[Array, ...]:
    """σ' = σ (1 - σ):  dx = dy ⊙ y (1 - y)."""
    y, = cache
    return (dy * y * (1 - y),)


def example(rng):
    return (rng.normal(size=(2, 3, 5)),), {}
