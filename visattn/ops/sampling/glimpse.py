"""Glimpse: a retina, sharp where it looks and coarse around.

Mnih, Heess, Graves & Kavukcuoglu, "Recurrent Models of Visual Attention", NIPS 2014, section 3.1: the sensor ρ.

    y_k = mean over blocks of s^k × s^k of the patch of g s^k × g s^k pixels around l,     k = 0 … K - 1

Every patch comes out g × g: the k-th sees s^k times as far, at 1 / s^k of the resolution.  l = (x, y) is in [-1, 1],
±1 the edges of the image, and outside are zeros.

Differs from the paper, which cuts at whole pixels: here a patch lies at l exactly, and is read by interpolation, so
that y depends on l smoothly and passes it a gradient.  The two agree wherever the patch meets whole pixels.
Training by REINFORCE must drop that gradient.
"""

from typing import NamedTuple

import numpy as np

from visattn.ops._contract import Array, Float, checked, require
from visattn.ops.sampling import grid_sample


class Cache(NamedTuple):
    x: Float[Array, "N C H W"]
    loc: Float[Array, "N 2"]
    looks: tuple[grid_sample.Cache, ...]            # of each patch: `grid` is where it looked
    size: int
    factor: int


def rules(x, size, patches, factor):
    require(size >= 1, "size", "be at least 1", size)
    require(patches >= 1, "patches", "be at least 1", patches)
    require(factor >= 2, "factor", "be at least 2", factor)
    twice = 2 * max(x.shape[2:])
    require(size * factor ** (patches - 1) <= twice, "size",
            f"let the largest patch, size · factor^(patches - 1), be at most {twice}, which sees all from anywhere",
            f"size {size}, factor {factor}, patches {patches}")


@checked(rules)
def forward(
    x: Float[Array, "N C H W"], loc: Float[Array, "N 2"], *, size: int, patches: int = 1, factor: int = 2
) -> tuple[Float[Array, "N K C Ho Wo"], Cache]:
    """y (N, K, C, g, g): K patches around loc, finest first.

    loc      (x, y) in [-1, 1]                                          paper: l
    size     g: rows and columns of each patch                          paper: g_w
    patches  K                                                          paper: k
    factor   s: how much farther each patch sees than the one before
    """
    N, C, H, W = x.shape
    y, looks = [], []
    for k in range(patches):
        s = factor ** k
        grid = loc[:, None, None] + _offsets(size * s, H, W, like=loc)              # (N, g s, g s, 2)
        patch, look = grid_sample.forward(x, grid, align_corners=False)             # (N, C, g s, g s)
        y.append(patch.reshape(N, C, size, s, size, s).mean(axis=(3, 5)))           # (N, C, g, g)
        looks.append(look)
    return np.stack(y, axis=1), Cache(x, loc, tuple(looks), size, factor)


def fits(dy, cache):
    K, g = len(cache.looks), cache.size
    require((dy.shape[1], *dy.shape[3:]) == (K, g, g), "dy", f"have {K} patches of {g} by {g}", f"shape {dy.shape}")


@checked(fits)
def backward(dy: Float[Array, "N K C Ho Wo"], cache: Cache) -> tuple[Array, ...]:
    """For each patch, from its last line to its first; x and l fed all of them: their gradients add.

        y = mean over blocks        dpatch = dy / s², the same for the pixels of a block
        patch = x at grid           dx, dgrid: grid_sample
        grid = l + offsets          dl = Σ dgrid
    """
    x, loc, looks, _, factor = cache
    dx, dloc = np.zeros_like(x), np.zeros_like(loc)
    for k, look in enumerate(looks):
        s = factor ** k
        dpatch = (dy[:, k] / s ** 2).repeat(s, axis=2).repeat(s, axis=3)            # (N, C, g s, g s)
        dx_k, dgrid = grid_sample.backward(dpatch, look)
        dx += dx_k
        dloc += dgrid.sum(axis=(1, 2))                                              # (N, 2)
    return dx, dloc


def _offsets(n, H, W, like):
    """(n, n, 2): from the middle of n × n pixels to each, in units of half the image."""
    j = 2 * np.arange(n, dtype=like.dtype, like=like) + (1 - n)
    return np.stack(np.broadcast_arrays(j / W, (j / H)[:, None]), axis=-1)


def example(rng):
    N, C, H, W = 2, 3, 7, 9
    return (rng.normal(size=(N, C, H, W)), rng.uniform(-0.9, 0.9, size=(N, 2))), {"size": 3, "patches": 2}
