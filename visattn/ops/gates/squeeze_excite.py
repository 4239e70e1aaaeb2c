"""Squeeze-and-excitation: one gate per channel, computed from all channels.

Hu, Shen & Sun, "Squeeze-and-Excitation Networks", CVPR 2018, eqs. (2)-(4).

    z = mean_hw x                squeeze   (2)
    s = σ(W₂ δ(W₁ z))            excite    (3)     δ = ReLU, σ = sigmoid
    y = s ⊙ x                    scale     (4)

Differs from torchvision and timm: no biases, as in the paper.
"""

from typing import NamedTuple

import numpy as np

from visattn.ops._contract import Array, Float, checked, require
from visattn.ops.primitives import sigmoid


class Params(NamedTuple):
    w1: Float[Array, "M C"]
    w2: Float[Array, "C M"]


class Cache(NamedTuple):
    x: Float[Array, "N C H W"]
    w1: Float[Array, "M C"]
    w2: Float[Array, "C M"]
    z: Float[Array, "N C"]
    h: Float[Array, "N M"]
    s: Float[Array, "N C"]                          # the gates


@checked
def forward(
    x: Float[Array, "N C H W"], w1: Float[Array, "M C"], w2: Float[Array, "C M"]
) -> tuple[Float[Array, "N C H W"], Cache]:
    """y (N, C, H, W): each channel of x scaled by its gate s in (0, 1).

    x   feature map                                 paper: U
    w1  reduction to M = C / r channels
    w2  expansion back to C
    y                                               paper: X̃
    """
    z = x.mean(axis=(2, 3))                         # (N, C)            (2)
    h = np.maximum(z @ w1.T, 0)                     # (N, M)
    s, _ = sigmoid.forward(h @ w2.T)                # (N, C)            (3)
    y = s[:, :, None, None] * x                     # (N, C, H, W)      (4)
    return y, Cache(x, w1, w2, z, h, s)


@checked
def backward(dy: Float[Array, "N C H W"], cache: Cache) -> tuple[Array, ...]:
    """Transpose (4), (3), (2), in that order.

    (4)  y = s ⊙ x          ds  = Σ_hw dy ⊙ x         dx = s ⊙ dy
    (3)  s = σ(b)           db  = ds ⊙ s (1 - s)
         b = h W₂ᵀ          dW₂ = dbᵀ h               dh = db W₂
         h = δ(a)           da  = dh ⊙ [h > 0]
         a = z W₁ᵀ          dW₁ = daᵀ z               dz = da W₁
    (2)  z = mean_hw x      dx += dz / HW             x fed (2) and (4): its gradients add
    """
    x, w1, w2, z, h, s = cache
    ds = (dy * x).sum(axis=(2, 3))                  # (N, C)
    db = ds * s * (1 - s)                           # (N, C)
    dw2 = db.T @ h                                  # (C, M)
    da = (db @ w2) * (h > 0)                        # (N, M)
    dw1 = da.T @ z                                  # (M, C)
    dz = da @ w1                                    # (N, C)
    HW = x.shape[2] * x.shape[3]
    dx = s[:, :, None, None] * dy + dz[:, :, None, None] / HW
    return dx, dw1, dw2


def init(rng, C, r=16):
    """He-normal weights (He et al. 2015) for C channels and reduction ratio r, at least one channel between."""
    require(r >= 1, "r", "be at least 1", r)
    M = max(C // r, 1)
    return Params(rng.normal(0, (2 / C) ** 0.5, (M, C)), rng.normal(0, (2 / M) ** 0.5, (C, M)))


def example(rng):
    N, C, H, W = 2, 8, 3, 5
    return (rng.normal(size=(N, C, H, W)), *init(rng, C, r=2)), {}
