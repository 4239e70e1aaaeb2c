"""One step of a long short-term memory: a memory c that is kept, written and read through gates.

Hochreiter & Schmidhuber, "Long Short-Term Memory", 1997, with the forget gate of Gers et al. 2000.

    z = W_x x + b_x + W_h h + b_h                   four blocks: i, f, g, o
    i, f, o = σ(z_i), σ(z_f), σ(z_o)                input, forget, output
    g = tanh(z_g)                                   what would be written
    c′ = f ⊙ c + i ⊙ g
    h′ = o ⊙ tanh c′

The order of the blocks and the two biases, of which only the sum matters, are torch's.
Differs from keras: kernels transposed, and one bias, of which keras starts the forget block at 1.
"""

from typing import NamedTuple

import numpy as np

from visattn.ops._contract import Array, Float, checked
from visattn.ops.primitives import linear, sigmoid


class Params(NamedTuple):
    wx: Float[Array, "4*E D"]
    wh: Float[Array, "4*E E"]
    bx: Float[Array, "4*E"]
    bh: Float[Array, "4*E"]


class Cache(NamedTuple):
    x: linear.Cache
    h: linear.Cache
    c: Float[Array, "N E"]
    i: Float[Array, "N E"]                          # how much is written
    f: Float[Array, "N E"]                          # how much is kept
    g: Float[Array, "N E"]
    o: Float[Array, "N E"]                          # how much is shown
    r: Float[Array, "N E"]                          # tanh c′


@checked
def forward(
    x: Float[Array, "N D"],
    h: Float[Array, "N E"],
    c: Float[Array, "N E"],
    wx: Float[Array, "4*E D"],
    wh: Float[Array, "4*E E"],
    bx: Float[Array, "4*E"],
    bh: Float[Array, "4*E"],
) -> tuple[tuple[Float[Array, "N E"], Float[Array, "N E"]], Cache]:
    """(h′, c′), each (N, E): the next hidden state and the next memory."""
    E = h.shape[1]
    zx, c_x = linear.forward(x, wx, bx)                                 # (N, 4E)
    zh, c_h = linear.forward(h, wh, bh)                                 # (N, 4E)
    z = zx + zh
    i, f, o = (sigmoid.forward(z[:, k * E:(k + 1) * E])[0] for k in (0, 1, 3))
    g = np.tanh(z[:, 2 * E:3 * E])                                      # (N, E)
    c1 = f * c + i * g                                                  # (N, E)
    r = np.tanh(c1)                                                     # (N, E)
    h1 = o * r                                                          # (N, E)
    return (h1, c1), Cache(c_x, c_h, c, i, f, g, o, r)


@checked
def backward(dy: tuple[Float[Array, "N E"], Float[Array, "N E"]], cache: Cache) -> tuple[Array, ...]:
    """dy = (dh′, dc′).

        h′ = o ⊙ tanh c′        do = dh′ ⊙ tanh c′              dc′ += dh′ ⊙ o (1 - tanh² c′)
        c′ = f ⊙ c + i ⊙ g      df = dc′ ⊙ c,  dc = dc′ ⊙ f     di = dc′ ⊙ g,  dg = dc′ ⊙ i
        g = tanh z_g            dz_g = dg (1 - g²)
        s = σ(z_s)              dz_s = ds ⊙ s (1 - s)           for s = i, f, o
        z = W_x x + b_x + …     dx = dz W_x,  dW_x = dzᵀ x,  db_x = Σ_n dz, and the same for h
    """
    dh1, dc1 = dy
    c_x, c_h, c, i, f, g, o, r = cache
    do = dh1 * r                                                        # (N, E)
    dc1 = dc1 + dh1 * o * (1 - r * r)                                   # (N, E)
    df, dc, di, dg = dc1 * c, dc1 * f, dc1 * g, dc1 * i                 # (N, E)
    dz = np.concatenate([di * i * (1 - i), df * f * (1 - f), dg * (1 - g * g), do * o * (1 - o)], 1)
    dx, dwx, dbx = linear.backward(dz, c_x)
    dh, dwh, dbh = linear.backward(dz, c_h)
    return dx, dh, dc, dwx, dwh, dbx, dbh


def init(rng, D, E):
    """Uniform in ±1/√E, as in torch; biases 0, but 1 for the forget gate (Jozefowicz et al. 2015)."""
    k = E ** -0.5
    bx = np.zeros(4 * E)
    bx[E:2 * E] = 1
    return Params(rng.uniform(-k, k, (4 * E, D)), rng.uniform(-k, k, (4 * E, E)), bx, np.zeros(4 * E))


def example(rng):
    N, D, E = 2, 3, 5
    x, h, c = rng.normal(size=(N, D)), rng.normal(size=(N, E)), rng.normal(size=(N, E))
    return (x, h, c, *(rng.normal(size=p.shape) for p in init(rng, D, E))), {}
