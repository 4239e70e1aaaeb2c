"""Grid sampling on a GPU.  Start with grid_sample_v1.py, which reads like the NumPy; grid_sample.cu tells the rest.

    version 1   Numba: a thread a point; backward adds by atomics
    version 2   CUDA C++: the same; the gradient of x is added in any order, so its last bits change from run to run
    version 3   lanes along the channels; backward gathers from sorted points, and gives the same bits every time
"""

import numpy as np

from visattn.gpu._device import Source, blocks, contiguous, empty, zeros
from visattn.gpu._twin import twin
from visattn.ops.sampling.grid_sample import Cache, example

__all__ = ["Cache", "backward", "example", "forward"]

SHIPS = 3
PADDINGS = ("zeros", "border", "reflection")
cu = Source(__file__)


@twin
def forward(x, grid, *, mode="bilinear", padding="zeros", align_corners, version=SHIPS):
    """y (N, C, Ho, Wo): x at the points of the grid; see visattn.ops.grid_sample."""
    (N, C, H, W), (_, Ho, Wo, _), K = x.shape, grid.shape, 1 if mode == "nearest" else 2
    grid = contiguous(grid)
    framed = channels_last(version, x, border=1)
    i = empty((K, K, N, Ho, Wo), np.int64)
    ky, kx, vg, ug = (empty((*lead, N, Ho, Wo), x.dtype) for lead in ((K,), (K,), (), ()))
    y = empty((N, C, Ho, Wo), x.dtype)
    args = (framed, grid, y, i, ky, kx, vg, ug, N, C, H, W, Ho * Wo, PADDINGS.index(padding), align_corners)
    if version == 2:
        cu("sample_naive", TAPS=K)(blocks(N * Ho * Wo, 256), 256, *args)
    else:
        cu("sample_turned", TAPS=K)(blocks(N * Ho * Wo, 32), 256, *args)
    return y, Cache(grid, framed, i, ky, kx, vg, ug)


@twin
def backward(dy, cache, *, version=SHIPS):
    """dx, dgrid; see visattn.ops.grid_sample."""
    grid, framed, i, ky, kx, vg, ug = cache
    (N, C, Ho, Wo), K, points = dy.shape, len(kx), vg.size
    H, W = framed.shape[1] - 2, framed.shape[2] - 2
    dgrid = zeros(grid.shape, grid.dtype) if K == 1 else empty(grid.shape, grid.dtype)
    if points == 0:
        return zeros((N, C, H, W), dy.dtype), dgrid
    if version == 2:
        dx = zeros((N, C, H, W), dy.dtype)
        cu("sample_backward_atomic", TAPS=K)(blocks(points, 256), 256, contiguous(dy), framed, i, ky, kx, vg, ug, dx,
                                             dgrid, N, C, H, W, Ho * Wo)
        return dx, dgrid

    dx = empty((N, C, H, W), dy.dtype)
    dy = channels_last(version, dy, border=0)
    corner = i[0, 0].reshape(-1)                                    # the frame's pixel at the upper left of each point
    order = np.argsort(corner, kind="stable")
    ends = np.cumsum(np.bincount(corner, minlength=framed.size // C))
    cu("sample_backward_sorted", TAPS=K)(blocks(-(-N * H * W // 32) * -(-C // 32), 1), 256, dy, order, ends, i, ky, kx,
                                         dx, N, C, H, W, Ho * Wo)
    if K == 2:
        cu("grid_gradient", TAPS=K)(blocks(points, 8), 256, dy, framed, i, ky, kx, vg, ug, dgrid, points, C)
    return dx, dgrid


def channels_last(version, x, *, border):
    """x (N, H + 2 border, W + 2 border, C), in a frame of zeros."""
    if version == 2:
        around = (border, border)
        return np.moveaxis(np.pad(x, ((0, 0), (0, 0), around, around)), 1, -1).copy()
    N, C, H, W = x.shape
    framed = empty((N, H + 2 * border, W + 2 * border, C), x.dtype)
    cu("frame")(blocks(-(-(framed.size // C) // 32) * -(-C // 32), 1), 256, contiguous(x), framed, N, C, H, W, border)
    return framed
