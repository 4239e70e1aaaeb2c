"""A linear map of the last axis, the same for everything before it.

    y = x Wᵀ + b
"""

from typing import NamedTuple

import numpy as np

from visattn.ops._contract import Array, Float, checked


class Params(NamedTuple):
    w: Float[Array, "E D"]
    b: Float[Array, "E"] | None = None


class Cache(NamedTuple):
    x: Float[Array, "*B D"]
    w: Float[Array, "E D"]
    b: Float[Array, "E"] | None


@checked
def forward(
    x: Float[Array, "*B D"], w: Float[Array, "E D"], b: Float[Array, "E"] | None = None
) -> tuple[Float[Array, "*B E"], Cache]:
    """y (*B, E): E weighted sums of the D features, at every place; no bias where b is None."""
    y = x @ w.T if b is None else x @ w.T + b                   # (*B, E)
    return y, Cache(x, w, b)


@checked
def backward(dy: Float[Array, "*B E"], cache: Cache) -> tuple[Array, ...]:
    """From y_e = Σ_d x_d W_ed + b_e, at every place:

        dx_d = Σ_e dy_e W_ed            dx = dy W
        dW_ed = Σ dy_e x_d              dW = dyᵀ x      the weights serve every place:
        db_e = Σ dy_e                   db = Σ dy       sums over the leading axes
    """
    x, w, b = cache
    flat_dy, flat_x = dy.reshape(-1, w.shape[0]), x.reshape(-1, w.shape[1])
    dx = dy @ w                                                 # (*B, D)
    dw = flat_dy.T @ flat_x                                     # (E, D)
    db = () if b is None else (flat_dy.sum(0),)                 # (E,)
    return dx, dw, *db


def init(rng, D, E):
    """Glorot-uniform weights and no bias (Glorot & Bengio 2010, eq. 16)."""
    bound = (6 / (D + E)) ** 0.5
    return Params(rng.uniform(-bound, bound, (E, D)), np.zeros(E))


def example(rng):
    D, E = 5, 4
    return (rng.normal(size=(2, 3, D)), rng.normal(size=(E, D)), rng.normal(size=E)), {}
