"""Softmax: torch's, by hand, jax, keras, and online over tiles."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import torch

from implementations import refuse, tiles

CONVENTIONS = {"torch_nan_rows": ("masked_row_nan",), "torch_lowest_number": ("masked_row_uniform",),
               "keras_softmax": ("masked_row_uniform",)}


def torch_nan_rows(x, *, axis=-1, mask=None):
    return torch.softmax(x if mask is None else x.masked_fill(~mask, -torch.inf), axis)


def torch_lowest_number(x, *, axis=-1, mask=None):
    return torch.softmax(x if mask is None else x.masked_fill(~mask, torch.finfo(x.dtype).min), axis)


def torch_zero_rows(x, *, axis=-1, mask=None):
    if mask is None:
        return torch.nn.functional.softmax(x, axis)
    mask = mask.expand(x.shape)
    return torch.where(mask, torch.softmax(x.masked_fill(~mask, -torch.inf), axis), 0)


def torch_safe(x, *, axis=-1, mask=None):
    return torch._safe_softmax(x if mask is None else x.masked_fill(~mask, -torch.inf), axis)


def torch_by_hand(x, *, axis=-1, mask=None):
    x = x if mask is None else x.masked_fill(~mask, -torch.inf)
    top = x.amax(axis, keepdim=True)
    e = torch.exp(x - torch.where(torch.isfinite(top), top, 0))
    total = e.sum(axis, keepdim=True)
    return e / torch.where(total > 0, total, 1)


def torch_by_hand_einsum(x, *, axis=-1, mask=None):
    """The maximum is a constant, the sum a product with ones, the quotient a product with 1 / sum."""
    x = (x if mask is None else x.masked_fill(~mask, -torch.inf)).movedim(axis, -1)
    top = x.detach().amax(-1, keepdim=True)
    e = torch.exp(x - torch.where(torch.isfinite(top), top, 0))
    total = (e @ torch.ones_like(e[0]).new_ones(e.shape[-1]))[..., None]
    return (e * torch.where(total > 0, total, 1).reciprocal()).movedim(-1, axis)


def torch_logsumexp(x, *, axis=-1, mask=None):
    refuse(mask=mask)
    return torch.exp(x - torch.logsumexp(x, axis, keepdim=True))


def torch_log_softmax(x, *, axis=-1, mask=None):
    refuse(mask=mask)
    return torch.log_softmax(x, axis).exp()


def torch_in_float32(x, *, axis=-1, mask=None):
    wide = x.float() if x.dtype.itemsize < 4 else x
    return torch_zero_rows(wide, axis=axis, mask=mask).to(x.dtype)


def jax_softmax(x, *, axis=-1, mask=None):
    if mask is None:
        return jax.nn.softmax(x, axis)
    mask = jnp.broadcast_to(mask, x.shape)
    return jnp.where(mask, jax.nn.softmax(jnp.where(mask, x, jnp.finfo(x.dtype).min), axis), 0)


def jax_by_hand(x, *, axis=-1, mask=None):
    refuse(mask=mask)
    e = jnp.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def keras_softmax(x, *, axis=-1, mask=None):
    import keras
    return keras.layers.Softmax(axis, dtype=str(x.dtype).removeprefix("torch."))(x, mask=mask)


def online(m, x, *, axis=-1, mask=None, tile=2, order="ascending"):
    f = m.dtype.type
    turned = np.moveaxis(x if mask is None else np.where(mask, x, f(-np.inf)), axis, -1)
    top, total = np.full((*turned.shape[:-1], 1), -np.inf, f), np.zeros((*turned.shape[:-1], 1), f)
    for js in tiles(turned.shape[-1], tile, order):
        higher = np.maximum(top, turned[..., js].max(-1, keepdims=True))
        safe = np.where(np.isfinite(higher), higher, f(0))
        total = total * np.exp(top - safe) + np.exp(turned[..., js] - safe).sum(-1, keepdims=True)
        top = higher
    p = m.stored(np.exp(turned - np.where(np.isfinite(top), top, f(0))) / np.where(total > 0, total, f(1)))

    def backward(dp):
        g = np.moveaxis(dp, axis, -1)
        common = sum((p[..., js] * g[..., js]).sum(-1, keepdims=True) for js in tiles(p.shape[-1], tile, order))
        return (m.stored(np.moveaxis(p * (g - common), -1, axis)),)

    return np.moveaxis(p, -1, axis), backward


numpy_tiles_of_1 = partial(online, tile=1)
numpy_tiles_of_2_descending = partial(online, tile=2, order="descending")
numpy_tiles_of_3_random = partial(online, tile=3, order="random")
