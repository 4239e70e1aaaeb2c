"""Average pooling: the mean of every window.

    y[i, j] = 1/a_ij Σ_kl x[s i + k - p, s j + l - p]       x is 0 outside the image

s stride, p padding.  The area a is that of the kernel, or, where the padding is not counted, the number of the pixels
of the image that the window sees.

Differs from PyTorch: the padding may be as large as the kernel less one, not only half of it.
"""

from functools import reduce
from typing import NamedTuple

import numpy as np

from visattn.ops._contract import Array, Float, checked
from visattn.ops._windows import Windows, pad, require_windows, slide, taps, zeros


class Cache(NamedTuple):
    x: Float[Array, "N C H W"]                      # of which only the shape is used
    area: Float[Array, "Ho Wo"]                     # a
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
    count_include_pad: bool = True,
) -> tuple[Float[Array, "N C Ho Wo"], Cache]:
    """y (N, C, Ho, Wo): the mean of every window of each channel.

    kernel             rows and columns of a window: one number or a pair, as are
    stride             from window to window; None is the kernel: windows side by side
    padding            zeros on each of the four sides
    count_include_pad  True: they count as pixels;  False: only pixels of the image do
    """
    windows = slide(x, kernel, kernel if stride is None else stride, padding)
    ones = np.ones_like(x, shape=windows.image)
    area = reduce(np.add, taps(pad(ones, windows, 1 if count_include_pad else 0), windows))     # (Ho, Wo)
    y = reduce(np.add, taps(pad(x, windows), windows)) / area                                   # (N, C, Ho, Wo)
    return y, Cache(x, area, windows)


@checked
def backward(dy: Float[Array, "N C Ho Wo"], cache: Cache) -> tuple[Array, ...]:
    """A window gives each of its taps dy / a; a pixel adds up what its windows give it."""
    x, area, windows = cache
    share = dy / area                                           # (N, C, Ho, Wo)
    padded, dx = zeros(x, windows)                              # dx (N, C, H, W), the inside of padded
    for tap in taps(padded, windows):
        tap += share
    return (dx.copy(),)


def example(rng):
    options = {"kernel": (2, 3), "stride": (1, 2), "padding": (1, 1), "count_include_pad": False}
    return (rng.normal(size=(2, 3, 5, 7)),), options
