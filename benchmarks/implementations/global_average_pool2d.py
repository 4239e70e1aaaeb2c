"""The mean of every channel."""

import torch

from implementations import tiles

F = torch.nn.functional


def torch_mean(x):
    return x.mean((2, 3))


def torch_adaptive(x):
    return F.adaptive_avg_pool2d(x, 1).flatten(1)


def torch_pooled(x):
    return F.avg_pool2d(x, x.shape[2:])[..., 0, 0]


def torch_sum(x):
    return x.flatten(2).sum(2) / x[0, 0].numel()


def torch_rows_then_columns(x):
    return x.mean(3).mean(2)


def torch_product(x):
    """With a vector of 1 / (H W)."""
    n = x[0, 0].numel()
    return x.flatten(2) @ x.new_full((n,), 1 / n)


def jax_mean(x):
    return x.mean((2, 3))


def jax_einsum(x):
    import jax.numpy as jnp
    return jnp.einsum("nchw->nc", x) / (x.shape[2] * x.shape[3])


def keras_mean(x):
    import keras
    return keras.ops.mean(x, (2, 3))


def numpy_tiles_of_3(m, x):
    flat = x.reshape(*x.shape[:2], -1)
    n = m.dtype.type(flat.shape[2])
    total = sum(flat[..., js].sum(-1) for js in tiles(flat.shape[2], 3, "random"))
    return m.stored(total / n), lambda dy: (m.stored((dy / n)[..., None, None] + 0 * x),)
