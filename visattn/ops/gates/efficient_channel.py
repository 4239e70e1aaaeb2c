"""Efficient channel attention: one gate per channel, computed from the channels next to it.

Wang, Wu, Zhu, Li, Zuo & Hu, "ECA-Net: Efficient Channel Attention for Deep Convolutional Neural Networks", CVPR 2020.

    z = mean_hw x
    s_c = σ(Σ_k w_k z_{c + k - (K - 1) / 2})    zeros beyond the first and the last channel; σ = sigmoid
    y = s ⊙ x

K weights for all channels, and no reduction between; `kernel_size` says how many, for C channels, the paper takes.

Differs from timm: below 8 channels `kernel_size` is 1, as in the authors' code, where timm has at least 3.
"""

import math
from typing import NamedTuple

import numpy as np

from visattn.ops._contract import Array, Float, checked, require
from visattn.ops.primitives import sigmoid


class Params(NamedTuple):
    w: Float[Array, "K"]


class Cache(NamedTuple):
    x: Float[Array, "N C H W"]
    w: Float[Array, "K"]
    u: Float[Array, "N C K"]                        # what the taps of each channel see
    s: Float[Array, "N C"]                          # the gates


def rules(w):
    require(len(w) % 2 == 1, "w", "have an odd number of taps", len(w))


@checked(rules)
def forward(x: Float[Array, "N C H W"], w: Float[Array, "K"]) -> tuple[Float[Array, "N C H W"], Cache]:
    """y (N, C, H, W): each channel of x scaled by its gate s in (0, 1).

    x  feature map                                              paper: 𝒳
    w  K taps, K odd, the middle one for the channel itself
    y                                                           paper: 𝒳̃
    """
    z = x.mean(axis=(2, 3))                                     # (N, C)
    u = _windows(z, len(w))                                     # (N, C, K)
    s, _ = sigmoid.forward(u @ w)                               # (N, C)
    y = s[:, :, None, None] * x                                 # (N, C, H, W)
    return y, Cache(x, w, u, s)


@checked
def backward(dy: Float[Array, "N C H W"], cache: Cache) -> tuple[Array, ...]:
    """
        y = s ⊙ x               ds = Σ_hw dy ⊙ x            dx = s ⊙ dy
        s = σ(a)                da = ds ⊙ s (1 - s)
        a_c = Σ_k w_k u_ck      dw_k = Σ da_c u_ck          over all channels of all images
        u_ck = z_{c + k - p}    dz_c = Σ_k w_k da_{c - k + p}: the same sum, with the taps turned around
        z = mean_hw x           dx += dz / HW
    """
    x, w, u, s = cache
    ds = (dy * x).sum(axis=(2, 3))                              # (N, C)
    da = ds * s * (1 - s)                                       # (N, C)
    dw = np.einsum("nc,nck->k", da, u)                          # (K,)
    dz = _windows(da, len(w)) @ w[::-1]                         # (N, C)
    HW = x.shape[2] * x.shape[3]
    dx = s[:, :, None, None] * dy + dz[:, :, None, None] / HW
    return dx, dw


def _windows(z, K):
    """(N, C, K): each channel among its K - 1 neighbours."""
    return np.lib.stride_tricks.sliding_window_view(np.pad(z, ((0, 0), (K // 2, K // 2))), K, axis=1)


def kernel_size(C, gamma=2, b=1):
    """K = |(log₂ C + b) / γ|, rounded down, and up to the next odd number."""
    require(C >= 1, "C", "be at least 1", C)
    t = int(abs((math.log2(C) + b) / gamma))
    return t + (t % 2 == 0)


def init(rng, C, gamma=2, b=1):
    """Normal weights of variance 1 / K, as many as `kernel_size` says for C channels."""
    K = kernel_size(C, gamma, b)
    return Params(rng.normal(0, K ** -0.5, K))


def example(rng):
    return (rng.normal(size=(2, 7, 3, 5)), rng.normal(size=3)), {}
