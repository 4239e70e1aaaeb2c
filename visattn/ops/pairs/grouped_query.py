"""Grouped-query attention: several heads of queries share one head of keys and values.

Ainslie et al., "GQA: Training Generalized Multi-Query Transformer Models from Multi-Head Checkpoints", EMNLP 2023.

    o_h = attention(q_h, k_g, v_g),     g = ⌊h / R⌋         R query heads read one key head: R = Gq / G

G = Gq is multi-head attention; G = 1 is multi-query attention (Shazeer, "Fast Transformer Decoding: One Write-Head is
All You Need", 2019).  Neighbours share: with R = 2, heads 0 and 1 read key head 0, heads 2 and 3 key head 1.
"""

from typing import Literal, NamedTuple

import numpy as np

from visattn.ops._contract import Array, Bool, Float, checked, require
from visattn.ops.pairs import attention


class Cache(NamedTuple):
    p: Float[Array, "N Gq T S"]                     # the attention map of every query head
    v: Float[Array, "N G S E"]
    heads: attention.Cache


def rules(q, k, scale):
    require(q.shape[1] % k.shape[1] == 0, "q", f"have a multiple of the {k.shape[1]} heads of k", q.shape[1])
    require(scale is None or np.isfinite(scale), "scale", "be finite", scale)


@checked(rules)
def forward(
    q: Float[Array, "N Gq T D"],
    k: Float[Array, "N G S D"],
    v: Float[Array, "N G S E"],
    *,
    mask: Bool[Array, "#N #Gq #T #S"] | None = None,
    causal: Literal["top_left", "bottom_right"] | None = None,
    scale: float | None = None,
) -> tuple[Float[Array, "N Gq T E"], Cache]:
    """o (N, Gq, T, E): attention in which query head h reads key head ⌊h / R⌋.

    mask, causal, scale     as in attention; mask broadcasts against (N, Gq, T, S)
    """
    R = q.shape[1] // k.shape[1]
    o, heads = attention.forward(q, np.repeat(k, R, axis=1), np.repeat(v, R, axis=1),
                                 mask=mask, causal=causal, scale=scale)         # (N, Gq, T, E)
    return o, Cache(heads.p, v, heads)


@checked
def backward(do: Float[Array, "N Gq T E"], cache: Cache) -> tuple[Array, ...]:
    """
        o_h = attention(q_h, k′_h, v′_h)            dq, dk′, dv′ by attention
        k′_h = k_⌊h/R⌋,  v′_h = v_⌊h/R⌋             dk_g = Σ_h dk′_h,  dv_g = Σ_h dv′_h     over the R heads of group g
    """
    G = cache.v.shape[1]
    dq, dk, dv = attention.backward(do, cache.heads)            # (N, Gq, …)
    return dq, add_group(dk, G), add_group(dv, G)


def add_group(d, G):
    """(N, Gq, S, D) to (N, G, S, D): what the heads of each group say, added up."""
    N, Gq, S, D = d.shape
    return d.reshape(N, G, Gq // G, S, D).sum(2)


def example(rng):
    N, Gq, G, T, S, D, E = 2, 6, 3, 4, 5, 7, 8
    mask = rng.random((N, Gq, T, S)) < 0.7
    mask[1, 4, 2] = False                                       # a query with no key
    q, k, v = rng.normal(size=(N, Gq, T, D)), rng.normal(size=(N, G, S, D)), rng.normal(size=(N, G, S, E))
    return (q, k, v), {"mask": mask}
