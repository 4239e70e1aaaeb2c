"""Dropout with a given mask."""

import jax.numpy as jnp
import torch


def torch_product(x, *, mask, rate):
    return x * mask / (1 - rate)


def torch_factor(x, *, mask, rate):
    return x * (mask.to(x.dtype) * (1 / (1 - rate)))


def torch_where(x, *, mask, rate):
    return torch.where(mask, x / (1 - rate), 0)


def torch_filled(x, *, mask, rate):
    return (x * (1 / (1 - rate))).masked_fill(~mask, 0)


def jax_where(x, *, mask, rate):
    return jnp.where(mask, x / (1 - rate), 0)
