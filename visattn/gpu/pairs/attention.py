"""Attention on a GPU with its map in memory, as the NumPy has it.  Start with attention_v1.py; attention.cu tells the
rest of the story, and flash goes on where it ends: at the T × S numbers that go out to memory and come back.

    version 1   Numba: a thread a score, a thread a row of the softmax, a thread a number of the output
    version 2   CUDA C++: the same kernels
    version 3   both products in tiles, shared memory and registers; rows of the softmax in registers (those of more
                than 8,192 keys fall back to 2)
"""

from math import prod

import numpy as np

from visattn.gpu._device import Source, blocks, contiguous, empty
from visattn.gpu._twin import HALF, twin
from visattn.ops._broadcast import unbroadcast
from visattn.ops.pairs.attention import Cache, _allowed, example

__all__ = ["Cache", "backward", "example", "forward"]

SHIPS = 3
cu = Source(__file__)


@twin(dtypes=HALF)
def forward(q, k, v, bias=None, *, mask=None, causal=None, scale=None, softcap=None, version=SHIPS):
    """o (*B, T, E): for each of T queries, a mean of the S values; see visattn.ops.attention."""
    q, k, v, bias = map(contiguous, (q, k, v, bias))
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    p = empty((*q.shape[:-1], k.shape[-2]), q.dtype)                # the scores, and in their place the weights
    u = None if softcap is None else empty(p.shape, p.dtype)
    allowed = _allowed(mask, bias, causal, p)
    scores(version, q, k, p, scale=scale, bias=bias, u=u, softcap=softcap)
    rows("softmax", version, p, mask=allowed)
    return weigh(version, p, v, allowed), Cache(q, k, v, bias, u, p, allowed, scale)


@twin(dtypes=HALF)
def backward(do, cache, *, version=SHIPS):
    """dq, dk, dv and, where there was a bias, dbias; see visattn.ops.attention."""
    q, k, v, bias, u, p, mask, scale = cache
    do = contiguous(do)
    dv = weigh(version, p, do, mask, turned=True)
    da = empty(p.shape, p.dtype)                                    # dp, and in its place da
    scores(version, do, v, da)
    uncapped = None if bias is None or u is None else empty(p.shape, p.dtype)
    rows("softmax_backward", version, da, p, u, uncapped, mask=mask)
    dbias = () if bias is None else (summed(da if u is None else uncapped, bias),)
    dq = weigh(version, da, k, mask, scale)
    dk = weigh(version, da, q, mask, scale, turned=True)
    return dq, dk, dv, *dbias


def scores(version, q, k, a, *, scale=1.0, bias=None, u=None, softcap=None):
    """a = scale q kᵀ, capped and with its bias."""
    *batch, T, S = a.shape
    B, D = prod(batch), q.shape[-1]
    args = (q, k, *repeated(bias, batch), u, a, B, T, S, D, float(scale), float(softcap or 0))
    if version == 2:
        cu("scores_naive", Real=a.dtype)(blocks(B * T * -(-S // 32), 8), 256, *args)
    else:
        cu("scores_tiled", Real=a.dtype)(blocks(B * -(-T // 64) * -(-S // 64), 1), 128, *args)


def weigh(version, p, x, allowed, scale=1.0, *, turned=False):
    """scale p x, or turned scale pᵀ x, where a pair that is not allowed adds nothing."""
    *batch, T, S = p.shape
    allowed, begins, *steps = repeated(allowed, batch)
    (R, C), steps = ((S, T), steps[::-1]) if turned else ((T, S), steps)
    B, E = prod(batch), x.shape[-1]
    y = empty((*batch, R, E), x.dtype)
    args = (p, turned, x, allowed, begins, *steps, y, B, R, C, E, float(scale))
    if version == 2:
        cu("weigh_naive", Real=x.dtype)(blocks(B * R * -(-E // 32), 8), 256, *args)
    else:
        cu("weigh_tiled", Real=x.dtype)(blocks(B * -(-R // 64) * -(-E // 64), 1), 128, *args)
    return y


def rows(name, version, out, *args, mask):
    """The kernel for rows of this length: a warp keeps up to 1,024 numbers in registers, a block 8,192."""
    *batch, T, S = out.shape
    args = (out, *args, *repeated(mask, batch), prod(batch), T, S)
    lanes = 32 if S <= 1024 else 256
    keep = next((numbers for numbers in (2, 8, 32) if lanes * numbers >= S), None)      # few kernels to compile
    if S == 0:
        return
    if version == 2 or keep is None:
        cu(f"{name}_naive", Real=out.dtype)(blocks(prod(batch) * T, 256), 256, *args)
    else:
        kernel = cu(f"{name}_kept", Real=out.dtype, LANES=lanes, KEEP=keep)
        kernel(blocks(prod(batch) * T, 256 // lanes), 256, *args)


def repeated(x, batch):
    """x (*#B, #T, #S) as the kernels read it, without a copy: its numbers; where the matrix of each batch begins; and
    the steps along queries and keys, 0 where x is the same for all of them."""
    if x is None:
        return None, None, 0, 0
    x = contiguous(x)
    *lead, T, S = x.shape
    begins = np.arange(prod(lead), like=x).reshape(lead) * (T * S)
    return x, np.broadcast_to(begins, batch).reshape(-1).astype(np.int64), 0 if T == 1 else S, 0 if S == 1 else 1


def summed(da, bias):
    """da, summed where the bias was repeated, in float32."""
    if da.shape == bias.shape:
        return da
    return unbroadcast(da.astype(np.float32), bias.shape).astype(bias.dtype)
