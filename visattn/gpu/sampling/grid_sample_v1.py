"""Grid sampling as Numba CUDA kernels: what one thread does, in Python.

A thread takes one point of the grid, finds its pixels and their weights, and reads them for every channel.  Backward it
adds to the same pixels.  Other threads add there, too: each addition is atomic, and their order is not fixed.
"""

import math

import numpy as np
from numba import cuda, float32

from visattn.gpu._device import contiguous, empty, zeros
from visattn.gpu._numba import THREADS
from visattn.ops.sampling.grid_sample import Cache

ZERO, HALF, ONE, TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)
ZEROS, BORDER, REFLECTION = range(3)
WHOLE = np.float32(2**23)                           # from here on a float32 has no digits behind the point


@cuda.jit(device=True)
def floor(u):
    return float32(math.floor(u)) if abs(u) < WHOLE else u                  # NaN stays


@cuda.jit(device=True)
def place(g, W, padding, align_corners):
    """Where g is, counted in pixels along an axis of W, and the derivative of that."""
    #= scale, shift = ((W - 1) / 2, 0) if align_corners else (W / 2, -0.5)
    width = float32(W)
    scale, shift = ((width - ONE) / TWO, ZERO) if align_corners else (width / TWO, -HALF)
    #= u, ug = (g + 1) * scale + shift, np.full_like(g, scale)
    u, ug = (g + ONE) * scale + shift, scale
    if padding == REFLECTION:
        #= low, span = (0, max(W - 1, 1)) if align_corners else (-0.5, W)  # u at g = -1, and from there to g = 1
        low, span = (ZERO, max(width - ONE, ONE)) if align_corners else (-HALF, width)
        #= r = np.mod(u - low, 2 * span)                                   # there and back
        r = (u - low) % (TWO * span)
        #= u, ug = low + span - abs(r - span), ug * np.sign(span - r)
        u = low + span - abs(r - span)
        ug *= ONE if r < span else -ONE if r > span else r - span           # 0, or NaN
    if padding != ZEROS:
        #= u, ug = np.clip(u, 0, W - 1), ug * ((u > 0) & (u < W - 1))
        ug *= ONE if u > ZERO and u < width - ONE else ZERO
        u = ZERO if u < ZERO else width - ONE if u > width - ONE else u
    return u, ug


@cuda.jit(device=True)
def tap(u, k, W, nearest):
    """Pixel k of those that take part, and its weight."""
    if nearest:
        #= m = np.rint(u)[None]
        m = floor(u)
        if u - m > HALF or (u - m == HALF and m % TWO == ONE):              # halves to even
            m += ONE
        #= k = np.where(np.isnan(u), u, 1)[None]
        weight = ONE if u == u else u
    else:
        #= m = np.floor(u) + np.arange(2, dtype=u.dtype, like=u).reshape(2, 1, 1, 1)
        m = floor(u) + float32(k)
        #= k = np.stack([m[1] - u, u - m[0]])
        weight = m + ONE - u if k == 0 else u - (m - ONE)
    inside = -ONE if m < -ONE else m if m < float32(W) else float32(W)      # NaN is outside, too
    return int(inside), weight


@cuda.jit
def sample(framed, grid, nearest, padding, align_corners, y, i, ky, kx, vg, ug):
    p = cuda.grid(1)
    N, C, Ho, Wo = y.shape
    if p < N * Ho * Wo:
        n, h, w = p // (Ho * Wo), p // Wo % Ho, p % Wo
        H, W, K = framed.shape[1] - 2, framed.shape[2] - 2, len(kx)
        #= u, ug = _place(grid[..., 0], W, padding, align_corners)             # (N, Ho, Wo)
        u, ug[n, h, w] = place(grid[n, h, w, 0], W, padding, align_corners)
        #= v, vg = _place(grid[..., 1], H, padding, align_corners)
        v, vg[n, h, w] = place(grid[n, h, w, 1], H, padding, align_corners)
        for c in range(C):
            y[n, c, h, w] = ZERO
        for j in range(K):
            row, ky[j, n, h, w] = tap(v, j, H, nearest)
            for k in range(K):
                column, kx[k, n, h, w] = tap(u, k, W, nearest)
                #= i = ((above + n + 1) * (W + 2))[:, None] + (m + 1)                  # (K, K, N, Ho, Wo)
                i[j, k, n, h, w] = (n * (H + 2) + row + 1) * (W + 2) + column + 1
                #= w = ky[:, None] * kx
                weight = ky[j, n, h, w] * kx[k, n, h, w]
                #= y = np.einsum("jknhw,jknhwc->nhwc", w, framed.reshape(-1, C).take(i, axis=0))               # (3)
                for c in range(C):
                    y[n, c, h, w] += weight * framed[n, row + 1, column + 1, c]


@cuda.jit
def sample_backward(dy, framed, i, ky, kx, vg, ug, dx, dgrid):
    p = cuda.grid(1)
    N, C, Ho, Wo = dy.shape
    if p < N * Ho * Wo:
        n, h, w = p // (Ho * Wo), p // Wo % Ho, p % Wo
        H, W, K = dx.shape[2], dx.shape[3], len(kx)
        du, dv = float32(0), float32(0)
        for j in range(K):
            for k in range(K):
                row, column = i[j, k, n, h, w] // (W + 2) % (H + 2) - 1, i[j, k, n, h, w] % (W + 2) - 1
                inside = 0 <= row < H and 0 <= column < W
                weight = ky[j, n, h, w] * kx[k, n, h, w]
                dw = float32(0)
                for c in range(C):
                    #= np.add.at(dframed[c].reshape(-1), i.reshape(-1), (w * dy[:, c]).reshape(-1))
                    if inside:
                        cuda.atomic.add(dx, (n, c, row, column), weight * dy[n, c, h, w])
                    #= dw = np.einsum("nhwc,jknhwc->jknhw", dy, framed.reshape(-1, C).take(i, axis=0))
                    dw += dy[n, c, h, w] * framed[n, row + 1, column + 1, c]
                du += (dw if k == 1 else -dw) * ky[j, n, h, w]
                dv += (dw if j == 1 else -dw) * kx[k, n, h, w]
        #= dgrid = np.stack([(dkx[1] - dkx[0]) * ug, (dky[1] - dky[0]) * vg], axis=-1)
        dgrid[n, h, w, 0] = du * ug[n, h, w] if K == 2 else ZERO            # nearest: piecewise constant
        dgrid[n, h, w, 1] = dv * vg[n, h, w] if K == 2 else ZERO


def forward(x, grid, *, mode="bilinear", padding="zeros", align_corners):
    (N, C, _, _), (_, Ho, Wo, _), K = x.shape, grid.shape, 1 if mode == "nearest" else 2
    framed = np.moveaxis(np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))), 1, -1).copy()
    i = empty((K, K, N, Ho, Wo), np.int64)
    ky, kx, vg, ug = (empty((*lead, N, Ho, Wo), x.dtype) for lead in ((K,), (K,), (), ()))
    y = empty((N, C, Ho, Wo), x.dtype)
    if vg.size:
        sample[-(-vg.size // THREADS), THREADS](framed, contiguous(grid), mode == "nearest",
                                                ("zeros", "border", "reflection").index(padding), align_corners, y, i,
                                                ky, kx, vg, ug)
    return y, Cache(grid, framed, i, ky, kx, vg, ug)


def backward(dy, cache):
    grid, framed, i, ky, kx, vg, ug = cache
    N, H, W, C = framed.shape
    dx, dgrid = zeros((N, C, H - 2, W - 2), dy.dtype), empty(grid.shape, grid.dtype)
    if vg.size:
        sample_backward[-(-vg.size // THREADS), THREADS](contiguous(dy), framed, i, ky, kx, vg, ug, dx, dgrid)
    return dx, dgrid
