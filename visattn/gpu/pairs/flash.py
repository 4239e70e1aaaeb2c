"""FlashAttention on a GPU.  Start with flash_v1.py, which reads like the NumPy; flash.cu tells the rest of the story.

    version 1   Numba: a block is a tile of queries, a thread one of them; tiles of keys go through shared memory
    version 2   CUDA C++: a warp is a query, its lanes the keys of a tile: warp shuffles for largest and sum
    version 3   tiles in registers: a thread computes a block of scores and of outputs; few queries share out the keys
    version 4   the forward pass of half precision on tensor cores; float32 and backward are version 3.  This ships
"""

from pathlib import Path

import numpy as np

from visattn.gpu._device import Source, blocks, contiguous, empty, here
from visattn.gpu._twin import HALF, twin
from visattn.ops._broadcast import unbroadcast
from visattn.ops._contract import require
from visattn.ops.pairs.flash import Cache, example

__all__ = ["Cache", "backward", "example", "forward"]

SHIPS = 4
WIDEST = 256                                                # columns of a head that the kernels take
FLOAT = np.dtype(np.float32)
cu = Source(__file__)
tiled, tensor = (Source(str(Path(__file__).with_name(name))) for name in ("flash_tiled", "flash_tensor"))


@twin(dtypes=HALF)
def forward(q, k, v, bias=None, *, mask=None, causal=None, scale=None, tile=None, version=SHIPS):
    """(o, lse); see visattn.ops.flash.  The kernels choose tiles of their own; `tile` is only kept."""
    o, lse = empty((*q.shape[:-1], v.shape[-1]), q.dtype), empty(q.shape[:-1], q.dtype)
    cache = Cache(q, k, v, bias, mask, o, lse, q.shape[-1] ** -0.5 if scale is None else scale, causal, tile)
    arrays, sizes, its = prepare(cache)
    if version == 2:
        cu("flash_warps", **its)(tiles(q, 8), 256, *arrays, o, lse, *sizes,
                                 shared=4 * (8 * its["HEAD"] + 32 * (wide(its) + 1)))
        return (o, lse), cache
    kernel, own, block, shared = plan(version, its)
    share, shares = share_out(tiles(q, own), k.shape[-2])
    parts = parts_lse = None
    if shares > 1:
        parts, parts_lse = empty((shares, *o.shape), FLOAT), empty((shares, *lse.shape), FLOAT)
    kernel((tiles(q, own), shares), block, *arrays, o, lse, parts, parts_lse, share, *sizes, shared=shared)
    if shares > 1:
        cu("flash_merge", **its)(blocks(lse.size, 8), 256, parts, parts_lse, o, lse, lse.size, o.shape[-1], shares)
    return (o, lse), cache


@twin(dtypes=HALF)
def backward(dy, cache, *, version=SHIPS):
    """dq, dk, dv and, where there is one, dbias; see visattn.ops.flash."""
    do, dlse = map(contiguous, dy)
    q, k, v, bias, _, o, lse, *_ = cache
    arrays, sizes, its = prepare(cache)
    dq, dk, dv = (empty(x.shape, x.dtype) for x in (q, k, v))
    delta = empty(lse.shape, FLOAT)
    scores = None if bias is None else empty((*lse.shape, k.shape[-2]), FLOAT)      # the gradient of every score
    cu("flash_delta", **its)(blocks(lse.size, 8), 256, do, o, dlse, delta, lse.size, o.shape[-1])
    given, both = (*arrays, do, lse, delta), its["HEAD"] + its["VALUE"]
    if version == 2:
        cu("flash_warps_dq", **its)(tiles(q, 8), 256, *given, dq, scores, *sizes,
                                    shared=4 * (8 * both + 32 * (wide(its) + 1)))
        cu("flash_warps_dkdv", **its)(tiles(k, 8), 256, *given, dk, dv, *sizes,
                                      shared=4 * (8 * both + 64 * (wide(its) + 1)))
    else:
        own, others = 64 if wide(its) <= 64 else 32, 32
        its, weights = {**its, "OWN": own, "OTHERS": others}, own * (others + 4)
        tiled("flash_tiled_dq", **its)(tiles(q, own), 256, *given, dq, scores, *sizes,
                                       shared=4 * (own * (both + 8) + others * (wide(its) + 4) + weights))
        tiled("flash_tiled_dkdv", **its)(tiles(k, own), 256, *given, dk, dv, *sizes,
                                         shared=4 * ((own + others) * (both + 8) + weights))
    if bias is None:
        return dq, dk, dv
    return dq, dk, dv, unbroadcast(scores, bias.shape).astype(bias.dtype)


def plan(version, its):
    """(kernel, queries of a block, its threads, its shared memory) of the forward pass."""
    if version == 4 and its["Real"] != FLOAT:
        keys = 64 if wide(its) <= 128 else 32
        shared = 2 * (64 * (its["HEAD"] + 8) + keys * (its["HEAD"] + its["VALUE"] + 16)) + 4 * 64 * (keys + 4)
        return tensor("flash_tensor", **its, KEYS=keys), 64, 128, shared
    own, others = 64 if wide(its) <= 128 else 32, 32
    shared = 4 * (own * (its["HEAD"] + 4) + others * (wide(its) + 4) + own * (others + 4))
    return tiled("flash_tiled", **its, OWN=own, OTHERS=others), own, 256, shared


def share_out(blocks, S):
    """(keys of a share, shares): few blocks of queries share out the keys, until there are two blocks for every
    multiprocessor; a share has 256 keys or more."""
    shares = max(1, min(2 * multiprocessors() // max(blocks, 1), S // 256))
    share = max(1, -(-S // shares // 64)) * 64              # whole tiles
    return share, max(1, -(-S // share))


def multiprocessors():
    """How many the device has; elsewhere the choice is that of an H100, so that it is tried there."""
    if here() != "cuda":
        return 132
    import cupy
    return cupy.cuda.Device().attributes["MultiProcessorCount"]


def prepare(cache):
    """What every kernel is given: the arrays in C order, the sizes and strides, and the defines."""
    q, k, v, bias, mask, _, _, scale, causal, _ = cache
    (T, D), (S, E) = q.shape[-2:], v.shape[-2:]
    check(q, v)
    bias, *bias_strides = spread(bias, q.shape[:-3])
    mask, *mask_strides = spread(mask, q.shape[:-3])
    arrays = contiguous(q), contiguous(k), contiguous(v), bias, mask
    sizes = T, S, D, E, q.shape[-3], q.shape[-3] // k.shape[-3], diagonal_of(causal, T, S), float(scale)
    return arrays, (*sizes, *bias_strides, *mask_strides), {"Real": q.dtype, "HEAD": padded(D), "VALUE": padded(E)}


def check(q, v):
    columns = max(q.shape[-1], v.shape[-1])
    require(columns <= WIDEST, "q, k and v", f"have heads of at most {WIDEST} columns; version=0 takes any", columns)


def diagonal_of(causal, T, S):
    """d: query t sees the keys s ≤ t + d; without a causal mask that is every key."""
    return {None: S, "top_left": 0, "bottom_right": S - T}[causal]


def spread(x, batch):
    """x in C order, and its strides along (batch, head, query, key): 0 along an axis that it is broadcast over."""
    if x is None:
        return None, *[np.int64(0)] * 4
    if x.ndim > 3 and any(n != 1 for n in x.shape[:-3]):
        x = np.broadcast_to(x, (*batch, *x.shape[-3:]))                     # leading axes are all there, or none is
    x = contiguous(x)
    *_, H, T, S = x.shape
    strides = (H * T * S if x.size != H * T * S else 0, T * S if H > 1 else 0, S if T > 1 else 0, S > 1)
    return x, *map(np.int64, strides)


def tiles(x, rows):
    """How many tiles of so many rows the heads of the batch have."""
    return int(np.prod(x.shape[:-2])) * -(-x.shape[-2] // rows)


def padded(columns):
    return next(size for size in (32, 64, 96, 128, 256) if columns <= size)


def wide(its):
    return max(its["HEAD"], its["VALUE"])
