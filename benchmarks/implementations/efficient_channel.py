"""Efficient channel attention."""

import functools

import jax
import jax.numpy as jnp
import torch

F = torch.nn.functional


def torch_conv1d(x, w):
    s = torch.sigmoid(F.conv1d(x.mean((2, 3))[:, None], w[None, None], padding=len(w) // 2))
    return x * s[:, 0, :, None, None]


def torch_unfold(x, w):
    z = F.pad(F.adaptive_avg_pool2d(x, 1).flatten(1), (len(w) // 2, len(w) // 2))
    return torch.sigmoid(z.unfold(1, len(w), 1) @ w)[:, :, None, None] * x


def torch_authors(x, w):
    """As the authors' module does it: pooled, turned, convolved, turned back."""
    z = F.adaptive_avg_pool2d(x, 1)
    z = F.conv1d(z.squeeze(-1).transpose(-1, -2), w[None, None], padding=(len(w) - 1) // 2)
    return x * torch.sigmoid(z.transpose(-1, -2).unsqueeze(-1)).expand_as(x)


def torch_rows_then_columns(x, w):
    a = F.conv1d(x.mean(-1).mean(-1)[:, None], w[None, None], padding="same")[:, 0]
    return x * torch.sigmoid(a)[..., None, None]


@functools.cache
def timm_module(K):
    from timm.layers import EcaModule
    return EcaModule(kernel_size=K)


def torch_timm(x, w):
    return torch.func.functional_call(timm_module(len(w)), {"conv.weight": w[None, None]}, (x,))


def jax_convolve(x, w):
    z = x.mean((2, 3))
    s = jax.lax.conv_general_dilated(z[:, None], w[None, None], (1,), [(len(w) // 2, len(w) // 2)])
    return x * jax.nn.sigmoid(s[:, 0])[:, :, None, None]


def jax_taps(x, w):
    C, K = x.shape[1], len(w)
    z = jnp.pad(x.mean((2, 3)), ((0, 0), (K // 2, K // 2)))
    a = sum(w[k] * z[:, k:k + C] for k in range(K))
    return x * jax.nn.sigmoid(a)[:, :, None, None]
