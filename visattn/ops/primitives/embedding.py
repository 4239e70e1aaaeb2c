"""Embedding: a table with one row of features for each of V words, read by number.

    y_t = w[ids_t]

The product of one-hot rows with w, of which only the rows that are named are ever touched.
"""

from typing import NamedTuple

import numpy as np

from visattn.ops._contract import Array, Float, Integer, checked, require


class Params(NamedTuple):
    w: Float[Array, "V D"]


class Cache(NamedTuple):
    w: Float[Array, "V D"]
    ids: Integer[Array, "*B"]


def rules(w, ids):
    V = w.shape[0]
    wrong = ids[(ids < 0) | (ids >= V)]
    require(wrong.size == 0, "ids", f"be at least 0 and below the number of rows, {V}", wrong[:1])


@checked(rules)
def forward(w: Float[Array, "V D"], *, ids: Integer[Array, "*B"]) -> tuple[Float[Array, "*B D"], Cache]:
    """y (*B, D): for each number its row of w."""
    return w[ids], Cache(w, ids)


@checked
def backward(dy: Float[Array, "*B D"], cache: Cache) -> tuple[Array, ...]:
    """dw_v = Σ dy_t over all t with ids_t = v: a row read twice gets both gradients, a row never read gets 0."""
    w, ids = cache
    dw = np.zeros_like(w)                                       # (V, D)
    np.add.at(dw, ids, dy)
    return (dw,)


def init(rng, V, D):
    """Standard normal rows."""
    return Params(rng.normal(size=(V, D)))


def example(rng):
    V, D = 6, 4
    return (rng.normal(size=(V, D)),), {"ids": np.array([[0, 5, 3], [3, 1, 3]])}
