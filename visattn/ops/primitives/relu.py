"""Rectified linear unit: what is positive passes.

    y = max(x, 0)
"""

from typing import NamedTuple

import numpy as np

from visattn.ops._contract import Array, Float, checked


class Cache(NamedTuple):
    y: Float[Array, "*B"]


@checked
def forward(x: Float[Array, "*B"]) -> tuple[Float[Array, "*B"], Cache]:
    """y (*B)."""
    y = np.maximum(x, 0)
    return y, Cache(y)


@checked
def backward(dy: Float[Array, "*B"], cache: Cache) -> tuple[Array, ...]:
    """dx is dy where x > 0, and 0 elsewhere; so at the kink, δ'(0) = 0."""
    y, = cache
    return (np.where(y > 0, dy, 0),)


def example(rng):
    return (rng.normal(size=(2, 3, 5)),), {}
