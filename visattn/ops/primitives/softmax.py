"""Softmax: the numbers of a row to weights that are positive and sum to one.

    p_s = e^{x_s} / Σ_t e^{x_t}

Masks are boolean, True = takes part.  **A row in which nothing takes part gives zeros, and passes exactly zero
gradient**: decided on the mask, by selection, here once for every operator that normalises.
"""

from typing import NamedTuple

import numpy as np

from visattn.ops._contract import Array, Bool, Float, checked, require


class Cache(NamedTuple):
    p: Float[Array, "*B"]
    mask: Bool[Array, "*#B"] | None
    axis: int


def rules(x, axis, mask):
    require(-x.ndim <= axis < x.ndim, "axis", f"name one of the {x.ndim} axes of x", axis)
    require(x.shape[axis] > 0, "x", f"have at least one element along axis {axis}", f"shape {x.shape}")


@checked(rules)
def forward(
    x: Float[Array, "*B"], *, axis: int = -1, mask: Bool[Array, "*#B"] | None = None
) -> tuple[Float[Array, "*B"], Cache]:
    """p (*B): the weights along `axis`.

    mask    which elements take part, broadcast against x; None is all of them
    raises  ValueError where `axis` is not an axis of x or has no elements
    """
    if mask is None:
        p = x - x.max(axis, keepdims=True)                      # the shift cancels: no exponential overflows
        np.exp(p, out=p)                                        # in place: what this costs is passes over memory
        p /= p.sum(axis, keepdims=True)
    else:
        mask = np.broadcast_to(mask, x.shape)                   # `axis` counts the axes of x
        some = mask.any(axis, keepdims=True)                    # rows with something to attend to
        p = np.where(mask, x, -np.inf)
        p -= np.where(some, p.max(axis, keepdims=True), 0)
        np.exp(p, out=p)
        p /= np.where(some, p.sum(axis, keepdims=True), 1)
    return p, Cache(p, mask, axis)


@checked
def backward(dp: Float[Array, "*B"], cache: Cache) -> tuple[Array, ...]:
    """From p_s = e^{x_s} / Σ:  ∂p_s/∂x_t = p_s ([s = t] - p_t), hence

        dx = p ⊙ (dp - Σ_s dp_s p_s).

    One row costs a product and a sum: its Jacobian is never built.
    """
    p, mask, axis = cache
    if mask is not None:
        dp = np.where(mask, dp, 0)                              # p is 0 there, and dp may be NaN
    mean = np.einsum("...s,...s->...", np.moveaxis(dp, axis, -1), np.moveaxis(p, axis, -1))      # Σ_s dp_s p_s
    dx = dp - np.expand_dims(mean, axis)
    dx *= p
    return (dx,)


def example(rng):
    mask = rng.random((2, 3, 5)) < 0.7
    mask[0, 1] = False                                          # a row with nothing to attend to
    return (rng.normal(size=(2, 3, 5)),), {"mask": mask}
