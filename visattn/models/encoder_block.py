"""The encoder block of the vision transformer: every token asks all others, then thinks by itself.

Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021, eqs. (2)-(3).

    r = MSA(LN(x)) + x          multi-head self-attention       (2)
    y = MLP(LN(r)) + r          MLP = down ∘ GELU ∘ up          (3)

Differs from timm: GELU by tanh, as in the authors' code, and no bias on the keys, on which no output depends.
"""

from typing import Any, NamedTuple

from visattn import ops, tree
from visattn.ops._contract import Array, Float, checked, require
from visattn.ops.pairs import multihead
from visattn.ops.primitives import layernorm, linear


class Params(NamedTuple):
    norm1: layernorm.Params
    msa: multihead.Params
    norm2: layernorm.Params
    up: linear.Params
    down: linear.Params


class Cache(NamedTuple):
    p: Float[Array, "N G T T"]                      # the attention map of every head
    norm1: Any
    msa: Any
    norm2: Any
    up: Any
    gelu: Any
    down: Any
    F: Any


def rules(x, p, heads):
    D, GD, GE = len(p.norm1.g), len(p.msa.w_q), len(p.msa.w_v)
    require(x.shape[-1] == D, "x", f"have the {D} features that p was made for", x.shape[-1])
    require(heads >= 1 and GD % heads == 0 and GE % heads == 0, "heads", f"divide {GD} and {GE}, the rows of p.msa",
            heads)


@checked(rules)
def forward(
    x: Float[Array, "N T D"],
    p: Params,
    *,
    heads: int,
    F: Any = ops,
) -> tuple[Float[Array, "N T D"], Cache]:
    """y (N, T, D).

    heads   attentions side by side, each in D / heads features
    F       where the operators come from: visattn.ops, or another namespace of the same names
    """
    n, norm1 = F.layernorm.forward(x, *p.norm1)
    a, msa = F.multihead.forward(n, n, *p.msa, heads=heads)
    r = a + x                                                   # (N, T, D)            (2)
    n, norm2 = F.layernorm.forward(r, *p.norm2)
    h, up = F.linear.forward(n, *p.up)                          # (N, T, M)
    h, gelu = F.gelu.forward(h, approximate="tanh")
    m, down = F.linear.forward(h, *p.down)
    y = m + r                                                   # (N, T, D)            (3)
    return y, Cache(msa.p, norm1, msa, norm2, up, gelu, down, F)


@checked
def backward(dy: Float[Array, "N T D"], cache: Cache) -> tuple[Array, Params]:
    """forward, read from its last line to its first; what fed two lines adds their gradients.

        y = m + r           dm = dy, dr = dy
        m = MLP(LN(r))      dr += …             r fed LN and y
        r = a + x           da = dr, dx = dr
        a = MSA(n, n)       dn is the sum of both: n asks, and is asked
        n = LN(x)           dx += …             x fed LN and r
    """
    F = cache.F
    dh, *ddown = F.linear.backward(dy, cache.down)
    dh, = F.gelu.backward(dh, cache.gelu)
    dn, *dup = F.linear.backward(dh, cache.up)
    dr, *dnorm2 = F.layernorm.backward(dn, cache.norm2)
    dr = dr + dy
    dn, dcontext, *dmsa = F.multihead.backward(dr, cache.msa)
    dx, *dnorm1 = F.layernorm.backward(dn + dcontext, cache.norm1)
    dx = dx + dr
    return dx, Params(layernorm.Params(*dnorm1), multihead.Params(*dmsa), layernorm.Params(*dnorm2),
                      linear.Params(*dup), linear.Params(*ddown))


def init(rng, D, heads, M=None):
    """D features, M = 4 D in the middle of the MLP, as in the paper, where it is not given."""
    M = 4 * D if M is None else M
    return Params(layernorm.init(rng, D), multihead.init(rng, D, heads), layernorm.init(rng, D),
                  linear.init(rng, D, M), linear.init(rng, M, D))


def example(rng):
    N, T, D, G, M = 2, 3, 8, 2, 5
    p = init(rng, D, G, M)
    return (rng.normal(size=(N, T, D)), perturbed(p, rng)), {"heads": G}


def perturbed(p, rng):
    """Weights none of which is where `init` puts it: no bias is 0, no scale 1."""
    return tree.map(lambda a: a + 0.3 * rng.normal(size=a.shape), p)
