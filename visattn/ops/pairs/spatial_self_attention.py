"""Spatial self-attention: every pixel gathers the pixels that resemble it, in five steps.

The steps as they are often told, for one image X of H × W pixels and C channels:

    1  X ∈ ℝ^(H×W×C)
    2  F_k(X) ∈ ℝ^(H×W×C_k),  F_q(X) ∈ ℝ^(H×W×C_q)         two convolutions
    3  A = softmax(F_kᵀ F_q) ∈ ℝ^(H×W×H×W)
    4  X′ = A ⊙ X ∈ ℝ^(H×W×C)
    5  Y = a convolution of X′

Told so, they do not compute.  What is mended, and why:

    1  the pixels stand in one line of P = H·W: "all pixels" must be one axis
    2  C_k = C_q = D: the two are multiplied channel by channel
    3  q kᵀ, for F_kᵀ F_q is channels against channels; and the softmax runs over the keys s,
       so that each query takes a mean: over the queries, or over all pairs, an image of ones does not stay ones
    4  p X, a matrix product: ⊙ of an (H, W, H, W) with an (H, W, C) array does not fit, and where H = W = C
       it fits by accident, as something else

    q = X W_qᵀ      k = X W_kᵀ                              (2)
    p_ts = softmax_s q_t · k_s                              (3)
    X′ = p X                                                (4)
    Y = X′ W_oᵀ                                             (5)

Differs from attention: no 1/√D, as told, so that with many channels one key takes nearly all the weight.
The convolutions are 1 × 1 and have no bias.
"""

from typing import NamedTuple

from visattn.ops._contract import Array, Float, checked
from visattn.ops._tokens import as_image, as_tokens
from visattn.ops.pairs import attention
from visattn.ops.primitives import linear


class Params(NamedTuple):
    w_k: Float[Array, "D C"]
    w_q: Float[Array, "D C"]
    w_o: Float[Array, "O C"]


class Cache(NamedTuple):
    x: Float[Array, "N C H W"]
    w_o: Float[Array, "O C"]
    p: Float[Array, "N P P"]                        # the attention map: row t is the image that pixel t sees
    k: linear.Cache
    q: linear.Cache
    mean: attention.Cache
    y: linear.Cache


@checked
def forward(
    x: Float[Array, "N C H W"],
    w_k: Float[Array, "D C"],
    w_q: Float[Array, "D C"],
    w_o: Float[Array, "O C"],
) -> tuple[Float[Array, "N O H W"], Cache]:
    """y (N, O, H, W): O features of every pixel, from a mean of all pixels of its image.

    w_k, w_q   what a pixel says of itself, and what it looks for, in D channels
    w_o        the last convolution
    """
    tokens = as_tokens(x)                                       # (N, P, C)             (1)
    k, c_k = linear.forward(tokens, w_k)                        # (N, P, D)             (2)
    q, c_q = linear.forward(tokens, w_q)                        # (N, P, D)             (2)
    mean, c_mean = attention.forward(q, k, tokens, scale=1)     # (N, P, C)             (3), (4)
    y, c_y = linear.forward(mean, w_o)                          # (N, P, O)             (5)
    return as_image(y, x), Cache(x, w_o, c_mean.p, c_k, c_q, c_mean, c_y)


@checked
def backward(dy: Float[Array, "N O H W"], cache: Cache) -> tuple[Array, ...]:
    """Transpose (5) to (1); X fed (2) twice and (4): its gradients add.

    (5)  Y = X′ W_oᵀ            dX′ = dY W_o            dW_o = dYᵀ X′
    (4)  X′ = p X               dX = pᵀ dX′             dp = dX′ Xᵀ
    (3)  p = softmax q kᵀ       dq, dk                  by attention
    (2)  q = X W_qᵀ             dX += dq W_q            dW_q = dqᵀ X
         k = X W_kᵀ             dX += dk W_k            dW_k = dkᵀ X
    """
    dmean, dw_o = linear.backward(as_tokens(dy), cache.y)       # (N, P, C)
    dq, dk, dtokens = attention.backward(dmean, cache.mean)     # (N, P, D), (N, P, D), (N, P, C)
    dtokens_q, dw_q = linear.backward(dq, cache.q)              # (N, P, C)
    dtokens_k, dw_k = linear.backward(dk, cache.k)              # (N, P, C)
    dx = as_image(dtokens + dtokens_q + dtokens_k, cache.x)     # (N, C, H, W)
    return dx, dw_k, dw_q, dw_o


def init(rng, C, D=None, O=None):
    """Glorot-uniform weights for C channels; D is C / 8 and O is C where they are not given."""
    D, O = D or max(C // 8, 1), O or C
    return Params(*(linear.init(rng, C, n).w for n in (D, D, O)))


def example(rng):
    N, C, H, W, D, O = 2, 5, 3, 4, 6, 7
    return (rng.normal(size=(N, C, H, W)), *init(rng, C, D, O)), {}
