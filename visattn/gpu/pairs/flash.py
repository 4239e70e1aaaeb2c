"""FlashAttention on a GPU.  Start with flash_v1.py, which reads like the NumPy; flash.cu tells the rest of the story.

    version 2   CUDA C++: a warp is a query, its lanes the keys of a tile: warp shuffles for largest and sum
"""

import numpy as np

from visattn.gpu._device import Source, blocks, contiguous, empty
from visattn.gpu._twin import HALF, twin
from visattn.ops._broadcast import unbroadcast
from visattn.ops._contract import require
from visattn.ops.pairs.flash import Cache, example

__all__ = ["Cache", "backward", "example", "forward"]

SHIPS = 2
WIDEST = 256                                                # columns of a head that the kernels take
cu = Source(__file__)


@twin(dtypes=HALF)
def forward(q, k, v, bias=None, *, mask=None, causal=None, scale=None, tile=None, version=SHIPS):
    """(o, lse); see visattn.ops.flash.  The kernels choose tiles of their own; `tile` is only kept."""
    o, lse = empty((*q.shape[:-1], v.shape[-1]), q.dtype), empty(q.shape[:-1], q.dtype)
    cache = Cache(q, k, v, bias, mask, o, lse, q.shape[-1] ** -0.5 if scale is None else scale, causal, tile)
    arrays, sizes, pad = prepare(cache)
    kernel = cu("flash_warps", Real=q.dtype, **pad)
    kernel(heads(q) * -(-q.shape[-2] // 8), 256, *arrays, o, lse, *sizes,
           shared=4 * (8 * pad["HEAD"] + 32 * (max(pad.values()) + 1)))
    return (o, lse), cache


@twin(dtypes=HALF)
def backward(dy, cache, *, version=SHIPS):
    """dq, dk, dv and, where there is one, dbias; see visattn.ops.flash."""
    do, dlse = map(contiguous, dy)
    q, k, v, bias, _, o, lse, *_ = cache
    arrays, sizes, pad = prepare(cache)
    delta = empty(lse.shape, np.dtype(np.float32))
    scores = None if bias is None else empty((*lse.shape, k.shape[-2]), np.dtype(np.float32))
    dq, dk, dv = empty(q.shape, q.dtype), empty(k.shape, k.dtype), empty(v.shape, v.dtype)
    cu("flash_delta", Real=q.dtype, **pad)(blocks(lse.size, 8), 256, do, o, dlse, delta, lse.size, o.shape[-1])
    given, wide = (*arrays, do, lse, delta), max(pad.values()) + 1
    cu("flash_warps_dq", Real=q.dtype, **pad)(
        heads(q) * -(-q.shape[-2] // 8), 256, *given, dq, scores, *sizes,
        shared=4 * (8 * sum(pad.values()) + 32 * wide))
    cu("flash_warps_dkdv", Real=q.dtype, **pad)(
        heads(k) * -(-k.shape[-2] // 8), 256, *given, dk, dv, *sizes,
        shared=4 * (8 * sum(pad.values()) + 64 * wide))
    if bias is None:
        return dq, dk, dv
    return dq, dk, dv, unbroadcast(scores, bias.shape).astype(bias.dtype)


def prepare(cache):
    """What every kernel is given: the arrays in C order, the sizes and strides, and the defines."""
    q, k, v, bias, mask, _, _, scale, causal, _ = cache
    (T, D), (S, E) = q.shape[-2:], v.shape[-2:]
    require(max(D, E) <= WIDEST, "q, k and v", f"have heads of at most {WIDEST} columns; version=0 takes any", max(D, E))
    diagonal = {None: S, "top_left": 0, "bottom_right": S - T}[causal]      # query t sees the keys s ≤ t + diagonal
    bias, *bias_strides = spread(bias, q.shape[:-3])
    mask, *mask_strides = spread(mask, q.shape[:-3])
    arrays = contiguous(q), contiguous(k), contiguous(v), bias, mask
    sizes = T, S, D, E, q.shape[-3], q.shape[-3] // k.shape[-3], diagonal, float(scale), *bias_strides, *mask_strides
    return arrays, sizes, {"HEAD": padded(D), "VALUE": padded(E)}


def spread(x, batch):
    """x in C order, and its strides along (batch, head, query, key): 0 along an axis that it is broadcast over."""
    if x is None:
        return None, *[np.int64(0)] * 4
    if x.size != x[(0,) * (x.ndim - 3)].size:
        x = np.broadcast_to(x, (*batch, *x.shape[-3:]))                     # leading axes are all there, or none is
    x = contiguous(x)
    *_, H, T, S = x.shape
    strides = (H * T * S if x.size != H * T * S else 0, T * S if H > 1 else 0, S if T > 1 else 0, S > 1)
    return x, *map(np.int64, strides)


def heads(x):
    """How many heads there are in the batch."""
    return int(np.prod(x.shape[:-2]))


def padded(columns):
    return next(size for size in (32, 64, 96, 128, 256) if columns <= size)
