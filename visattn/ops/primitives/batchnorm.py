"""Batch normalisation: each channel to mean 0 and variance 1, then a learned scale and shift.

Ioffe & Szegedy, "Batch Normalization", ICML 2015.

    μ = mean_nhw x                       over the m = N·H·W pixels of a channel in the batch
    v = mean_nhw (x - μ)²                divided by m: biased
    r = 1 / √(v + ε)
    n = (x - μ) r
    y = g ⊙ n + b

Training takes μ and v from the batch, as above, and leaves them in the cache.  Inference is given both as `mean`
and `var`; they are constants then.  The operator is pure: a training loop keeps the running averages,

    running_var = (1 - momentum) · running_var + momentum · cache.var · m / (m - 1)

in which the paper and PyTorch put the unbiased variance, as here, and Keras the biased.

Differs from PyTorch: a channel of one pixel (m = 1) is not refused in training; it gives b, and passes no gradient.
"""

from typing import NamedTuple

import numpy as np

from visattn.ops._contract import Array, Float, checked, require

NHW = (0, 2, 3)


class Params(NamedTuple):
    g: Float[Array, "C"]
    b: Float[Array, "C"]


class Cache(NamedTuple):
    n: Float[Array, "N C H W"]                      # the normalised channels
    rstd: Float[Array, "C"]                         # r
    g: Float[Array, "C"]
    mean: Float[Array, "C"]                         # μ
    var: Float[Array, "C"]                          # v: of a batch, the biased one
    training: bool


def rules(mean, var, eps):
    require((mean is None) == (var is None), "var", "be given together with mean, or neither", "one of them")
    require(0 <= eps < np.inf, "eps", "be at least 0 and finite", eps)


@checked(rules)
def forward(
    x: Float[Array, "N C H W"],
    g: Float[Array, "C"],
    b: Float[Array, "C"],
    *,
    mean: Float[Array, "C"] | None = None,
    var: Float[Array, "C"] | None = None,
    eps: float = 1e-5,
) -> tuple[Float[Array, "N C H W"], Cache]:
    """y (N, C, H, W): every channel normalised by the batch, or by the mean and variance given."""
    training = mean is None
    if mean is None or var is None:
        m = max(x[:, 0].size, 1)
        mean = x.sum(NHW) / m                                   # (C,)
        var = ((x - mean[:, None, None]) ** 2).sum(NHW) / m     # (C,)
    rstd = 1 / np.sqrt(var + eps)                               # (C,)
    n = (x - mean[:, None, None]) * rstd[:, None, None]         # (N, C, H, W)
    y = g[:, None, None] * n + b[:, None, None]                 # (N, C, H, W)
    return y, Cache(n, rstd, g, mean, var, training)


@checked
def backward(dy: Float[Array, "N C H W"], cache: Cache) -> tuple[Array, ...]:
    """
        y = g ⊙ n + b           dn = g ⊙ dy                     dg = Σ_nhw dy ⊙ n,  db = Σ_nhw dy
        n = c r                 dc = r dn                       dr = Σ_nhw dn ⊙ c
        r = (mean c² + ε)^-½    dc += -dr r³ c / m              = -r n mean(dn ⊙ n), since c = n / r
        c = x - mean x          dx = dc - mean dc               n has mean 0: only dn loses its mean

    Together r (dn - mean dn - n mean(dn ⊙ n)), whose means are g db / m and g dg / m:

        dx = g r (dy - db / m - n dg / m)       training
        dx = g r dy                             inference: r and the mean do not depend on x
    """
    n, rstd, g, *_, training = cache
    dg = (dy * n).sum(NHW)                                      # (C,)
    db = dy.sum(NHW)                                            # (C,)
    if training:
        m = max(n[:, 0].size, 1)
        dy = dy - (db / m)[:, None, None] - n * (dg / m)[:, None, None]
    dx = (g * rstd)[:, None, None] * dy                         # (N, C, H, W)
    return dx, dg, db


def init(rng, C):
    """Scale 1 and shift 0: nothing but the normalisation."""
    return Params(np.ones(C), np.zeros(C))


def example(rng):
    N, C, H, W = 2, 3, 4, 5
    return (3 * rng.normal(size=(N, C, H, W)) + 2, rng.normal(size=C), rng.normal(size=C)), {}
