"""Convolution: every window of an image, weighed by the same kernels.

    y[o, i, j] = b[o] + Σ_ckl w[o, c, k, l] x[c, s i + d k - p, s j + d l - p]      x is 0 outside the image

s stride, p padding, d dilation.  With G groups, the o-th of the O output channels sees only the I = C / G input
channels of its own group.  The columns u, one for each window, turn the sum into one product of matrices:

    u[ckl, nij] = x[n, c, s i + d k - p, s j + d l - p]         y = w u + b

Differs from convolution in mathematics: the kernel is not turned around (cross-correlation), as in every library.
Differs from PyTorch: the padding stays below the extent of the kernel, so that every window overlaps the image.
"""

from typing import NamedTuple

import numpy as np

from visattn.ops._contract import Array, Float, checked, require
from visattn.ops._windows import Windows, fits, pad, require_windows, slide, taps, zeros

BLOCK = 1 << 20                                     # numbers in the columns of one block of images


class Params(NamedTuple):
    w: Float[Array, "O I Kh Kw"]
    b: Float[Array, "O"] | None = None


class Cache(NamedTuple):
    x: Float[Array, "N C H W"]                      # not u: that is Kh Kw times larger, and quickly made again
    w: Float[Array, "O I Kh Kw"]
    b: Float[Array, "O"] | None
    windows: Windows
    groups: int


def rules(x, w, stride, padding, dilation, groups):
    (O, I), C = w.shape[:2], x.shape[1]
    require(groups >= 1 and O % groups == 0, "groups", f"divide the {O} output channels", groups)
    require(groups * I == C, "w", f"have C / groups = {C} / {groups} input channels", I)
    require_windows(x, w.shape[2:], stride, padding, dilation)


@checked(rules)
def forward(
    x: Float[Array, "N C H W"],
    w: Float[Array, "O I Kh Kw"],
    b: Float[Array, "O"] | None = None,
    *,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
) -> tuple[Float[Array, "N O Ho Wo"], Cache]:
    """y (N, O, Ho, Wo): O features of every window.

    w         kernels; I = C / groups
    stride    from window to window
    padding   zeros on each of the four sides
    dilation  from tap to tap; each of the three is one number, or a pair for rows and columns
    """
    N, O, G, windows = len(x), len(w), groups, slide(x, w.shape[2:], stride, padding, dilation)
    y = np.zeros_like(x, shape=(N, O, *windows.count))          # (N, O, Ho, Wo)
    for n in blocks(x, windows):
        u = columns(x[n], windows, G)                           # (G, I·Kh·Kw, n·Ho·Wo)
        wu = w.reshape(G, O // G, -1) @ u                       # (G, O/G, n·Ho·Wo)
        y[n] = wu.reshape(O, -1, *windows.count).swapaxes(0, 1)
    if b is not None:
        y += b[:, None, None]
    return y, Cache(x, w, b, windows, groups)


@checked(fits)
def backward(dy: Float[Array, "N O Ho Wo"], cache: Cache) -> tuple[Array, ...]:
    """In each group:

        y = w u + b             dw = dy uᵀ              du = wᵀ dy              db = Σ_nij dy
        u = the windows of x    dx adds up du: a pixel was seen by every tap, each time in another window
    """
    x, w, b, windows, G = cache
    C, (O, I, Kh, Kw) = x.shape[1], w.shape
    dx, dw = np.zeros_like(x), np.zeros_like(w, shape=(G, O // G, I * Kh * Kw))
    for n in blocks(x, windows):
        u = columns(x[n], windows, G)                           # (G, I·Kh·Kw, n·Ho·Wo)
        dwu = dy[n].swapaxes(0, 1).reshape(G, O // G, -1)       # (G, O/G, n·Ho·Wo)
        dw += dwu @ u.swapaxes(1, 2)                            # (G, O/G, I·Kh·Kw)
        du = w.reshape(G, O // G, -1).swapaxes(1, 2) @ dwu      # (G, I·Kh·Kw, n·Ho·Wo)
        du = du.reshape(C, Kh * Kw, -1, *windows.count)         # (C, Kh·Kw, n, Ho, Wo)
        padded, inside = zeros(x[n].swapaxes(0, 1), windows)    # inside (C, n, H, W) of padded
        for k, tap in enumerate(taps(padded, windows)):
            tap += du[:, k]
        dx[n] = inside.swapaxes(0, 1)
    db = () if b is None else (dy.sum((0, 2, 3)),)              # (O,)
    return dx, dw.reshape(w.shape), *db


def blocks(x, windows):
    """Slices of the batch whose columns are small enough for the cache; their memory is used again and again."""
    per_image = x[0].size * windows.kernel[0] * windows.kernel[1] if len(x) else 1
    step = max(1, BLOCK // per_image)
    return [slice(n, n + step) for n in range(0, len(x), step)]


def columns(x, windows, G):
    """u (G, I·Kh·Kw, N·Ho·Wo): what each tap sees, in every window of every image."""
    u = np.stack(taps(pad(x.swapaxes(0, 1), windows), windows), axis=1)         # (C, Kh·Kw, N, Ho, Wo)
    return u.reshape(G, u.shape[0] * u.shape[1] // G, u[0, 0].size)


def init(rng, C, O, kernel=3, groups=1):
    """He-normal weights (He et al. 2015) and no bias."""
    Kh, Kw = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    require(groups >= 1 and C % groups == 0, "groups", f"divide the {C} input channels", groups)
    I = C // groups
    return Params(rng.normal(0, (2 / (I * Kh * Kw)) ** 0.5, (O, I, Kh, Kw)), np.zeros(O))


def example(rng):
    N, C, H, W, O, G, Kh, Kw = 2, 4, 7, 8, 6, 2, 3, 5
    w = rng.normal(size=(O, C // G, Kh, Kw))
    return (rng.normal(size=(N, C, H, W)), w, rng.normal(size=O)), {"stride": (2, 1), "padding": (1, 2), "groups": G}
