"""Windows that slide over an image: the geometry that convolution and pooling share.

    n = ⌊(H + 2p - d (K - 1) - 1) / s⌋ + 1          windows along an axis of H pixels
    tap k of window i lies on pixel s i + d k - p   s stride, d dilation, p padding

`taps` are views of the padded image: reading them gathers the windows, and adding to them is the transpose.
"""

from typing import NamedTuple

import numpy as np

from visattn.ops._contract import require


class Windows(NamedTuple):
    image: tuple[int, int]                          # each: (of rows, of columns)
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]

    @property
    def count(self):
        """(Ho, Wo): windows along rows and columns."""
        return tuple((H + 2 * p - d * (K - 1) - 1) // s + 1 for H, K, s, p, d in zip(*self))


def slide(x, kernel, stride, padding, dilation=1):
    """The windows over the last two axes of x; one number stands for rows and columns."""
    pairs = (tuple(v) if isinstance(v, (tuple, list)) else (v, v) for v in (kernel, stride, padding, dilation))
    return Windows(tuple(x.shape[-2:]), *pairs)


def require_windows(x, kernel, stride, padding, dilation=1):
    """Every window overlaps the image, and there is one."""
    for H, K, s, p, d in zip(*slide(x, kernel, stride, padding, dilation)):
        extent = d * (K - 1) + 1
        require(K >= 1, "kernel", "be at least 1", kernel)
        require(s >= 1, "stride", "be at least 1", stride)
        require(d >= 1, "dilation", "be at least 1", dilation)
        require(0 <= p < extent, "padding", f"be at least 0 and below {extent}, the extent of the kernel", padding)
        require(extent <= H + 2 * p, "x", f"be as large, with its padding, as the kernel: {extent}", H + 2 * p)


def fits(dy, cache):
    """The rule of a backward whose cache holds nothing of the shape of its output."""
    count = cache.windows.count
    require(dy.shape[-2:] == count, "dy", f"have {' by '.join(map(str, count))} places", f"shape {dy.shape}")


def pad(x, windows, value=0):
    """x with p rows and columns of `value` around it."""
    p, q = windows.padding
    return np.pad(x, ((0, 0),) * (x.ndim - 2) + ((p, p), (q, q)), constant_values=value) if p or q else x


def zeros(x, windows):
    """A padded image of zeros with the leading axes of x, for its gradient to add up in, and its inside."""
    (H, W), (p, q) = windows.image, windows.padding
    padded = np.zeros((*x.shape[:-2], H + 2 * p, W + 2 * q), dtype=x.dtype, like=x)
    return padded, padded[..., p:p + H, q:q + W]


def taps(padded, windows):
    """[view (..., Ho, Wo) of what each tap sees in all windows], by rows of the kernel."""
    (Kh, Kw), (s, t), (d, e), (Ho, Wo) = windows.kernel, windows.stride, windows.dilation, windows.count
    return [padded[..., d * k:d * k + s * (Ho - 1) + 1:s, e * l:e * l + t * (Wo - 1) + 1:t]
            for k in range(Kh) for l in range(Kw)]
