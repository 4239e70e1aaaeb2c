"""The non-local block: every position adds what it finds at all others, weighed by one of four functions of the pair.

Wang, Girshick, Gupta & He, "Non-local Neural Networks", CVPR 2018, eqs. (1)-(6).

    y_i = Σ_j f(x_i, x_j) g(x_j) / C(x)             g(x_j) = W_g x_j                (1)

    gaussian              f = e^{x_i · x_j}                     C = Σ_j f           (2)
    embedded_gaussian     f = e^{θ_i · φ_j}                     C = Σ_j f           (3)
    dot_product           f = θ_i · φ_j                         C = P               (4)
    concatenation         f = ReLU(w_f · [θ_i ‖ φ_j])           C = P               (5)

    z_i = W_z y_i + x_i                                                             (6)

θ_i = W_θ x_i, φ_j = W_φ x_j, and P positions.  Where C = Σ_j f, f / C is a softmax over j.

Differs from the paper's networks: no biases, no batch normalisation and no max-pooling of φ and g.
Differs from mmcv and timm: they scale the scores of eq. (3), by the root of the channels of θ, or of x.
"""

from typing import Literal, NamedTuple

import numpy as np

from visattn.ops._contract import Array, Float, checked, require
from visattn.ops._tokens import as_image, as_tokens
from visattn.ops.primitives import linear, softmax

Form = Literal["gaussian", "embedded_gaussian", "dot_product", "concatenation"]


class Params(NamedTuple):
    w_g: Float[Array, "M C"]
    w_z: Float[Array, "C M"]
    w_theta: Float[Array, "M C"] | None = None
    w_phi: Float[Array, "M C"] | None = None
    w_f: Float[Array, "2*M"] | None = None


class Cache(NamedTuple):
    x: Float[Array, "N C H W"]
    p: Float[Array, "N P P"]                        # f / C, the map: row i is what position i adds of each
    theta: Float[Array, "N P _"]
    phi: Float[Array, "N P _"]
    w_f: Float[Array, "_"] | None
    g: Float[Array, "N P M"]
    of_theta: linear.Cache | None
    of_phi: linear.Cache | None
    of_g: linear.Cache
    of_z: linear.Cache
    form: Form


def rules(w_theta, w_phi, w_f, form):
    for name, w in (("w_theta", w_theta), ("w_phi", w_phi)):
        require((w is None) == (form == "gaussian"), name, f"be {'None' if w is not None else 'given'} for {form}",
                "None" if w is None else "an array")
    require((w_f is None) == (form != "concatenation"), "w_f",
            f"be {'None' if w_f is not None else 'given'} for {form}", "None" if w_f is None else "an array")


@checked(rules)
def forward(
    x: Float[Array, "N C H W"],
    w_g: Float[Array, "M C"],
    w_z: Float[Array, "C M"],
    w_theta: Float[Array, "M C"] | None = None,
    w_phi: Float[Array, "M C"] | None = None,
    w_f: Float[Array, "2*M"] | None = None,
    *,
    form: Form,
) -> tuple[Float[Array, "N C H W"], Cache]:
    """z (N, C, H, W): x, and at every position what it gathers from all.

    w_theta, w_phi    not for gaussian
    w_f               for concatenation only: M weights of θ, then M of φ
    """
    tokens = as_tokens(x)                                                   # (N, P, C)
    g, of_g = linear.forward(tokens, w_g)                                   # (N, P, M)
    theta, of_theta = (tokens, None) if w_theta is None else linear.forward(tokens, w_theta)
    phi, of_phi = (tokens, None) if w_phi is None else linear.forward(tokens, w_phi)
    p = WEIGH[form](theta, phi, w_f)                                        # (N, P, P)     (2)-(5)
    wy, of_z = linear.forward(p @ g, w_z)                                   # (N, P, C)     (1)
    z = as_image(wy, x) + x                                                 # (N, C, H, W)  (6)
    return z, Cache(x, p, theta, phi, w_f, g, of_theta, of_phi, of_g, of_z, form)


@checked
def backward(dz: Float[Array, "N C H W"], cache: Cache) -> tuple[Array, ...]:
    """
    (6)  z = W_z y + x          dy = dz W_z             dW_z            dx = dz
    (1)  y = p g                dg = pᵀ dy              dp = dy gᵀ
         p of θ and φ           dθ, dφ, dw_f            by the form's own derivation, below
         g, θ, φ linear in x    dx += dg W_g + dθ W_θ + dφ W_φ; for gaussian θ = φ = x: dx += dθ + dφ
    """
    x, p, theta, phi, w_f, g, of_theta, of_phi, of_g, of_z, form = cache
    dy, dw_z = linear.backward(as_tokens(dz), of_z)                         # (N, P, M)
    dg = p.swapaxes(1, 2) @ dy                                              # (N, P, M)
    dp = dy @ g.swapaxes(1, 2)                                              # (N, P, P)
    dtheta, dphi, *dw_f = TRANSPOSE[form](dp, p, theta, phi, w_f)
    dtokens, dw_g = linear.backward(dg, of_g)                               # (N, P, C)
    if of_theta is None or of_phi is None:                                  # gaussian
        return dz + as_image(dtokens + dtheta + dphi, x), dw_g, dw_z
    of_x, dw_theta = linear.backward(dtheta, of_theta)
    and_x, dw_phi = linear.backward(dphi, of_phi)
    return dz + as_image(dtokens + of_x + and_x, x), dw_g, dw_z, dw_theta, dw_phi, *dw_f


def gaussian(theta, phi, w_f):
    """p = softmax_j a,  a = θ φᵀ."""
    p, _ = softmax.forward(theta @ phi.swapaxes(1, 2))
    return p


def gaussian_backward(dp, p, theta, phi, w_f):
    """da = p ⊙ (dp - Σ_j dp ⊙ p),  dθ = da φ,  dφ = daᵀ θ."""
    da, = softmax.backward(dp, softmax.Cache(p, None, -1))
    return da @ phi, da.swapaxes(1, 2) @ theta


def dot_product(theta, phi, w_f):
    """p = θ φᵀ / P: weights of either sign, that do not sum to one."""
    return theta @ phi.swapaxes(1, 2) / theta.shape[1]


def dot_product_backward(dp, p, theta, phi, w_f):
    """dθ = dp φ / P,  dφ = dpᵀ θ / P."""
    P = theta.shape[1]
    return dp @ phi / P, dp.swapaxes(1, 2) @ theta / P


def concatenation(theta, phi, w_f):
    """p_ij = ReLU(s_i + t_j) / P,  s = θ w_1,  t = φ w_2,  w_f = [w_1 ‖ w_2]: no pair is ever concatenated."""
    M, P = theta.shape[2], theta.shape[1]
    return np.maximum((theta @ w_f[:M])[:, :, None] + (phi @ w_f[M:])[:, None, :], 0) / P


def concatenation_backward(dp, p, theta, phi, w_f):
    """With da = dp ⊙ [p > 0] / P (ReLU′(0) = 0):

        ds_i = Σ_j da_ij        dθ_i = ds_i w_1         dw_1 = Σ_i ds_i θ_i
        dt_j = Σ_i da_ij        dφ_j = dt_j w_2         dw_2 = Σ_j dt_j φ_j
    """
    M, P = theta.shape[2], theta.shape[1]
    da = dp * (p > 0) / P                                                   # (N, P, P)
    ds, dt = da.sum(2)[:, :, None], da.sum(1)[:, :, None]                   # (N, P, 1)
    dw_f = np.concatenate([(ds * theta).sum((0, 1)), (dt * phi).sum((0, 1))])
    return ds * w_f[:M], dt * w_f[M:], dw_f


WEIGH = {"gaussian": gaussian, "embedded_gaussian": gaussian,
         "dot_product": dot_product, "concatenation": concatenation}
TRANSPOSE = {"gaussian": gaussian_backward, "embedded_gaussian": gaussian_backward,
             "dot_product": dot_product_backward, "concatenation": concatenation_backward}


def init(rng, C, M=None, *, form="embedded_gaussian"):
    """Glorot-uniform weights into M = C / 2 channels, and W_z = 0, so that the block starts as the identity."""
    M = M or max(C // 2, 1)
    w_g, w_theta, w_phi = (linear.init(rng, C, M).w for _ in range(3))
    w_f = rng.uniform(-(3 / M) ** 0.5, (3 / M) ** 0.5, 2 * M)
    w_z = np.zeros((C, M))
    if form == "gaussian":
        return Params(w_g, w_z)
    return Params(w_g, w_z, w_theta, w_phi, w_f if form == "concatenation" else None)


def example(rng):
    N, C, H, W, M = 2, 5, 3, 4, 6
    params = init(rng, C, M, form="concatenation")._replace(w_z=rng.normal(size=(C, M)))
    return (rng.normal(size=(N, C, H, W)), *params), {"form": "concatenation"}
