"""Grid sampling: read an image at any points, between its pixels by interpolation.

Jaderberg, Simonyan, Zisserman & Kavukcuoglu, "Spatial Transformer Networks", NIPS 2015, eqs. (3)-(7).

    u = ((g + 1) W - 1) / 2                     g = ±1 is an edge of the image,
    u = (g + 1)(W - 1) / 2                      or, with align_corners, the centre of an outermost pixel
    y_p = Σ_nm k_n(v_p) k_m(u_p) x_nm           point p at row v, column u          (3)
    k_m(u) = [m = round(u)]                     nearest: one pixel takes part       (4)
    k_m(u) = max(0, 1 - |u - m|)                bilinear: four                      (5)

Outside the image are zeros, or the pixels of its border, or its reflections at g = ±1.

Where there is no derivative: at an integer u it is the one from the right, x_{m+1} - x_m; where a border or a
reflection keeps u within the outermost centres, these included, it is zero.  Nearest has none: zero.
A coordinate that is NaN makes y NaN at its point, and reaches the gradient of no pixel.

Differs from the paper: halves round to even, where eq. (4) rounds them up; at an integer u eq. (7) counts the pixel
there and neither neighbour, which is the derivative from neither side.
Differs from torch: align_corners has no default, for torch has had both; a NaN coordinate gives NaN also in
"nearest", where torch reads zero, and with a border or a reflection, where torch reads the first pixel.
"""

from typing import Literal, NamedTuple

import numpy as np

from visattn.ops._contract import Array, Float, Integer, checked


class Cache(NamedTuple):
    grid: Float[Array, "N Ho Wo 2"]                 # where it looks
    framed: Float[Array, "N _ _ C"]                 # x in a frame of zeros, channels last
    i: Integer[Array, "K K N Ho Wo"]                # which pixels a point reads: of K = 2 rows and columns, nearest 1
    ky: Float[Array, "K N Ho Wo"]                   # weights of these rows
    kx: Float[Array, "K N Ho Wo"]                   # and columns
    vg: Float[Array, "N Ho Wo"]                     # ∂v/∂g
    ug: Float[Array, "N Ho Wo"]                     # ∂u/∂g


@checked
def forward(
    x: Float[Array, "N C H W"],
    grid: Float[Array, "N Ho Wo 2"],
    *,
    mode: Literal["bilinear", "nearest"] = "bilinear",
    padding: Literal["zeros", "border", "reflection"] = "zeros",
    align_corners: bool,
) -> tuple[Float[Array, "N C Ho Wo"], Cache]:
    """y (N, C, Ho, Wo): x at the points of the grid.

    x                                                                   paper: U
    grid           points (x, y), from -1, left and top, to 1, right and bottom
    padding        what is outside the image
    align_corners  True: ±1 are the centres of the outermost pixels; False: their outer edges
    y                                                                   paper: V
    """
    N, C, H, W = x.shape
    u, ug = _place(grid[..., 0], W, padding, align_corners)             # (N, Ho, Wo)
    v, vg = _place(grid[..., 1], H, padding, align_corners)
    m, kx = _taps(u, W, mode)                                           # (K, N, Ho, Wo)        (4), (5)
    n, ky = _taps(v, H, mode)

    framed = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))                # outside, a point reads a zero of the frame
    framed = np.moveaxis(framed, 1, -1).copy()                          # (N, H + 2, W + 2, C)
    above = np.arange(N, like=n)[:, None, None] * (H + 2)               # rows of the images before
    i = ((above + n + 1) * (W + 2))[:, None] + (m + 1)                  # (K, K, N, Ho, Wo)
    w = ky[:, None] * kx
    y = np.einsum("jknhw,jknhwc->nhwc", w, framed.reshape(-1, C).take(i, axis=0))               # (3)
    return np.moveaxis(y, -1, 1), Cache(grid, framed, i, ky, kx, vg, ug)


@checked
def backward(dy: Float[Array, "N C Ho Wo"], cache: Cache) -> tuple[Array, ...]:
    """
    (3)  y_p = Σ_k w_pk x_k         dx_k  = Σ_p w_pk dy_p           dw_pk = Σ_c dy_pc x_kc      (6)
         w_nm = ky_n kx_m           dkx_m = Σ_n dw_nm ky_n          dky_n = Σ_m dw_nm kx_m
    (5)  k = (1 - t, t)             dt = dk₂ - dk₁                                              (7)
         t = u - ⌊u⌋                du = dt
         u = ug g + …               dg = du ug

    A pixel is read by many points, and its gradients add: np.add.at, which is fast for one channel at a time.
    """
    grid, framed, i, ky, kx, vg, ug = cache
    C = dy.shape[1]
    w = ky[:, None] * kx                                                # (K, K, N, Ho, Wo)
    dframed = np.zeros_like(framed, shape=(C, *framed.shape[:3]))
    for c in range(C):
        np.add.at(dframed[c].reshape(-1), i.reshape(-1), (w * dy[:, c]).reshape(-1))
    dx = dframed[:, :, 1:-1, 1:-1].swapaxes(0, 1)                       # (N, C, H, W)
    if len(kx) == 1:
        return dx, np.zeros_like(grid)                                  # nearest: piecewise constant

    dy = np.moveaxis(dy, 1, -1).copy()                                  # (N, Ho, Wo, C)
    dw = np.einsum("nhwc,jknhwc->jknhw", dy, framed.reshape(-1, C).take(i, axis=0))
    dkx = (dw * ky[:, None]).sum(0)                                     # (2, N, Ho, Wo)
    dky = (dw * kx).sum(1)
    dgrid = np.stack([(dkx[1] - dkx[0]) * ug, (dky[1] - dky[0]) * vg], axis=-1)
    return dx, dgrid


def _place(g, W, padding, align_corners):
    """Where g is, counted in pixels along an axis of W, and the derivative of that."""
    scale, shift = ((W - 1) / 2, 0) if align_corners else (W / 2, -0.5)
    u, ug = (g + 1) * scale + shift, np.full_like(g, scale)
    if padding == "reflection":
        low, span = (0, max(W - 1, 1)) if align_corners else (-0.5, W)  # u at g = -1, and from there to g = 1
        r = np.mod(u - low, 2 * span)                                   # there and back
        u, ug = low + span - abs(r - span), ug * np.sign(span - r)
    if padding != "zeros":
        u, ug = np.clip(u, 0, W - 1), ug * ((u > 0) & (u < W - 1))
    return u, ug


def _taps(u, W, mode):
    """The pixels that take part, with -1 and W in the frame for all that are outside, and their weights."""
    if mode == "nearest":
        m = np.rint(u)[None]
        k = np.where(np.isnan(u), u, 1)[None]
    else:
        m = np.floor(u) + np.arange(2, dtype=u.dtype, like=u).reshape(2, 1, 1, 1)
        k = np.stack([m[1] - u, u - m[0]])
    return np.fmax(np.fmin(m, W), -1).astype(np.int64), k               # fmin: NaN is outside, too


def example(rng):
    N, C, H, W, Ho, Wo = 2, 3, 4, 6, 5, 7
    return (rng.normal(size=(N, C, H, W)), rng.uniform(-1.2, 1.2, size=(N, Ho, Wo, 2))), {"align_corners": False}
