"""Max pooling: the largest pixel of every window.

    y[i, j] = max_kl x[s i + k - p, s j + l - p]        x is -∞ outside the image

s stride, p padding.  A pixel that wins its window takes the whole gradient.  Of several that are equally large,
`ties="first"` gives it to the first in reading order, as PyTorch does, and `ties="even"` an equal part to each.  The
padding never wins.  A NaN is larger than any number.

Differs from PyTorch: of several NaNs in a window, too, the first takes the gradient, not the last; and the padding may
be as large as the kernel less one, not only half of it.
"""

from functools import reduce
from typing import Literal, NamedTuple

import numpy as np

from visattn.ops._contract import Array, Bool, Float, checked
from visattn.ops._windows import Windows, pad, require_windows, slide, taps, zeros


class Cache(NamedTuple):
    y: Float[Array, "N C Ho Wo"]
    wins: Bool[Array, "K N C Ho Wo"]                # the taps that the gradient of each window goes to
    windows: Windows


def rules(x, kernel, stride, padding):
    require_windows(x, kernel, kernel if stride is None else stride, padding)


@checked(rules)
def forward(
    x: Float[Array, "N C H W"],
    *,
    kernel: int | tuple[int, int],
    stride: int | tuple[int, int] | None = None,
    padding: int | tuple[int, int] = 0,
    ties: Literal["first", "even"] = "first",
) -> tuple[Float[Array, "N C Ho Wo"], Cache]:
    """y (N, C, Ho, Wo): the largest pixel of every window of each channel.

    kernel   rows and columns of a window: one number or a pair, as are
    stride   from window to window; None is the kernel: windows side by side
    padding  on each of the four sides
    ties     "first" or "even": which of several largest pixels take part in the gradient
    """
    windows = slide(x, kernel, kernel if stride is None else stride, padding)
    pixels = taps(pad(x, windows, -np.inf), windows)            # K times (N, C, Ho, Wo)
    inside = taps(pad(np.ones_like(x, bool, shape=windows.image), windows), windows)
    y = reduce(np.maximum, pixels).copy()                       # (N, C, Ho, Wo)
    wins = np.stack([((pixel == y) | np.isnan(pixel)) & there for pixel, there in zip(pixels, inside)])
    if ties == "first":
        taken = np.zeros_like(wins[0])
        for win in wins:
            win &= ~taken
            taken |= win
    return y, Cache(y, wins, windows)


@checked
def backward(dy: Float[Array, "N C Ho Wo"], cache: Cache) -> tuple[Array, ...]:
    """A window gives its dy to the taps that won it, in equal parts; a pixel adds up what its windows give it."""
    _, wins, windows = cache
    share = dy / wins.sum(0, dtype=dy.dtype)                    # (N, C, Ho, Wo)
    padded, dx = zeros(dy, windows)                             # dx (N, C, H, W), the inside of padded
    for win, tap in zip(wins, taps(padded, windows)):
        tap += np.where(win, share, 0)
    return (dx.copy(),)


def example(rng):
    return (rng.normal(size=(2, 3, 5, 7)),), {"kernel": (2, 3), "stride": (1, 2), "padding": (0, 1)}
