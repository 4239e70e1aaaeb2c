"""Gaussian error linear units, exact and by tanh."""

import math

import jax
import jax.numpy as jnp
import torch

F = torch.nn.functional


def torch_gelu(x, *, approximate="none"):
    return F.gelu(x, approximate=approximate)


def torch_by_hand(x, *, approximate="none"):
    if approximate == "tanh":
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def torch_distribution(x, *, approximate="none"):
    """x times the distribution function."""
    if approximate == "tanh":
        return x * torch.sigmoid(math.sqrt(8 / math.pi) * (x + 0.044715 * x * x * x))
    return x * torch.special.ndtr(x)


def torch_complement(x, *, approximate="none"):
    if approximate == "tanh":
        return x * (0.5 * (torch.tanh(math.sqrt(2 / math.pi) * x * (1 + 0.044715 * x.square())) + 1))
    return x * (0.5 * torch.special.erfc(-x * math.sqrt(0.5)))


def jax_gelu(x, *, approximate="none"):
    return jax.nn.gelu(x, approximate=approximate == "tanh")


def jax_by_hand(x, *, approximate="none"):
    if approximate == "tanh":
        return 0.5 * x * (1 + jnp.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return x * 0.5 * (1 + jax.scipy.special.erf(x / math.sqrt(2)))


def keras_gelu(x, *, approximate="none"):
    import keras
    return keras.ops.gelu(x, approximate=approximate == "tanh")
