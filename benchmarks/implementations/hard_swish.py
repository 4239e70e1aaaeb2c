"""Hard swish."""

import jax
import jax.numpy as jnp
import torch

F = torch.nn.functional
CONVENTIONS = {"torch_clamp": ("inner_slopes",)}


def torch_hardswish(x):
    return F.hardswish(x)


def torch_relu6(x):
    return x * F.relu6(x + 3) / 6


def torch_hardsigmoid(x):
    return x * F.hardsigmoid(x)


def torch_hardtanh(x):
    return x * (F.hardtanh(x + 3, 0, 6) / 6)


def torch_clamp(x):
    return x * ((x + 3).clamp(0, 6) / 6)


def torch_where(x):
    return torch.where(x <= -3, 0, torch.where(x >= 3, x, x * (x + 3) / 6))


def jax_hard_swish(x):
    return jax.nn.hard_swish(x)


def jax_where(x):
    return jnp.where(x <= -3, 0, jnp.where(x >= 3, x, x * (x + 3) / 6))


def keras_hard_swish(x):
    import keras
    return keras.ops.hard_swish(x)
