"""Softmax on a GPU.  Start with softmax_v1.py, which reads like the NumPy; softmax.cu tells the rest of the story.

    version 1   Numba: one block a row, the row summed up in shared memory
    version 2   CUDA C++: warp shuffles; each pass reads the row again
    version 3   the row stays in registers: read once, written once; rows too long for that fall back to 2
"""

import numpy as np

from visattn.gpu._device import Source, blocks, contiguous, empty
from visattn.gpu._twin import HALF, twin
from visattn.ops.primitives.softmax import Cache, example

__all__ = ["Cache", "backward", "example", "forward"]

SHIPS = 3
cu = Source(__file__)


@twin(dtypes=HALF)
def forward(x, *, axis=-1, mask=None, version=SHIPS):
    """p: the weights along `axis`; see visattn.ops.softmax."""
    mask = None if mask is None else np.broadcast_to(mask, x.shape)
    its, allowed = rows_of(x, axis), rows_of(mask, axis)
    p = empty(its.shape, x.dtype)
    launch("softmax", version, p, its, allowed, p)
    p = np.moveaxis(p, -1, axis)
    return p, Cache(p, mask, axis)


@twin(dtypes=HALF)
def backward(dp, cache, *, version=SHIPS):
    """dx = p ⊙ (dp - Σ_s dp_s p_s); see visattn.ops.softmax."""
    p, mask, axis = cache
    its = rows_of(dp, axis)
    dx = empty(its.shape, p.dtype)
    launch("softmax_backward", version, dx, its, rows_of(p, axis), rows_of(mask, axis), dx)
    return (np.moveaxis(dx, -1, axis),)


def launch(name, version, out, *args):
    """The kernel for rows of this length: a warp keeps up to 1,024 numbers in registers, a block 8,192."""
    columns = out.shape[-1]
    rows = out.size // columns
    lanes = 32 if columns <= 1024 else 256
    keep = power_of_two(columns / lanes)
    if version == 3 and keep <= 32:
        kernel = cu(f"{name}_kept", Real=out.dtype, LANES=lanes, KEEP=keep)
        kernel(blocks(rows, 256 // lanes), 256, *args, rows, columns)
    else:
        cu(f"{name}_reread", Real=out.dtype)(blocks(rows, 1), 256, *args, rows, columns)


def rows_of(x, axis):
    """x with `axis` last, in C order."""
    return None if x is None else contiguous(np.moveaxis(x, axis, -1))


def power_of_two(x):
    """The least power of two that is not below x."""
    return 1 << int(np.ceil(np.log2(max(x, 1))))
