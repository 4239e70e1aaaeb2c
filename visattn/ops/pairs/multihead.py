"""Multi-head attention: several attentions side by side, each in its own projection of the features.

Vaswani et al., "Attention Is All You Need", NIPS 2017, section 3.2.2.

    q = x W_qᵀ + b_q        k = c W_kᵀ          v = c W_vᵀ + b_v            c: the context
    h_g = attention(q_g, k_g, v_g)                                          head g: its own features of q, k and v
    y = [h_1 ‖ … ‖ h_G] W_oᵀ + b_o

Self-attention is `forward(x, x, *params, heads=G)`: x is given twice, and its gradient is dx + dcontext.

Differs from the paper: biases, where they are given.
Differs from torch and keras: none on the keys.  It would add q·b_k to all scores of a query, and softmax is blind to
what all scores share: no output depends on b_k, its gradient is zero, and b_k of their weights can be left out.
"""

from typing import Literal, NamedTuple

from visattn.ops._contract import Array, Bool, Float, checked, require
from visattn.ops.pairs import attention
from visattn.ops.primitives import linear


class Params(NamedTuple):
    w_q: Float[Array, "GD I"]
    w_k: Float[Array, "GD C"]
    w_v: Float[Array, "GE C"]
    w_o: Float[Array, "O GE"]
    b_q: Float[Array, "GD"] | None = None
    b_v: Float[Array, "GE"] | None = None
    b_o: Float[Array, "O"] | None = None


class Cache(NamedTuple):
    p: Float[Array, "N G T S"]                      # the attention map of every head
    w_o: Float[Array, "O GE"]
    q: linear.Cache
    k: linear.Cache
    v: linear.Cache
    h: attention.Cache
    y: linear.Cache


def rules(w_q, w_v, b_q, b_v, b_o, heads, mask):
    require(heads >= 1, "heads", "be at least 1", heads)
    require(len(w_q) % heads == 0, "heads", f"divide the {len(w_q)} rows of w_q and w_k", heads)
    require(len(w_v) % heads == 0, "heads", f"divide the {len(w_v)} rows of w_v", heads)
    require((b_q is None) == (b_v is None) == (b_o is None), "b_q, b_v, b_o", "be given together, or none of them",
            ", ".join("None" if b is None else "an array" for b in (b_q, b_v, b_o)))
    G = 1 if mask is None else mask.shape[1]
    require(G in (1, heads), "mask", f"have 1 or {heads} heads along its second axis", G)


@checked(rules)
def forward(
    x: Float[Array, "N T I"],
    context: Float[Array, "N S C"],
    w_q: Float[Array, "GD I"],
    w_k: Float[Array, "GD C"],
    w_v: Float[Array, "GE C"],
    w_o: Float[Array, "O GE"],
    b_q: Float[Array, "GD"] | None = None,
    b_v: Float[Array, "GE"] | None = None,
    b_o: Float[Array, "O"] | None = None,
    *,
    heads: int,
    mask: Bool[Array, "#N #G #T #S"] | None = None,
    causal: Literal["top_left", "bottom_right"] | None = None,
) -> tuple[Float[Array, "N T O"], Cache]:
    """y (N, T, O): every token of x gathers what `heads` attentions find for it in the context.

    x        tokens that ask
    context  tokens that are looked at; x itself for self-attention
    w_q …    head g owns rows g D to (g + 1) D of w_q and w_k, rows g E to (g + 1) E of w_v, and columns of w_o
    mask     True = query t may attend to key s, broadcast against (N, G, T, S); for padded contexts (N, 1, 1, S)
    causal   "top_left" or "bottom_right", as in attention
    """
    q, c_q = linear.forward(x, w_q, b_q)                        # (N, T, G D)
    k, c_k = linear.forward(context, w_k)                       # (N, S, G D)
    v, c_v = linear.forward(context, w_v, b_v)                  # (N, S, G E)
    h, c_h = attention.forward(split(q, heads), split(k, heads), split(v, heads), mask=mask, causal=causal)
    y, c_y = linear.forward(merge(h), w_o, b_o)                 # (N, T, O)
    return y, Cache(c_h.p, w_o, c_q, c_k, c_v, c_h, c_y)


@checked
def backward(dy: Float[Array, "N T O"], cache: Cache):
    """
        y = merge(h) W_oᵀ + b_o         dh, dW_o, db_o          by linear
        h = attention(q, k, v)          dq, dk, dv              by attention, every head by itself
        q = split(x W_qᵀ + b_q)         dx, dW_q, db_q          by linear
        k = split(c W_kᵀ)               dc, dW_k
        v = split(c W_vᵀ + b_v)         dc += …, dW_v, db_v     c fed k and v: its gradients add

    split and merge only move numbers: each is the other's inverse, and its transpose.
    """
    heads = cache.p.shape[1]
    dh, dw_o, *db_o = linear.backward(dy, cache.y)              # (N, T, G E)
    dq, dk, dv = attention.backward(split(dh, heads), cache.h)  # (N, G, T, D), (N, G, S, D), (N, G, S, E)
    dx, dw_q, *db_q = linear.backward(merge(dq), cache.q)       # (N, T, I)
    dc_k, dw_k = linear.backward(merge(dk), cache.k)            # (N, S, C)
    dc_v, dw_v, *db_v = linear.backward(merge(dv), cache.v)     # (N, S, C)
    return dx, dc_k + dc_v, dw_q, dw_k, dw_v, dw_o, *db_q, *db_v, *db_o


def split(x, heads):
    """(N, T, G D) to (N, G, T, D): consecutive features belong to one head."""
    N, T, GD = x.shape
    return x.reshape(N, T, heads, GD // heads).swapaxes(1, 2)


def merge(h):
    """(N, G, T, D) to (N, T, G D): the heads side by side."""
    N, G, T, D = h.shape
    return h.swapaxes(1, 2).reshape(N, T, G * D)


def init(rng, I, heads, *, C=None, D=None, E=None, O=None):
    """Glorot-uniform weights and zero biases: I features of x, C of the context, D of a head's keys, E of its values,
    O of the output.  As in the paper, C and O are I, and D = E = I / heads, where they are not given."""
    C, O = C or I, O or I
    require((D and E) or I % heads == 0, "heads", f"divide the {I} features of x where D and E are not given", heads)
    D, E = D or I // heads, E or I // heads
    (w_q, b_q), (w_k, _), (w_v, b_v), (w_o, b_o) = (
        linear.init(rng, *sizes) for sizes in ((I, heads * D), (C, heads * D), (C, heads * E), (heads * E, O)))
    return Params(w_q, w_k, w_v, w_o, b_q, b_v, b_o)


def example(rng):
    N, T, S, I, C, G, D, E, O = 2, 3, 4, 5, 6, 3, 2, 4, 7
    params = init(rng, I, G, C=C, D=D, E=E, O=O)
    biases = [rng.normal(size=b.shape) for b in params[4:]]
    mask = rng.random((N, 1, T, S)) < 0.7
    mask[1, 0, 2] = False                                       # a query with no key
    return (rng.normal(size=(N, T, I)), rng.normal(size=(N, S, C)), *params[:4], *biases), {"heads": G, "mask": mask}
