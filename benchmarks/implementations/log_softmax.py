"""Logarithms of softmax."""

import jax
import jax.numpy as jnp
import numpy as np
import torch


def torch_log_softmax(x, *, axis=-1):
    return torch.nn.functional.log_softmax(x, axis)


def torch_logsumexp(x, *, axis=-1):
    return x - torch.logsumexp(x, axis, keepdim=True)


def torch_by_hand(x, *, axis=-1):
    x = x - x.max(axis, keepdim=True).values
    return x - x.exp().sum(axis, keepdim=True).log()


def torch_by_hand_detached(x, *, axis=-1):
    top = x.detach().amax(axis, keepdim=True)
    return x - (top + torch.log(torch.exp(x - top).sum(axis, keepdim=True)))


def jax_log_softmax(x, *, axis=-1):
    return jax.nn.log_softmax(x, axis)


def jax_logsumexp(x, *, axis=-1):
    return x - jax.scipy.special.logsumexp(x, axis, keepdims=True)


def jax_by_hand(x, *, axis=-1):
    x = x - x.max(axis, keepdims=True)
    return x - jnp.log(jnp.exp(x).sum(axis, keepdims=True))


def keras_log_softmax(x, *, axis=-1):
    import keras
    return keras.ops.log_softmax(x, axis)


def numpy_one_at_a_time(m, x, *, axis=-1):
    """A running maximum and sum."""
    top, total = np.full_like(x.take(0, axis), -np.inf), np.zeros_like(x.take(0, axis))
    for i in range(x.shape[axis]):
        one = x.take(i, axis)
        higher = np.maximum(top, one)
        total, top = total * np.exp(top - higher) + np.exp(one - higher), higher
    y = m.stored((x - np.expand_dims(top, axis)) - np.log(np.expand_dims(total, axis)))
    return y, lambda dy: (m.stored(dy - np.exp(y) * dy.sum(axis, keepdims=True)),)
