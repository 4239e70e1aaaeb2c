"""Show, Attend and Tell: before each word, look at the image where the sentence so far says.

Xu et al., "Show, Attend and Tell: Neural Image Caption Generation with Visual Attention", ICML 2015, eqs. (4)-(6)
and (13), and the gate of section 4.2.1.

    e_i = f_att(a_i, h)             how relevant place i is, given the state before the word            (4)
    α_i = exp e_i / Σ_k exp e_k     where it looks: weights over the P places that sum to one           (5)
    s = Σ_i α_i a_i                 what it expects to see there                                        (13)
    β = σ(f_β(h))                   how much the image matters for this word                            §4.2.1
    ẑ = φ({a_i}, {α_i}) = β s                                                                           (6), §4.2.1

There the paper's equations end: f_att and f_β are left open.  Here, as in the authors' code, f_att is a perceptron with
one hidden layer, e_i = vᵀ tanh(W_a a_i + W_h h + b), which makes (4), (5) and (13) additive attention with one query;
and f_β is linear.  The authors' β is one number per image, `wb` (1, E); widespread re-implementations have one for each
of the D features, `wb` (D, E).  The LSTM that reads ẑ and the output layer belong to the caption model.
Differs from the authors' code: no number is added to all e_i, since softmax cannot see it.
"""

from typing import NamedTuple

import numpy as np

from visattn.ops._broadcast import unbroadcast
from visattn.ops._contract import Array, Float, checked, require
from visattn.ops.pairs import additive
from visattn.ops.primitives import linear, sigmoid


class Params(NamedTuple):
    wa: Float[Array, "M D"]
    wh: Float[Array, "M E"]
    v: Float[Array, "M"]
    b: Float[Array, "M"]
    wb: Float[Array, "#D E"]
    bb: Float[Array, "#D"]


class Cache(NamedTuple):
    alpha: Float[Array, "N P"]                      # where it looks: what people plot
    beta: Float[Array, "N #D"]                      # the gate
    seen: Float[Array, "N D"]                       # Σ_i α_i a_i, before the gate
    look: additive.Cache
    gate: linear.Cache


def rules(wb, bb):
    require(len(wb) == len(bb), "bb", f"have as many elements as wb has rows, {len(wb)}", len(bb))


@checked(rules)
def forward(
    a: Float[Array, "N P D"],
    h: Float[Array, "N E"],
    wa: Float[Array, "M D"],
    wh: Float[Array, "M E"],
    v: Float[Array, "M"],
    b: Float[Array, "M"],
    wb: Float[Array, "#D E"],
    bb: Float[Array, "#D"],
) -> tuple[Float[Array, "N D"], Cache]:
    """ẑ (N, D): what is seen for the next word.

    a       the annotations: D features at each of P places
    h       the state of the LSTM before the word           paper: h_{t-1}
    wb, bb  f_β, to one gate for all features (the paper) or to D, one for each
    """
    seen, look = additive.forward(h[:, None, :], a, a, wh, wa, v, b)    # (N, 1, D)     (4), (5), (13)
    seen, alpha = seen[:, 0], look.p[:, 0]                              # (N, D), (N, P)
    gate, f_beta = linear.forward(h, wb, bb)                            # (N, 1)
    beta, _ = sigmoid.forward(gate)                                     # (N, 1)        §4.2.1
    z = beta * seen                                                     # (N, D)        (6)
    return z, Cache(alpha, beta, seen, look, f_beta)


@checked
def backward(dz: Float[Array, "N D"], cache: Cache) -> tuple[Array, ...]:
    """
        ẑ = β s                     dβ = Σ dẑ ⊙ s, over what shares a gate      ds = β dẑ
        β = σ(W_b h + b_b)          the gate's share of dh, dW_b, db_b
        s = Σ_i α_i a_i             the rest is additive attention's: its query is h,
        α = softmax_i f_att(a, h)   a is both its keys and its values: their gradients add
    """
    _, beta, seen, look, gate = cache
    dbeta = unbroadcast(dz * seen, beta.shape)                          # (N, 1)
    dh_gate, dwb, dbb = linear.backward(dbeta * beta * (1 - beta), gate)
    dh, dkeys, dvalues, dwh, dwa, dv, db = additive.backward((beta * dz)[:, None, :], look)
    return dkeys + dvalues, dh[:, 0] + dh_gate, dwa, dwh, dv, db, dwb, dbb


def init(rng, D, E, M, gates=1):
    """Glorot-uniform weights, zero biases: the gate, or each of D `gates`, starts at ½."""
    wh, wa, v, _ = additive.init(rng, E, D, M)
    return Params(wa, wh, v, np.zeros(M), *linear.init(rng, E, gates))


def example(rng):
    N, P, D, E, M = 2, 6, 3, 4, 5
    p = init(rng, D, E, M)
    p = p._replace(b=rng.normal(size=M), bb=rng.normal(size=1))
    return (rng.normal(size=(N, P, D)), rng.normal(size=(N, E)), *p), {}
