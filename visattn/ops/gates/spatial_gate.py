"""CBAM's spatial gate: one gate per pixel, from the mean and the maximum of its channels and those around it.

Woo, Park, Lee & Kweon, "CBAM: Convolutional Block Attention Module", ECCV 2018, eq. (3).

    d = [mean_c x; max_c x]                     two maps
    s = σ(w ∗ d)                                (3)     ∗ a convolution of 7 × 7, zeros outside; σ = sigmoid
    y = s ⊙ x

`ties` says which of several largest channels the gradient of the maximum goes to: the first, or each an equal part.
After a ReLU, that is all channels of a pixel that is zero.

Differs from the authors' code: the mean is the first map, as the paper has it, theirs the second; and no batch
normalisation follows the convolution.  Differs from timm: no batch normalisation, and the first of equal channels, not
each of them (`ties="even"`).
"""

from typing import Literal, NamedTuple

import numpy as np

from visattn.ops._contract import Array, Bool, Float, checked, require
from visattn.ops._ties import largest, share
from visattn.ops.primitives import conv2d, sigmoid


class Params(NamedTuple):
    w: Float[Array, "1 2 Kh Kw"]


class Cache(NamedTuple):
    x: Float[Array, "N C H W"]
    wins: Bool[Array, "N C H W"]                    # the channels that the gradient of the maximum goes to
    conv: conv2d.Cache                              # conv.x is d
    s: Float[Array, "N 1 H W"]                      # the gates


def rules(w):
    require(all(K % 2 for K in w.shape[2:]), "w", "have an odd number of rows and columns", w.shape[2:])


@checked(rules)
def forward(
    x: Float[Array, "N C H W"], w: Float[Array, "1 2 Kh Kw"], *, ties: Literal["first", "even"] = "first"
) -> tuple[Float[Array, "N C H W"], Cache]:
    """y (N, C, H, W): all channels of each pixel of x scaled by its gate s in (0, 1).

    x     feature map                                           paper: F′
    w     kernels for the mean and for the maximum              paper: f
    ties  "first" or "even": which of several largest channels take part in the gradient
    """
    Kh, Kw = w.shape[2:]
    maxima, wins = largest(x, 1, ties)
    d = np.stack([x.mean(axis=1), maxima], axis=1)              # (N, 2, H, W)
    a, conv = conv2d.forward(d, w, padding=(Kh // 2, Kw // 2))  # (N, 1, H, W)
    s, _ = sigmoid.forward(a)                                   # (N, 1, H, W)      (3)
    y = s * x                                                   # (N, C, H, W)
    return y, Cache(x, wins, conv, s)


@checked
def backward(dy: Float[Array, "N C H W"], cache: Cache) -> tuple[Array, ...]:
    """
         y = s ⊙ x                      ds = Σ_c dy ⊙ x         dx = s ⊙ dy
    (3)  s = σ(a)                       da = ds ⊙ s (1 - s)
         a = w ∗ d                      dd, dw by conv2d
         d = [mean_c x; max_c x]        dx += dd₁ / C;  dx += dd₂, where the maximum is
    """
    x, wins, conv, s = cache
    ds = (dy * x).sum(axis=1, keepdims=True)                    # (N, 1, H, W)
    da = ds * s * (1 - s)
    dd, dw = conv2d.backward(da, conv)                          # (N, 2, H, W)
    dx = s * dy + dd[:, :1] / x.shape[1] + share(dd[:, 1], wins, axis=1)
    return dx, dw


def init(rng, kernel=7):
    """He-normal weights (He et al. 2015)."""
    return Params(conv2d.init(rng, 2, 1, kernel).w)


def example(rng):
    return (rng.normal(size=(2, 3, 4, 6)), rng.normal(size=(1, 2, 3, 5))), {}
