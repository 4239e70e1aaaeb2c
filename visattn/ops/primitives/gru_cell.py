"""One step of a gated recurrent unit: the new state is a mixture of the old one and a candidate.

Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder", EMNLP 2014.

    a = W_x x + b_x                                 three blocks each: r, z, n
    u = W_h h + b_h
    r = σ(a_r + u_r)                                reset
    z = σ(a_z + u_z)                                update
    n = tanh(a_n + r ⊙ u_n)                         the candidate
    h′ = (1 - z) ⊙ n + z ⊙ h

Differs from the paper: r resets W_h h + b_h, after the product, as in torch and cuDNN; the paper resets h before it.
Differs from keras: kernels transposed, and blocks in the order z, r, n.  Its reset_after=True, the default, is this
formula; its reset_after=False is the paper's.
"""

from typing import NamedTuple

import numpy as np

from visattn.ops._contract import Array, Float, checked
from visattn.ops.primitives import linear, sigmoid


class Params(NamedTuple):
    wx: Float[Array, "3*E D"]
    wh: Float[Array, "3*E E"]
    bx: Float[Array, "3*E"]
    bh: Float[Array, "3*E"]


class Cache(NamedTuple):
    h: Float[Array, "N E"]
    a: linear.Cache
    u: linear.Cache
    un: Float[Array, "N E"]
    r: Float[Array, "N E"]                          # how much of the old state the candidate sees
    z: Float[Array, "N E"]                          # how much of it is kept
    n: Float[Array, "N E"]


@checked
def forward(
    x: Float[Array, "N D"],
    h: Float[Array, "N E"],
    wx: Float[Array, "3*E D"],
    wh: Float[Array, "3*E E"],
    bx: Float[Array, "3*E"],
    bh: Float[Array, "3*E"],
) -> tuple[Float[Array, "N E"], Cache]:
    """h′ (N, E): the next state."""
    E = h.shape[1]
    a, c_a = linear.forward(x, wx, bx)                            # (N, 3E)
    u, c_u = linear.forward(h, wh, bh)                            # (N, 3E)
    r, _ = sigmoid.forward(a[:, :E] + u[:, :E])                 # (N, E)
    z, _ = sigmoid.forward(a[:, E:2 * E] + u[:, E:2 * E])       # (N, E)
    un = u[:, 2 * E:]
    n = np.tanh(a[:, 2 * E:] + r * un)                          # (N, E)
    h1 = (1 - z) * n + z * h                                    # (N, E)
    return h1, Cache(h, c_a, c_u, un, r, z, n)


@checked
def backward(dh1: Float[Array, "N E"], cache: Cache) -> tuple[Array, ...]:
    """
        h′ = (1 - z) n + z h        dn = dh′ ⊙ (1 - z)      dz = dh′ ⊙ (h - n)      dh = dh′ ⊙ z
        n = tanh(a_n + r ⊙ u_n)     da_n = dn (1 - n²)      du_n = da_n ⊙ r         dr = da_n ⊙ u_n
        s = σ(a_s + u_s)            da_s = du_s = ds ⊙ s (1 - s)                    for s = r, z
        u = W_h h + b_h             dh += du W_h,  dW_h = duᵀ h,  db_h = Σ_n du     h fed this and h′
        a = W_x x + b_x             dx = da W_x,  dW_x = daᵀ x,  db_x = Σ_n da
    """
    h, c_a, c_u, un, r, z, n = cache
    dan = dh1 * (1 - z) * (1 - n * n)                           # (N, E)
    dar = dan * un * r * (1 - r)                                # (N, E)
    daz = dh1 * (h - n) * z * (1 - z)                           # (N, E)
    da = np.concatenate([dar, daz, dan], 1)                     # (N, 3E)
    du = np.concatenate([dar, daz, dan * r], 1)                 # (N, 3E)
    dx, dwx, dbx = linear.backward(da, c_a)
    dh, dwh, dbh = linear.backward(du, c_u)
    return dx, dh + dh1 * z, dwx, dwh, dbx, dbh


def init(rng, D, E):
    """Uniform in ±1/√E, as in torch; biases 0."""
    k = E ** -0.5
    return Params(rng.uniform(-k, k, (3 * E, D)), rng.uniform(-k, k, (3 * E, E)), np.zeros(3 * E), np.zeros(3 * E))


def example(rng):
    N, D, E = 2, 3, 5
    x, h = rng.normal(size=(N, D)), rng.normal(size=(N, E))
    return (x, h, *(rng.normal(size=p.shape) for p in init(rng, D, E))), {}
