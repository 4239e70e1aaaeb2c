"""A linear layer."""

from functools import partial

import jax.numpy as jnp
import numpy as np
import torch

from implementations import huggingface, tiles


def torch_linear(x, w, b=None):
    return torch.nn.functional.linear(x, w, b)


def torch_matmul(x, w, b=None):
    return x @ w.T if b is None else x @ w.T + b


def torch_einsum(x, w, b=None):
    y = torch.einsum("...d,ed->...e", x, w)
    return y if b is None else y + b


def torch_products(x, w, b=None):
    y = (x[..., None, :] * w).sum(-1)
    return y if b is None else y + b


def torch_addmm(x, w, b=None):
    flat = x.reshape(-1, x.shape[-1])
    y = flat.mm(w.t()) if b is None else torch.addmm(b, flat, w.t())
    return y.reshape(*x.shape[:-1], -1)


def torch_transformers_conv1d(x, w, b=None):
    """GPT-2's, whose weights are the other way round."""
    layer = huggingface.of("pytorch_utils.Conv1D")(*w.shape)
    return torch.func.functional_call(layer, {"weight": w.T, "bias": x.new_zeros(len(w)) if b is None else b},
                                      (x.contiguous(),))


def jax_matmul(x, w, b=None):
    return x @ w.T if b is None else x @ w.T + b


def jax_dot(x, w, b=None):
    y = jnp.dot(x, w.T)
    return y if b is None else y + b


def keras_matmul(x, w, b=None):
    import keras
    y = keras.ops.matmul(x, keras.ops.transpose(w))
    return y if b is None else keras.ops.add(y, b)


def blocked(m, x, w, b=None, *, tile=2, order="ascending"):
    """The sum over features in blocks, one on top of the other; the bias first."""
    y = np.zeros((*x.shape[:-1], len(w)), m.dtype) if b is None else np.zeros((*x.shape[:-1], len(w)), m.dtype) + b
    for js in tiles(x.shape[-1], tile, order):
        y = y + m.dot(x[..., js], w[:, js].T)

    def backward(dy):
        flat, d = x.reshape(-1, x.shape[-1]), dy.reshape(-1, len(w))
        dw = sum((m.dot(d[ns].T, flat[ns]) for ns in tiles(len(d), tile, order)), np.zeros_like(w))
        db = () if b is None else (d.sum(0),)
        return tuple(map(m.stored, (m.dot(dy, w), dw, *db)))

    return m.stored(y), backward


numpy_tiles_of_1 = partial(blocked, tile=1)
numpy_tiles_of_3_descending = partial(blocked, tile=3, order="descending")
