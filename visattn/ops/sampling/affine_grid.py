"""Affine grid: where each pixel of the output looks in the input, under an affine map of the plane.

Jaderberg, Simonyan, Zisserman & Kavukcuoglu, "Spatial Transformer Networks", NIPS 2015, eq. (1).

    (x, y)ˢ = θ (x, y, 1)ᵗ          t = target, a pixel of the output; s = source, a point of the input   (1)
    xᵗ_j = (2j + 1) / W - 1         centres of pixels, when ±1 are the edges of the image,
    xᵗ_j = 2j / (W - 1) - 1         or, with align_corners, when ±1 are the centres of its outermost pixels

θ maps the output to the input: to move the picture to the right, look to the left of each pixel.
With align_corners a single pixel is at 0, the middle.

Differs from torch: align_corners has no default, for torch has had both; N and C are not repeated in `size`.
"""

from typing import NamedTuple

import numpy as np

from visattn.ops._contract import Array, Float, checked, require


class Cache(NamedTuple):
    theta: Float[Array, "N 2 3"]
    target: Float[Array, "Ho Wo 3"]                 # (x, y, 1) of every pixel of the output


def rules(size):
    require(min(size) >= 1, "size", "be at least 1 by 1", size)


@checked(rules)
def forward(
    theta: Float[Array, "N 2 3"], *, size: tuple[int, int], align_corners: bool
) -> tuple[Float[Array, "N Ho Wo 2"], Cache]:
    """grid (N, Ho, Wo, 2): the points (x, y) for `grid_sample`, with the same `align_corners`.

    theta  [[a, b, c], [d, e, f]]: source x = a x + b y + c, source y = d x + e y + f       paper: A_θ
    size   (Ho, Wo) of the output
    """
    y, x = (_centres(n, align_corners, like=theta) for n in size)
    target = np.stack([*np.broadcast_arrays(x, y[:, None]), np.ones_like(x + y[:, None])], axis=-1)
    grid = np.einsum("hwj,nij->nhwi", target, theta)                    # (N, Ho, Wo, 2)        (1)
    return grid, Cache(theta, target)


@checked
def backward(dgrid: Float[Array, "N Ho Wo 2"], cache: Cache) -> tuple[Array, ...]:
    """From s_i = Σ_j θ_ij t_j at every pixel:  dθ_ij = Σ_hw ds_i t_j, for one θ serves all pixels."""
    _, target = cache
    dtheta = np.einsum("nhwi,hwj->nij", dgrid, target)                  # (N, 2, 3)
    return (dtheta,)


def _centres(n, align_corners, like):
    """The centres of n pixels between -1 and 1."""
    j = np.arange(n, dtype=like.dtype, like=like)
    return 2 * j / max(n - 1, 1) - (n > 1) if align_corners else (2 * j + 1) / n - 1


def example(rng):
    return (np.eye(2, 3) + 0.3 * rng.normal(size=(2, 2, 3)),), {"size": (4, 5), "align_corners": False}
