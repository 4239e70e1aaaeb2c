"""Hard swish: x times a gate that is a straight line between 0 and 1, instead of a sigmoid.

Howard et al., "Searching for MobileNetV3", ICCV 2019.

    s = min(max(x + 3, 0), 6) / 6
    y = x s
"""

from typing import NamedTuple

import numpy as np

from visattn.ops._contract import Array, Float, checked


class Cache(NamedTuple):
    x: Float[Array, "*B"]
    s: Float[Array, "*B"]                           # the gate


@checked
def forward(x: Float[Array, "*B"]) -> tuple[Float[Array, "*B"], Cache]:
    """y (*B)."""
    s = np.clip(x + 3, 0, 6) / 6
    y = x * s
    return y, Cache(x, s)


@checked
def backward(dy: Float[Array, "*B"], cache: Cache) -> tuple[Array, ...]:
    """
        x ≤ -3          y = 0                   dx = 0
        |x| < 3         y = x (x + 3) / 6       dx = dy (2x + 3) / 6  = dy (s + x / 6)
        x ≥ 3           y = x                   dx = dy

    At the kinks the outer slope holds, as in torch: 0 at -3, where the inner one is -½; 1 at 3, where it is 3/2.
    """
    x, s = cache
    slope = np.where(abs(x) < 3, s + x / 6, s)
    return (dy * slope,)


def example(rng):
    x = rng.normal(0, 3, size=(2, 3, 5))
    return (np.where(abs(abs(x) - 3) < 0.01, 0.0, x),), {}      # off the kinks
