"""Global average pooling: one number for each channel, the mean of its pixels.

    y = mean_hw x
"""

from typing import NamedTuple

import numpy as np

from visattn.ops._contract import Array, Float, checked


class Cache(NamedTuple):
    x: Float[Array, "N C H W"]                      # of which only the shape is used


@checked
def forward(x: Float[Array, "N C H W"]) -> tuple[Float[Array, "N C"], Cache]:
    """y (N, C): the mean of each channel."""
    return x.mean(axis=(2, 3)), Cache(x)


@checked
def backward(dy: Float[Array, "N C"], cache: Cache) -> tuple[Array, ...]:
    """dx = dy / HW, the same for every pixel."""
    x, = cache
    H, W = x.shape[2:]
    return (np.broadcast_to((dy / (H * W))[:, :, None, None], x.shape).copy(),)


def example(rng):
    return (rng.normal(size=(2, 3, 4, 5)),), {}
