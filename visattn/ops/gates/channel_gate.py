"""CBAM's channel gate: one gate per channel, from its mean and its maximum.

Woo, Park, Lee & Kweon, "CBAM: Convolutional Block Attention Module", ECCV 2018, eq. (2).

    z = mean_hw x,  z′ = max_hw x
    s = σ(W₂ δ(W₁ z) + W₂ δ(W₁ z′))             (2)     δ = ReLU, σ = sigmoid
    y = s ⊙ x

One MLP reads both vectors.  `ties` says which of several largest pixels the gradient of the maximum goes to, see
`global_max_pool2d`: after a ReLU, that is all pixels of a channel that is zero.

Differs from the authors' code: no biases in the MLP.  Differs from timm: the first of equal pixels, not each of them
(`ties="even"`), and C / r is rounded down, not to the nearest.
"""

from typing import Literal, NamedTuple

import numpy as np

from visattn.ops._contract import Array, Float, checked
from visattn.ops.gates import squeeze_excite
from visattn.ops.primitives import global_max_pool2d, sigmoid


class Params(NamedTuple):
    w1: Float[Array, "M C"]
    w2: Float[Array, "C M"]


class Cache(NamedTuple):
    x: Float[Array, "N C H W"]
    w1: Float[Array, "M C"]
    w2: Float[Array, "C M"]
    z: Float[Array, "N 2 C"]                        # means, maxima
    h: Float[Array, "N 2 M"]
    s: Float[Array, "N C"]                          # the gates
    pool: global_max_pool2d.Cache


@checked
def forward(
    x: Float[Array, "N C H W"],
    w1: Float[Array, "M C"],
    w2: Float[Array, "C M"],
    *,
    ties: Literal["first", "even"] = "first",
) -> tuple[Float[Array, "N C H W"], Cache]:
    """y (N, C, H, W): each channel of x scaled by its gate s in (0, 1).

    x     feature map                                           paper: F
    w1    reduction to M = C / r channels                       paper: W₀
    w2    expansion back to C                                   paper: W₁
    ties  "first" or "even": which of several largest pixels take part in the gradient
    """
    maxima, pool = global_max_pool2d.forward(x, ties=ties)
    z = np.stack([x.mean(axis=(2, 3)), maxima], axis=1)         # (N, 2, C)
    h = np.maximum(z @ w1.T, 0)                                 # (N, 2, M)
    s, _ = sigmoid.forward((h @ w2.T).sum(axis=1))              # (N, C)            (2)
    y = s[:, :, None, None] * x                                 # (N, C, H, W)
    return y, Cache(x, w1, w2, z, h, s, pool)


@checked
def backward(dy: Float[Array, "N C H W"], cache: Cache) -> tuple[Array, ...]:
    """
         y = s ⊙ x              ds  = Σ_hw dy ⊙ x           dx = s ⊙ dy
    (2)  s = σ(b)               db  = ds ⊙ s (1 - s)
         b = (h + h′) W₂ᵀ       dW₂ = dbᵀ (h + h′)          dh = dh′ = db W₂
         h = δ(a)               da  = dh ⊙ [h > 0]          each with its own mask
         a = z W₁ᵀ              dW₁ = daᵀ z + da′ᵀ z′       dz = da W₁
         z′ = max_hw x          dx += dz′, where the maximum is
         z = mean_hw x          dx += dz / HW

    One MLP served both vectors, so its gradients add.
    """
    x, w1, w2, z, h, s, pool = cache
    ds = (dy * x).sum(axis=(2, 3))                              # (N, C)
    db = ds * s * (1 - s)                                       # (N, C)
    dw2 = db.T @ h.sum(axis=1)                                  # (C, M)
    da = (db @ w2)[:, None] * (h > 0)                           # (N, 2, M)
    dw1 = np.einsum("nkm,nkc->mc", da, z)                       # (M, C)
    dz = da @ w1                                                # (N, 2, C)
    dx, = global_max_pool2d.backward(dz[:, 1], pool)
    HW = x.shape[2] * x.shape[3]
    dx += s[:, :, None, None] * dy + dz[:, 0, :, None, None] / HW
    return dx, dw1, dw2


def init(rng, C, r=16):
    """He-normal weights (He et al. 2015) for C channels and reduction ratio r, at least one channel between."""
    return Params(*squeeze_excite.init(rng, C, r))


def example(rng):
    N, C, H, W = 2, 8, 3, 5
    return (rng.normal(size=(N, C, H, W)), *init(rng, C, r=2)), {}
