"""Depthwise convolution: every channel weighed by a kernel of its own.

    y[c, i, j] = b[c] + Σ_kl w[c, k, l] x[c, s i + d k - p, s j + d l - p]      x is 0 outside the image

s stride, p padding, d dilation.  It is `conv2d` with as many groups as channels, written as what it is: a sum of
shifted images.  No channel sees another, so it has Kh·Kw weights a channel, and a product and a sum for each.

Differs from PyTorch: the padding stays below the extent of the kernel, so that every window overlaps the image.
"""

from typing import NamedTuple

import numpy as np

from visattn.ops._contract import Array, Float, checked
from visattn.ops._windows import Windows, fits, pad, require_windows, slide, taps, zeros


class Params(NamedTuple):
    w: Float[Array, "C Kh Kw"]
    b: Float[Array, "C"] | None = None


class Cache(NamedTuple):
    x: Float[Array, "N C H W"]
    w: Float[Array, "C Kh Kw"]
    b: Float[Array, "C"] | None
    windows: Windows


def rules(x, w, stride, padding, dilation):
    require_windows(x, w.shape[1:], stride, padding, dilation)


@checked(rules)
def forward(
    x: Float[Array, "N C H W"],
    w: Float[Array, "C Kh Kw"],
    b: Float[Array, "C"] | None = None,
    *,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
) -> tuple[Float[Array, "N C Ho Wo"], Cache]:
    """y (N, C, Ho, Wo): one feature of every window of each channel.

    stride    from window to window
    padding   zeros on each of the four sides
    dilation  from tap to tap; each of the three is one number, or a pair for rows and columns
    """
    windows = slide(x, w.shape[1:], stride, padding, dilation)
    wk = w.reshape(len(w), -1, 1, 1)                            # (C, Kh·Kw, 1, 1)
    y = np.zeros((*x.shape[:2], *windows.count), dtype=x.dtype, like=x)
    for k, tap in enumerate(taps(pad(x, windows), windows)):
        y += wk[:, k] * tap                                     # (N, C, Ho, Wo)
    if b is not None:
        y += b[:, None, None]
    return y, Cache(x, w, b, windows)


@checked(fits)
def backward(dy: Float[Array, "N C Ho Wo"], cache: Cache) -> tuple[Array, ...]:
    """From y_nc = b_c + Σ_k w_ck x_nc(k), x(k) the image as tap k sees it:

        dw_ck = Σ_nij dy_nc ⊙ x_nc(k)           db_c = Σ_nij dy_nc
        dx adds up w_ck dy_nc where tap k saw it
    """
    x, w, b, windows = cache
    wk = w.reshape(len(w), -1, 1, 1)                            # (C, Kh·Kw, 1, 1)
    dw = [np.einsum("ncij,ncij->c", dy, tap) for tap in taps(pad(x, windows), windows)]         # Kh·Kw times (C,)
    db = () if b is None else (dy.sum((0, 2, 3)),)              # (C,)
    padded, dx = zeros(x, windows)                              # dx (N, C, H, W), the inside of padded
    for k, tap in enumerate(taps(padded, windows)):
        tap += wk[:, k] * dy
    return dx.copy(), np.stack(dw, axis=1).reshape(w.shape), *db


def init(rng, C, kernel=3):
    """He-normal weights (He et al. 2015) and no bias."""
    Kh, Kw = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    return Params(rng.normal(0, (2 / (Kh * Kw)) ** 0.5, (C, Kh, Kw)), np.zeros(C))


def example(rng):
    N, C, H, W, Kh, Kw = 2, 4, 7, 8, 3, 5
    args = rng.normal(size=(N, C, H, W)), rng.normal(size=(C, Kh, Kw)), rng.normal(size=C)
    return args, {"stride": (2, 1), "padding": (1, 2)}
