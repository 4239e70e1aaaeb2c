"""Gaussian error linear units, exact and by tanh."""

import math

import jax
import jax.numpy as jnp
import torch

from implementations import NotTaken, huggingface

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


def of_transformers(name, which, **settings):
    """An activation of transformers, which is one of the two."""
    def activate(x, *, approximate="none"):
        if approximate != which:
            raise NotTaken(approximate)
        return huggingface.of(f"activations.{name}")(**settings)(x)
    return activate


torch_transformers_gelu = of_transformers("GELUActivation", "none")
torch_transformers_gelu_python = of_transformers("GELUActivation", "none", use_gelu_python=True)
torch_transformers_new = of_transformers("NewGELUActivation", "tanh")
torch_transformers_accurate = of_transformers("AccurateGELUActivation", "tanh")
torch_transformers_tanh = of_transformers("GELUTanh", "tanh")
torch_transformers_tanh_python = of_transformers("GELUTanh", "tanh", use_gelu_tanh_python=True)


def jax_gelu(x, *, approximate="none"):
    return jax.nn.gelu(x, approximate=approximate == "tanh")


def jax_by_hand(x, *, approximate="none"):
    if approximate == "tanh":
        return 0.5 * x * (1 + jnp.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return x * 0.5 * (1 + jax.scipy.special.erf(x / math.sqrt(2)))


def keras_gelu(x, *, approximate="none"):
    import keras
    return keras.ops.gelu(x, approximate=approximate == "tanh")
