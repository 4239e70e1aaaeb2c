"""FlashAttention: exact attention from tiles of the scores, so that the attention map is never in memory.

Dao et al., "FlashAttention: Fast and Memory-Efficient Exact Attention with IO-Awareness", NeurIPS 2022, algorithms 1
and 4, over the online softmax of Milakov & Gimelshein, "Online normalizer calculation for softmax", 2018.

For a block of queries, tile after tile of the keys, with m the largest score so far and l the sum so far:

    a  = q kᵀ / √D                              the scores of one tile
    m′ = max(m, max_s a)
    p  = exp(a - m′)
    l′ = exp(m - m′) l + Σ_s p                  what was summed under the old maximum is scaled to the new one
    u′ = exp(m - m′) u + p v

and after the last tile

    o = u / l,      lse = m + log l = log Σ_s exp a

With lse kept for every query, backward has any tile of the map again as p = exp(a - lse).  Query head h reads key head
⌊h / R⌋, R = Gq / G, as in grouped-query attention.  A score of -∞ is one of a key that is not there, be it by mask,
by bias or by itself; **a query with no key left gives o = 0 and lse = -∞ and passes exactly zero gradient**; what a
masked key holds, NaN included, reaches neither output nor gradients.
Differs from the paper: u is divided by l once, at the end, as in Dao, "FlashAttention-2", 2023; tiles that lie wholly
above the diagonal of a causal mask are left out; lse is an output, with a gradient of its own.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Literal, NamedTuple

import numpy as np

from visattn.ops._broadcast import unbroadcast
from visattn.ops._contract import Array, Bool, Float, checked, require
from visattn.ops.pairs.attention import weigh

# Heads share the processors where BLAS keeps to one thread, which is best for tiles; its threads would be in the way.
ONE = os.environ.get("OPENBLAS_NUM_THREADS", os.environ.get("OMP_NUM_THREADS")) == "1"
THREADS = os.cpu_count() if ONE else 1


class Cache(NamedTuple):
    q: Float[Array, "*B Gq T D"]
    k: Float[Array, "*B G S D"]
    v: Float[Array, "*B G S E"]
    bias: Float[Array, "*#B #Gq #T #S"] | None
    mask: Bool[Array, "*#B #Gq #T #S"] | None       # True = may be attended; None = everything may
    o: Float[Array, "*B Gq T E"]
    lse: Float[Array, "*B Gq T"]                    # all that is kept of the attention map
    scale: float
    causal: str | None
    tile: tuple[int, int] | None


def rules(q, k, scale, tile):
    G, Gq = k.shape[-3], q.shape[-3]
    require(Gq % G == 0, "q", f"have a multiple of the {G} heads of k", Gq)
    require(scale is None or np.isfinite(scale), "scale", "be finite", scale)
    require(tile is None or min(tile) > 0, "tile", "have sides above 0", tile)


@checked(rules)
def forward(
    q: Float[Array, "*B Gq T D"],
    k: Float[Array, "*B G S D"],
    v: Float[Array, "*B G S E"],
    bias: Float[Array, "*#B #Gq #T #S"] | None = None,
    *,
    mask: Bool[Array, "*#B #Gq #T #S"] | None = None,
    causal: Literal["top_left", "bottom_right"] | None = None,
    scale: float | None = None,
    tile: tuple[int, int] | None = None,
) -> tuple[tuple[Float[Array, "*B Gq T E"], Float[Array, "*B Gq T"]], Cache]:
    """(o, lse): for each of T queries the mean of the S values, and log Σ exp of its scores.

    *B, bias, mask, causal, scale    as in attention, but that bias and mask have an axis of heads
    tile    how many queries and keys meet at a time; None is what stays in a processor's cache
    """
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    o, lse = np.zeros_like(q, shape=(*q.shape[:-1], v.shape[-1])), np.full_like(q, -np.inf, shape=q.shape[:-1])
    cache = Cache(q, k, v, bias, mask, o, lse, scale, causal, tile)
    height, width = sides(cache)
    ones = np.ones_like(q, shape=(k.shape[-2], 1))

    def attend(head):
        room = np.zeros_like(q, shape=(height, width))
        for rows in blocks(q.shape[-2], height):
            m = np.full_like(q, -np.inf, shape=(rows.stop - rows.start, 1))         # the largest score so far
            l = u = np.zeros_like(m)                                                # Σ_s p and p v so far
            for cols in blocks(last_key(cache, rows), width):
                a, allowed = scores(cache, head, rows, cols, room)                  # (rows, cols)
                m_old, m = m, np.maximum(m, a.max(-1, keepdims=True))
                a -= or_zero(m)
                p = np.exp(a, out=a)                                                # (rows, cols)
                shrink = np.exp(m_old - or_zero(m))
                l = shrink * l + p @ ones[cols]                                     # Σ_s p, by what adds fastest
                u = shrink * u + weigh(p, part(v, head, q)[cols], allowed)          # (rows, E)
            l = np.where(m == -np.inf, 1, l)
            o[head][rows] = u / l
            lse[head][rows] = (m + np.log(l))[:, 0]

    each(attend, q, 1)
    return (o, lse), cache


@checked
def backward(
    dy: tuple[Float[Array, "*B Gq T E"], Float[Array, "*B Gq T"]], cache: Cache
) -> tuple[Array, ...]:
    """dy = (do, dlse).  Tile by tile, p once more from the scores:

        p = exp(a - lse)            the tile of the attention map
        o = p v                     dv = pᵀ do              dp = do vᵀ
        p = softmax_s a             da = p ⊙ (dp - Σ_s dp ⊙ p),     and  Σ_s dp ⊙ p = Σ_e do ⊙ o  needs no map
        lse = log Σ_s exp a         da += p ⊙ dlse          hence  da = p ⊙ (dp - δ),  δ = Σ_e do ⊙ o - dlse
        a = q kᵀ / √D + bias        dq = da k / √D,  dk = daᵀ q / √D,  dbias = da, summed where it was broadcast

    Key s collects from all queries, and key head g from the R heads that read it.
    """
    do, dlse = dy
    q, k, v, bias, _, o, lse, scale, *_ = cache
    dq, dk, dv = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
    dbias = None if bias is None else np.zeros_like(bias)
    delta = (do * o).sum(-1) - dlse                                                 # (*B, Gq, T)
    height, width = sides(cache)
    R = q.shape[-3] // k.shape[-3]                                                  # heads that write to one dk

    def differentiate(head):
        room, room2 = np.zeros_like(q, shape=(2, height, width))
        for rows in blocks(q.shape[-2], height):
            for cols in blocks(last_key(cache, rows), width):
                a, allowed = scores(cache, head, rows, cols, room)                  # (rows, cols)
                turned = None if allowed is None else allowed.T
                a -= or_zero(lse[head][rows])[:, None]
                p = np.exp(a, out=a)                                                # (rows, cols)
                dvs = part(dv, head, q)[cols]
                dvs += weigh(p.T, do[head][rows], turned)
                dp = np.matmul(do[head][rows], part(v, head, q)[cols].T, out=corner(room2, rows, cols))
                dp -= delta[head][rows][:, None]
                dp *= p
                da = dp
                if allowed is not None:
                    da[~allowed] = 0                                                # v may be NaN there
                if bias is not None:
                    dbs = among(part(dbias, head, q), rows, cols)
                    dbs += unbroadcast(da, dbs.shape)
                dqs, dks = dq[head][rows], part(dk, head, q)[cols]
                dqs += scale * weigh(da, part(k, head, q)[cols], allowed)
                dks += scale * weigh(da.T, q[head][rows], turned)

    each(differentiate, q, R if bias is None else max(lse.size, 1))
    return (dq, dk, dv) if dbias is None else (dq, dk, dv, dbias)


def scores(cache, head, rows, cols, room):
    """A tile of the scores, -∞ where a query may not attend; and where it may, None for everywhere.

    room    where the tile is written, over the one before
    """
    q, k = cache.q[head][rows], part(cache.k, head, cache.q)[cols]
    bias, mask = (x if x is None else among(part(x, head, cache.q), rows, cols) for x in (cache.bias, cache.mask))
    a = np.matmul(cache.scale * q, k.T, out=corner(room, rows, cols))               # (rows, cols)
    allowed = mask
    if bias is not None:
        a += bias
        allowed = bias != -np.inf if allowed is None else allowed & (bias != -np.inf)
    if cache.causal is not None and cols.stop > last_key(cache, slice(rows.start, rows.start + 1)):
        t, s = np.arange(rows.start, rows.stop, like=a)[:, None], np.arange(cols.start, cols.stop, like=a)
        allowed = s <= t + diagonal(cache) if allowed is None else allowed & (s <= t + diagonal(cache))
    if allowed is not None:
        allowed = np.broadcast_to(allowed, a.shape)
        a[~allowed] = -np.inf
    return a, allowed


def diagonal(cache):
    """d: under the causal mask, query t sees the keys s ≤ t + d."""
    return cache.k.shape[-2] - cache.q.shape[-2] if cache.causal == "bottom_right" else 0


def last_key(cache, rows):
    """How many keys the last of these queries sees; what comes after is above the diagonal for all of them."""
    S = cache.k.shape[-2]
    return S if cache.causal is None else min(max(rows.stop + diagonal(cache), 0), S)


def sides(cache):
    """Rows and columns of a tile: as asked for, or what stays in a processor's cache; never more than there are."""
    height, width = cache.tile or (512, 512)
    return min(height, cache.q.shape[-2]), min(width, cache.k.shape[-2])


def blocks(n, size):
    """The first n in slices of this size; the last may be shorter."""
    return [slice(i, min(i + size, n)) for i in range(0, n, size or 1)]


def corner(room, rows, cols):
    """As much of a tile's memory as these queries and keys take."""
    return room[:rows.stop - rows.start, :cols.stop - cols.start]


def part(x, head, q):
    """What a query head has of an array with fewer heads: its key head's share, or what is broadcast over all."""
    return x[tuple(i * n // N for i, n, N in zip(head[::-1], x.shape[-3::-1], q.shape[-3::-1]))[::-1]]


def among(x, rows, cols):
    """A tile of a mask or bias, as a view: an axis of one serves all of that axis."""
    return x[rows if x.shape[0] > 1 else slice(None), cols if x.shape[1] > 1 else slice(None)]


def or_zero(m):
    """m, and 0 where it is -∞: then exp(-∞ - m) is 0 and not NaN."""
    return np.where(m == -np.inf, 0, m)


def each(work, q, run):
    """work(head) for every head of q; a run of heads, which write to one place, one after the other."""
    heads = list(np.ndindex(*q.shape[:-2]))
    runs = [heads[i:i + run] for i in range(0, len(heads), run)]

    def in_turn(run):
        for head in run:
            work(head)

    if THREADS == 1 or q.shape[-2] < 128 or type(q) is not np.ndarray:              # too little, or on a GPU
        in_turn(heads)
        return
    with ThreadPoolExecutor(THREADS) as pool:
        jobs = [pool.submit(copy_context().run, in_turn, run) for run in runs]      # under the caller's np.errstate
    for job in jobs:
        job.result()


def example(rng):
    B, Gq, G, T, S, D, E = 2, 6, 3, 4, 5, 7, 8
    mask = rng.random((B, Gq, T, S)) < 0.7
    mask[..., 2] = True                                         # every query has a key: its lse is finite
    q, k, v = rng.normal(size=(B, Gq, T, D)), rng.normal(size=(B, G, S, D)), rng.normal(size=(B, G, S, E))
    return (q, k, v, rng.normal(size=(Gq, T, S))), {"mask": mask, "tile": (3, 2)}
