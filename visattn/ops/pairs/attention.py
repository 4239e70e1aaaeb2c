"""Scaled dot-product attention: every query gathers the values of the keys that resemble it.

Vaswani et al., "Attention Is All You Need", NIPS 2017, eq. (1).

    a = q kᵀ / √D           how much query t resembles key s
    p = softmax_s a         the attention map: every row sums to one           (1)
    o = p v                 the mean of the values under these weights

Between the first two lines, in this order and each optional: a soft cap on the scores, a bias that is added to
them, a mask.  A masked score is -∞, and so is a score whose bias is -∞; **a query with no key left gives zeros and
passes exactly zero gradient**; what a masked key holds, NaN included, reaches neither output nor gradients.
"""

from functools import reduce
from typing import Literal, NamedTuple

import numpy as np

from visattn.ops._broadcast import unbroadcast
from visattn.ops._contract import Array, Bool, Float, checked, require
from visattn.ops.primitives import softmax


class Cache(NamedTuple):
    q: Float[Array, "*B T D"]
    k: Float[Array, "*B S D"]
    v: Float[Array, "*B S E"]
    bias: Float[Array, "*#B #T #S"] | None
    u: Float[Array, "*B T S"] | None                # tanh(a / c), where scores are capped
    p: Float[Array, "*B T S"]                       # the attention map
    mask: Bool[Array, "*#B #T #S"] | None           # True = may be attended; None = everything may
    scale: float


def rules(scale, softcap):
    require(scale is None or np.isfinite(scale), "scale", "be finite", scale)
    require(softcap is None or 0 < softcap < np.inf, "softcap", "be above 0 and finite", softcap)


@checked(rules)
def forward(
    q: Float[Array, "*B T D"],
    k: Float[Array, "*B S D"],
    v: Float[Array, "*B S E"],
    bias: Float[Array, "*#B #T #S"] | None = None,
    *,
    mask: Bool[Array, "*#B #T #S"] | None = None,
    causal: Literal["top_left", "bottom_right"] | None = None,
    scale: float | None = None,
    softcap: float | None = None,
) -> tuple[Float[Array, "*B T E"], Cache]:
    """o (*B, T, E): for each of T queries, a mean of the S values.

    *B       any leading axes, such as (batch, heads)
    bias     added to the scores, broadcast against (*B, T, S)
    mask     True = query t may attend to key s, broadcast against (*B, T, S)
    causal   "top_left": key s ≤ query t;  "bottom_right": the last query sees the last key, s ≤ t + S - T
    scale    None is 1/√D
    softcap  c: scores become c tanh(a / c), before bias and mask
    """
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    a = (scale * q) @ k.swapaxes(-1, -2)                        # (*B, T, S)
    u = None
    if softcap is not None:
        u = np.tanh(a / softcap)                                # (*B, T, S)
        a = softcap * u
    allowed = _allowed(mask, bias, causal, a)
    p, _ = softmax.forward(a if bias is None else a + bias, mask=allowed) if a.shape[-1] else (a, None)
    o = weigh(p, v, allowed)                                    # (*B, T, E)            (1)
    return o, Cache(q, k, v, bias, u, p, allowed, scale)


@checked
def backward(do: Float[Array, "*B T E"], cache: Cache) -> tuple[Array, ...]:
    """
        o = p v                     dv = pᵀ do                      dp = do vᵀ
        p = softmax_s (a + bias)    da = p ⊙ (dp - Σ_s dp ⊙ p)      dbias = da, summed where it was broadcast
        a = c u,  u = tanh(a′ / c)  da′ = da ⊙ (1 - u²)
        a′ = q kᵀ / √D              dq = da′ k / √D                 dk = da′ᵀ q / √D
    """
    q, k, v, bias, u, p, mask, scale = cache
    turned = None if mask is None else mask.swapaxes(-1, -2)
    dv = weigh(p.swapaxes(-1, -2), do, turned)                  # (*B, S, E)
    dp = do @ v.swapaxes(-1, -2)                                # (*B, T, S)
    da, = softmax.backward(dp, softmax.Cache(p, mask, -1))
    dbias = () if bias is None else (unbroadcast(da, bias.shape),)
    if u is not None:
        da = da * (1 - u**2)
    dq = scale * weigh(da, k, mask)                             # (*B, T, D)
    dk = scale * weigh(da.swapaxes(-1, -2), q, turned)          # (*B, S, D)
    return dq, dk, dv, *dbias


def _allowed(mask, bias, causal, a):
    """The keys that each query may attend to, from all three ways to say so; None where that is every key."""
    parts = [] if mask is None else [mask]
    if bias is not None and (bias == -np.inf).any():
        parts.append(bias != -np.inf)
    if causal is not None:
        T, S = a.shape[-2:]
        t, s = np.arange(T, like=a)[:, None], np.arange(S, like=a)
        parts.append(s <= (t if causal == "top_left" else t + S - T))
    return reduce(np.logical_and, parts) if parts else None


def weigh(p, v, allowed):
    """p v, in which a pair that is not allowed adds nothing, whatever is there: 0 · ∞ and 0 · NaN are NaN."""
    if allowed is None or (np.isfinite(p).all() and np.isfinite(v).all()):
        return p @ v
    columns = [np.where(allowed, p * v[..., None, :, e], 0).sum(-1) for e in range(v.shape[-1])]
    return np.stack(columns, axis=-1)


def example(rng):
    B, G, T, S, D, E = 2, 3, 4, 5, 6, 7
    mask = rng.random((B, 1, T, S)) < 0.7
    mask[1, 0, 2] = False                                       # a query with no key
    q, k, v = rng.normal(size=(B, G, T, D)), rng.normal(size=(B, G, S, D)), rng.normal(size=(B, G, S, E))
    return (q, k, v, rng.normal(size=(G, T, S))), {"mask": mask}
