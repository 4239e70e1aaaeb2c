"""Additive attention: how well a query and a key fit is said by a small network with one hidden layer.

Bahdanau, Cho & Bengio, "Neural Machine Translation by Jointly Learning to Align and Translate", ICLR 2015,
eqs. (5)-(6) and appendix A.1.2.

    h_ts = tanh(W q_t + U k_s + b)                      hidden layer
    e_ts = vᵀ h_ts                                      how well they fit                           A.1.2
    p = softmax_s e                                     the alignment: every row sums to one        (6)
    o_t = Σ_s p_ts v_s                                  the mean of the values                      (5)

The paper's values are its keys, and it writes no bias, which is left out here where b is None; its v_a is `va`.
**A query with no key left gives zeros and passes exactly zero gradient**; what a masked key or value holds, NaN
included, reaches neither output nor gradients.
Differs from keras.layers.AdditiveAttention: that has no W and no U, and gives a query with no key the mean of v.
"""

from typing import NamedTuple

import numpy as np

from visattn.ops._contract import Array, Bool, Float, checked
from visattn.ops.pairs.attention import weigh
from visattn.ops.primitives import linear, softmax


class Params(NamedTuple):
    wa: Float[Array, "M D"]
    ua: Float[Array, "M C"]
    va: Float[Array, "M"]
    b: Float[Array, "M"] | None = None


class Cache(NamedTuple):
    q: Float[Array, "*B T D"]
    k: Float[Array, "*B S C"]
    v: Float[Array, "*B S E"]
    wa: Float[Array, "M D"]
    ua: Float[Array, "M C"]
    va: Float[Array, "M"]
    b: Float[Array, "M"] | None
    h: Float[Array, "*B T S M"]                     # what makes it dear: M numbers for every pair
    p: Float[Array, "*B T S"]                       # the alignment
    mask: Bool[Array, "*B T S"] | None


@checked
def forward(
    q: Float[Array, "*B T D"],
    k: Float[Array, "*B S C"],
    v: Float[Array, "*B S E"],
    wa: Float[Array, "M D"],
    ua: Float[Array, "M C"],
    va: Float[Array, "M"],
    b: Float[Array, "M"] | None = None,
    *,
    mask: Bool[Array, "*#B #T #S"] | None = None,
) -> tuple[Float[Array, "*B T E"], Cache]:
    """o (*B, T, E): for each of T queries, a mean of the S values.

    *B      any leading axes
    wa      W, from D features of a query to M hidden units     paper: W_a, on the state s_{i-1}
    ua      U, from C features of a key                         paper: U_a, on the annotation h_j
    mask    True = query t may attend to key s, broadcast against (*B, T, S)
    """
    if mask is not None:
        mask = np.broadcast_to(mask, (*q.shape[:-1], k.shape[-2]))
        q = np.where(mask.any(-1, keepdims=True), q, 0)                     # a query with no key, and a key
        k = np.where(mask.swapaxes(-1, -2).any(-1, keepdims=True), k, 0)    # with no query, may hold anything
    z = (q @ wa.T)[..., :, None, :] + (k @ ua.T)[..., None, :, :]           # (*B, T, S, M)
    h = np.tanh(z if b is None else z + b)                                  # (*B, T, S, M)
    h = h if mask is None else np.where(mask[..., None], h, 0)
    e = h @ va                                                              # (*B, T, S)        A.1.2
    p, _ = softmax.forward(e, mask=mask) if e.shape[-1] else (e, None)      # (*B, T, S)        (6)
    o = weigh(p, v, mask)                                                   # (*B, T, E)        (5)
    return o, Cache(q, k, v, wa, ua, va, b, h, p, mask)


@checked
def backward(do: Float[Array, "*B T E"], cache: Cache) -> tuple[Array, ...]:
    """
        o = p v                 dv = pᵀ do                      dp = do vᵀ
        p = softmax_s e         de = p ⊙ (dp - Σ_s dp ⊙ p)
        e = h va                dva = Σ_ts de_ts h_ts           dh_ts = de_ts va
        h = tanh z              dz = dh ⊙ (1 - h²)
        z = W q_t + U k_s + b   db = Σ_ts dz_ts                 a query meets every key, a key every query:
            a = W q             da_t = Σ_s dz_ts                dq = da W,  dW = daᵀ q
            c = U k             dc_s = Σ_t dz_ts                dk = dc U,  dU = dcᵀ k
    """
    q, k, v, wa, ua, va, b, h, p, mask = cache
    turned = None if mask is None else mask.swapaxes(-1, -2)
    dv = weigh(p.swapaxes(-1, -2), do, turned)                              # (*B, S, E)
    dp = do @ v.swapaxes(-1, -2)                                            # (*B, T, S)
    de, = softmax.backward(dp, softmax.Cache(p, mask, -1)) if k.shape[-2] else (dp,)
    dva = (de[..., None] * h).reshape(-1, len(va)).sum(0)                   # (M,)
    dz = de[..., None] * va * (1 - h * h)                                   # (*B, T, S, M)
    da, dc = dz.sum(-2), dz.sum(-3)                                         # (*B, T, M), (*B, S, M)
    db = () if b is None else (da.reshape(-1, len(b)).sum(0),)              # (M,)
    dq, dwa, *_ = linear.backward(da, linear.Cache(q, wa, None))
    dk, dua, *_ = linear.backward(dc, linear.Cache(k, ua, None))
    return dq, dk, dv, dwa, dua, dva, *db


def init(rng, D, C, M):
    """Glorot-uniform weights and no bias, for D features of a query and C of a key."""
    wa, ua, va = linear.init(rng, D, M).w, linear.init(rng, C, M).w, linear.init(rng, M, 1).w[0]
    return Params(wa, ua, va)


def example(rng):
    N, T, S, D, C, M, E = 2, 3, 4, 5, 6, 7, 8
    mask = rng.random((N, T, S)) < 0.7
    mask[1, 2] = False                                                      # a query with no key
    q, k, v = rng.normal(size=(N, T, D)), rng.normal(size=(N, S, C)), rng.normal(size=(N, S, E))
    wa, ua, va, _ = init(rng, D, C, M)
    return (q, k, v, wa, ua, va, rng.normal(size=M)), {"mask": mask}
