"""Merge: attention to shares of the keys, each computed apart, joined to attention to all of them.

Liu, Zaharia & Abbeel, "Ring Attention with Blockwise Transformers for Near-Infinite Context", ICLR 2024, after Rabe &
Staats, "Self-attention Does Not Need O(n²) Memory", 2021.

Part i is the answer o_i of `flash` over its own keys, and lse_i = log Σ_s exp a_s, how much there was:

    lse = log Σ_i exp lse_i
    w_i = exp(lse_i - lse)          the share of part i in all the weight
    o   = Σ_i w_i o_i

A part with lse_i = -∞ had no key for this query: it weighs nothing, whatever its o_i holds.  **A query that no part has
a key for gives o = 0 and lse = -∞, and passes exactly zero gradient.**  The order of the parts is of no account, and
merging merged parts is merging them all.
"""

from typing import NamedTuple

import numpy as np

from visattn.ops._contract import Array, Float, checked


class Cache(NamedTuple):
    o: Float[Array, "*B K T E"]                     # of the parts; 0 where there was no key
    w: Float[Array, "*B K T"]                       # the share of each part
    joined: Float[Array, "*B T E"]


@checked
def forward(
    o: Float[Array, "*B K T E"], lse: Float[Array, "*B K T"]
) -> tuple[tuple[Float[Array, "*B T E"], Float[Array, "*B T"]], Cache]:
    """(o, lse), (*B, T, E) and (*B, T): what attention to the keys of all K parts gives."""
    some = lse != -np.inf                                       # (*B, K, T)    parts with a key for this query
    o = np.where(some[..., None], o, 0)                         # (*B, K, T, E)
    top = lse.max(-2)
    top = np.where(top == -np.inf, 0, top)                      # (*B, T)       the shift cancels: nothing overflows
    e = np.exp(lse - top[..., None, :])                         # (*B, K, T)
    total = e.sum(-2)                                           # (*B, T)
    none = ~some.any(-2)                                        # (*B, T)       queries without a key
    w = e / np.where(none, 1, total)[..., None, :]              # (*B, K, T)
    joined = (w[..., None] * o).sum(-3)                         # (*B, T, E)
    return (joined, np.where(none, -np.inf, top + np.log(np.where(none, 1, total)))), Cache(o, w, joined)


@checked
def backward(
    dy: tuple[Float[Array, "*B T E"], Float[Array, "*B T"]], cache: Cache
) -> tuple[Array, ...]:
    """dy = (dj, dlse), of the joined o, here j, and of the joined lse.

        j = Σ_i w_i o_i             do_i = w_i dj               dw_i = Σ_e dj ⊙ o_i
        w = softmax_i lse_i         dlse_i = w_i (dw_i - Σ_k w_k dw_k),   and  Σ_k w_k dw_k = Σ_e dj ⊙ j
        lse = log Σ_i exp lse_i     dlse_i += w_i dlse
    """
    dj, dlse = dy
    o, w, joined = cache
    some = w != 0                                               # (*B, K, T)    dy may be NaN where there was no key
    do = np.where(some[..., None], w[..., None] * dj[..., None, :, :], 0)               # (*B, K, T, E)
    dw = (dj[..., None, :, :] * (o - joined[..., None, :, :])).sum(-1)                  # (*B, K, T)
    dlses = np.where(some, w * (dw + dlse[..., None, :]), 0)                            # (*B, K, T)
    return do, dlses


def example(rng):
    B, K, T, E = 2, 3, 4, 5
    return (rng.normal(size=(B, K, T, E)), rng.normal(size=(B, K, T))), {}
