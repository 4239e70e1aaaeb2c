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

from typing import Literal, NamedTuple

import numpy as np

from visattn.ops._broadcast import unbroadcast
from visattn.ops._contract import Array, Bool, Float, checked, require
from visattn.ops.pairs.attention import weigh


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
    o, lse = np.zeros_like(q, shape=(*q.shape[:-1], v.shape[-1])), np.zeros_like(q, shape=q.shape[:-1])
    cache = Cache(q, k, v, bias, mask, o, lse, scale, causal, tile)
    for head in np.ndindex(*q.shape[:-2]):
        _, vg = key_head(cache, head)
        for rows in blocks(q.shape[-2], cache, 0):
            m = np.full_like(q, -np.inf, shape=(*q[head][rows].shape[:1], 1))
            l = u = np.zeros_like(m)
            for cols in tiles(rows, cache):
                a, allowed = scores(cache, head, rows, cols)
                m_old, m = m, np.maximum(m, a.max(-1, keepdims=True))
                p = np.exp(a - or_zero(m))                      # (rows, cols)
                shrink = np.exp(m_old - or_zero(m))
                l = shrink * l + p.sum(-1, keepdims=True)
                u = shrink * u + weigh(p, vg[cols], allowed)    # (rows, E)
            l = np.where(m == -np.inf, 1, l)
            o[head][rows] = u / l
            lse[head][rows] = (m + np.log(l))[:, 0]
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
    delta = (do * o).sum(-1) - dlse                             # (*B, Gq, T)
    for head in np.ndindex(*q.shape[:-2]):
        (kg, vg), (dkg, dvg) = key_head(cache, head), key_head(cache._replace(k=dk, v=dv), head)
        for rows in blocks(q.shape[-2], cache, 0):
            for cols in tiles(rows, cache):
                a, allowed = scores(cache, head, rows, cols)
                p = np.exp(a - or_zero(lse[head][rows])[:, None])
                dvg[cols] += weigh(p.T, do[head][rows], None if allowed is None else allowed.T)
                dp = do[head][rows] @ vg[cols].T
                da = p * (dp - delta[head][rows][:, None])
                if allowed is not None:
                    da = np.where(allowed, da, 0)               # dp may be NaN there
                if bias is not None:
                    db = share(dbias, head, rows, cols)
                    db += unbroadcast(da, db.shape)
                dq[head][rows] += scale * weigh(da, kg[cols], allowed)
                dkg[cols] += scale * weigh(da.T, q[head][rows], None if allowed is None else allowed.T)
    return (dq, dk, dv) if bias is None else (dq, dk, dv, dbias)


def scores(cache, head, rows, cols):
    """A tile of the scores, -∞ where a query may not attend; and where it may, None for everywhere."""
    k, _ = key_head(cache, head)
    a = (cache.scale * cache.q[head][rows]) @ k[cols].T         # (rows, cols)
    allowed = None if cache.mask is None else share(cache.mask, head, rows, cols)
    if cache.bias is not None:
        bias = share(cache.bias, head, rows, cols)
        a = a + bias
        allowed = bias != -np.inf if allowed is None else allowed & (bias != -np.inf)
    if crosses(rows, cols, cache):
        t, s = np.arange(rows.start, rows.stop, like=a)[:, None], np.arange(cols.start, cols.stop, like=a)
        below = s <= t + diagonal(cache)
        allowed = below if allowed is None else allowed & below
    if allowed is not None:
        allowed = np.broadcast_to(allowed, a.shape)
        a = np.where(allowed, a, -np.inf)
    return a, allowed


def diagonal(cache):
    """d: under the causal mask, query t sees the keys s ≤ t + d."""
    return cache.k.shape[-2] - cache.q.shape[-2] if cache.causal == "bottom_right" else 0


def crosses(rows, cols, cache):
    """Are there pairs above the diagonal in this tile?"""
    return cache.causal is not None and cols.stop - 1 > rows.start + diagonal(cache)


def tiles(rows, cache):
    """The blocks of keys that these queries meet: those wholly above the diagonal are left out."""
    return [cols for cols in blocks(cache.k.shape[-2], cache, 1)
            if cache.causal is None or cols.start < rows.stop + diagonal(cache)]


def blocks(n, cache, side):
    """n queries or keys in slices as long as that side of a tile."""
    size = (256, 512)[side] if cache.tile is None else cache.tile[side]
    return [slice(i, min(i + size, n)) for i in range(0, n, size)]


def key_head(cache, head):
    """(k, v) of the key head that a query head reads."""
    *b, h = head
    g = h // (cache.q.shape[-3] // cache.k.shape[-3])
    return cache.k[(*b, g)], cache.v[(*b, g)]


def share(x, head, rows, cols):
    """The share of a tile in a mask or bias, as a view: an axis of one serves all of that axis."""
    x = x[tuple(i if n > 1 else 0 for i, n in zip(head[::-1], x.shape[-3::-1]))[::-1]]
    return x[rows if x.shape[0] > 1 else slice(None), cols if x.shape[1] > 1 else slice(None)]


def or_zero(m):
    """m, and 0 where it is -∞: then exp(-∞ - m) is 0 and not NaN."""
    return np.where(m == -np.inf, 0, m)


def example(rng):
    B, Gq, G, T, S, D, E = 2, 6, 3, 4, 5, 7, 8
    mask = rng.random((B, Gq, T, S)) < 0.7
    mask[..., 2] = True                                         # every query has a key: its lse is finite
    q, k, v = rng.normal(size=(B, Gq, T, D)), rng.normal(size=(B, G, S, D)), rng.normal(size=(B, G, S, E))
    return (q, k, v, rng.normal(size=(Gq, T, S))), {"mask": mask, "tile": (3, 2)}
