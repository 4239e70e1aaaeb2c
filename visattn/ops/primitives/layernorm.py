"""Layer normalisation: the features of each token to mean 0 and variance 1, then a learned scale and shift.

Ba, Kiros & Hinton, "Layer Normalization", 2016.

    μ = mean_d x
    r = 1 / √(mean_d (x - μ)² + ε)
    n = (x - μ) r
    y = g ⊙ n + b

Differs from the paper: ε under the root, as in every library, so that a token of equal features is no division by 0.
"""

from typing import NamedTuple

import numpy as np

from visattn.ops._contract import Array, Float, checked, require


class Params(NamedTuple):
    g: Float[Array, "D"]
    b: Float[Array, "D"]


class Cache(NamedTuple):
    n: Float[Array, "*B D"]                         # the normalised tokens
    rstd: Float[Array, "*B 1"]                      # r: one over the standard deviation of each token
    g: Float[Array, "D"]


def rules(eps):
    require(0 <= eps < np.inf, "eps", "be at least 0 and finite", eps)


@checked(rules)
def forward(
    x: Float[Array, "*B D"], g: Float[Array, "D"], b: Float[Array, "D"], *, eps: float = 1e-5
) -> tuple[Float[Array, "*B D"], Cache]:
    """y (*B, D): each token, that is each row of D features, normalised by itself."""
    c = x - x.mean(-1, keepdims=True)                           # (*B, D)
    rstd = 1 / np.sqrt((c * c).mean(-1, keepdims=True) + eps)   # (*B, 1)
    n = c * rstd                                                # (*B, D)
    y = g * n + b                                               # (*B, D)
    return y, Cache(n, rstd, g)


@checked
def backward(dy: Float[Array, "*B D"], cache: Cache) -> tuple[Array, ...]:
    """
        y = g ⊙ n + b           dn = g ⊙ dy                     dg = Σ dy ⊙ n,  db = Σ dy, over the leading axes
        n = c r                 dc = r dn                       dr = Σ_d dn ⊙ c
        r = (mean c² + ε)^-½    dc += -dr r³ c / D              = -r n mean_d(dn ⊙ n), since c = n / r
        c = x - mean x          dx = dc - mean_d dc             n has mean 0: only dn loses its mean

    Together, dn loses what would change the mean and what would change the length of n:

        dx = r (dn - mean_d dn - n mean_d(dn ⊙ n))
    """
    n, rstd, g = cache
    dn = g * dy                                                 # (*B, D)
    dg = (dy * n).reshape(-1, len(g)).sum(0)                    # (D,)
    db = dy.reshape(-1, len(g)).sum(0)                          # (D,)
    dx = rstd * (dn - dn.mean(-1, keepdims=True) - n * (dn * n).mean(-1, keepdims=True))
    return dx, dg, db


def init(rng, D):
    """Scale 1, shift 0."""
    return Params(np.ones(D), np.zeros(D))


def example(rng):
    D = 5
    return (rng.normal(size=(2, 3, D)), rng.normal(size=D), rng.normal(size=D)), {}
