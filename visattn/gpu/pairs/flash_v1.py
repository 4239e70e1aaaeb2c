"""FlashAttention as Numba CUDA kernels: what one thread does, in Python.

A block has TILE × TILE threads and TILE queries.  Tile after tile of the keys and their values comes into shared
memory; thread (x, y) takes the score of query y and key x of the tile, puts it where the others of its query see it,
and then computes every TILE-th column of its query's output.  In backward the same threads sum dq over the keys; and
for dk and dv a block has TILE keys instead, and the queries of all heads that read them come by.

Keys and values are read once for every TILE queries.  Bias and mask are taken whole, which version 2 does not need.
"""

import math

import numpy as np
from numba import config, cuda, float32

from visattn.gpu._device import contiguous, empty, ones, zeros
from visattn.gpu._numba import exp
from visattn.gpu.pairs.flash import WIDEST, check, diagonal_of
from visattn.ops._broadcast import unbroadcast
from visattn.ops.pairs.flash import Cache

TILE = 2 if config.ENABLE_CUDASIM else 8
INFINITY = np.float32(np.inf)
log = math.log


@cuda.jit
def flash_queries(q, k, v, bias, mask, scale, diagonal, o, lse):
    keys = cuda.shared.array((TILE, WIDEST), float32)
    values = cuda.shared.array((TILE, WIDEST), float32)
    u = cuda.shared.array((TILE, WIDEST), float32)
    p = cuda.shared.array((TILE, TILE), float32)
    x, y, head, t = cuda.threadIdx.x, cuda.threadIdx.y, cuda.blockIdx.y, cuda.blockIdx.x * TILE + cuda.threadIdx.y
    T, S, D, E, key_head = q.shape[1], k.shape[1], q.shape[2], v.shape[2], head // (q.shape[0] // k.shape[0])
    m, l = -INFINITY, float32(0)
    for e in range(x, E, TILE):
        u[y, e] = 0

    for first in range(0, min(S, (cuda.blockIdx.x + 1) * TILE + diagonal), TILE):
        load(k, key_head, first + y, keys)
        load(v, key_head, first + y, values)
        cuda.syncthreads()
        s = first + x
        p[y, x] = -INFINITY
        if t < T and s < S and s <= t + diagonal and mask[head, t, s] and bias[head, t, s] != -INFINITY:
            a = float32(0)
            for d in range(D):
                a += q[head, t, d] * keys[x, d]
            p[y, x] = scale * a + bias[head, t, s]
        cuda.syncthreads()

        #= m_old, m = m, np.maximum(m, a.max(-1, keepdims=True))
        m_old = m
        for j in range(TILE):
            m = max(m, p[y, j])
        cuda.syncthreads()
        p[y, x] = exp(p[y, x] - or_zero(m))
        cuda.syncthreads()
        #= shrink = np.exp(m_old - or_zero(m))
        shrink = exp(m_old - or_zero(m))
        l *= shrink
        for j in range(TILE):
            l += p[y, j]
        #= u = shrink * u + weigh(p, part(v, head, q)[cols], allowed)          # (rows, E)
        for e in range(x, E, TILE):
            total = shrink * u[y, e]
            for j in range(TILE):
                if p[y, j] != 0:                    # 0 · NaN is NaN
                    total += p[y, j] * values[j, e]
            u[y, e] = total
        cuda.syncthreads()

    #= o[head][rows] = u / l
    if t < T:
        for e in range(x, E, TILE):
            o[head, t, e] = float32(0) if l == 0 else u[y, e] / l
        if x == 0:
            lse[head, t] = -INFINITY if l == 0 else m + log(l)


@cuda.jit
def flash_dq(q, k, v, bias, mask, scale, diagonal, do, lse, delta, dq, scores):
    keys = cuda.shared.array((TILE, WIDEST), float32)
    values = cuda.shared.array((TILE, WIDEST), float32)
    da = cuda.shared.array((TILE, TILE), float32)
    x, y, head, t = cuda.threadIdx.x, cuda.threadIdx.y, cuda.blockIdx.y, cuda.blockIdx.x * TILE + cuda.threadIdx.y
    T, S, D, E, key_head = q.shape[1], k.shape[1], q.shape[2], v.shape[2], head // (q.shape[0] // k.shape[0])

    for first in range(0, min(S, (cuda.blockIdx.x + 1) * TILE + diagonal), TILE):
        load(k, key_head, first + y, keys)
        load(v, key_head, first + y, values)
        cuda.syncthreads()
        s = first + x
        da[y, x] = 0
        if t < T and s < S and s <= t + diagonal and mask[head, t, s] and bias[head, t, s] != -INFINITY:
            a, dp = float32(0), float32(0)
            for d in range(D):
                a += q[head, t, d] * keys[x, d]
            for e in range(E):
                dp += do[head, t, e] * values[x, e]
            #= dp -= delta[head][rows][:, None]
            da[y, x] = exp(scale * a + bias[head, t, s] - or_zero(lse[head, t])) * (dp - delta[head, t])
            scores[head, t, s] = da[y, x]
        cuda.syncthreads()
        #= dqs += scale * weigh(da, part(k, head, q)[cols], allowed)
        if t < T:
            for d in range(x, D, TILE):
                for j in range(TILE):
                    if da[y, j] != 0:
                        dq[head, t, d] += scale * da[y, j] * keys[j, d]
        cuda.syncthreads()


@cuda.jit
def flash_dkdv(q, k, v, bias, mask, scale, diagonal, do, lse, delta, dk, dv):
    queries = cuda.shared.array((TILE, WIDEST), float32)
    douts = cuda.shared.array((TILE, WIDEST), float32)
    p = cuda.shared.array((TILE, TILE), float32)
    da = cuda.shared.array((TILE, TILE), float32)
    x, y, key_head, s = cuda.threadIdx.x, cuda.threadIdx.y, cuda.blockIdx.y, cuda.blockIdx.x * TILE + cuda.threadIdx.y
    T, S, D, E, group = q.shape[1], k.shape[1], q.shape[2], v.shape[2], q.shape[0] // k.shape[0]

    for head in range(key_head * group, (key_head + 1) * group):
        for first in range(max(0, cuda.blockIdx.x * TILE - diagonal), T, TILE):
            load(q, head, first + y, queries)
            load(do, head, first + y, douts)
            cuda.syncthreads()
            t = first + x
            p[y, x], da[y, x] = 0, 0
            if t < T and s < S and s <= t + diagonal and mask[head, t, s] and bias[head, t, s] != -INFINITY:
                a, dp = float32(0), float32(0)
                for d in range(D):
                    a += queries[x, d] * k[key_head, s, d]
                for e in range(E):
                    dp += douts[x, e] * v[key_head, s, e]
                p[y, x] = exp(scale * a + bias[head, t, s] - or_zero(lse[head, t]))
                da[y, x] = p[y, x] * (dp - delta[head, t])
            cuda.syncthreads()
            #= dvs += weigh(p.T, do[head][rows], turned)
            #= dks += scale * weigh(da.T, q[head][rows], turned)
            if s < S:
                for j in range(TILE):
                    if p[y, j] != 0:
                        for e in range(x, E, TILE):
                            dv[key_head, s, e] += p[y, j] * douts[j, e]
                        for d in range(x, D, TILE):
                            dk[key_head, s, d] += scale * da[y, j] * queries[j, d]
            cuda.syncthreads()


@cuda.jit(device=True)
def load(rows, head, row, tile):
    """This thread's part of one row comes into shared memory; zeros where there is no such row."""
    x, y = cuda.threadIdx.x, cuda.threadIdx.y
    for d in range(x, rows.shape[2], TILE):
        tile[y, d] = rows[head, row, d] if row < rows.shape[1] else float32(0)


@cuda.jit(device=True)
def or_zero(m):
    return float32(0) if m == -INFINITY else m


def forward(q, k, v, bias=None, *, mask=None, causal=None, scale=None, tile=None):
    o, lse = empty((*q.shape[:-1], v.shape[-1]), q.dtype), empty(q.shape[:-1], q.dtype)
    cache = Cache(q, k, v, bias, mask, o, lse, q.shape[-1] ** -0.5 if scale is None else scale, causal, tile)
    if lse.size:
        flash_queries[grid(q)](*flat(cache), heads(o), heads(lse, 1))
    return (o, lse), cache


def backward(dy, cache):
    do, dlse = dy
    q, k, v, bias, _, o, lse, *_ = cache
    dq, dk, dv, scores = (zeros(shape, q.dtype) for shape in (q.shape, k.shape, v.shape, (*lse.shape, k.shape[-2])))
    #= delta = (do * o).sum(-1) - dlse                                                 # (*B, Gq, T)
    delta = (do * o).sum(-1) - dlse
    given = *flat(cache), heads(do), heads(lse, 1), heads(delta, 1)
    if lse.size:
        flash_dq[grid(q)](*given, heads(dq), heads(scores))
    if lse.size and k.size:
        flash_dkdv[grid(k)](*given, heads(dk), heads(dv))
    return (dq, dk, dv) if bias is None else (dq, dk, dv, unbroadcast(scores, bias.shape))


def flat(cache):
    """What every kernel is given: arrays (heads of the batch, rows, columns), scale, and the diagonal."""
    q, k, v, bias, mask, _, lse, scale, causal, _ = cache
    check(q, v)
    pairs = (*lse.shape, k.shape[-2])
    bias = zeros(pairs, q.dtype) if bias is None else np.broadcast_to(bias, pairs)
    mask = ones(pairs, bool) if mask is None else np.broadcast_to(mask, pairs)
    return *map(heads, (q, k, v, bias, mask)), np.float32(scale), diagonal_of(causal, *pairs[-2:])


def heads(x, axes=2):
    """(*B, G, …) as (B G, …)"""
    return contiguous(x).reshape(math.prod(x.shape[:-axes]), *x.shape[-axes:])


def grid(x):
    N, rows = heads(x).shape[:2]
    return (-(-rows // TILE), N), (TILE, TILE)
