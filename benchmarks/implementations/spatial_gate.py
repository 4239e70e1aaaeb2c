"""CBAM's gate for pixels."""

import functools

import jax
import jax.numpy as jnp
import torch

from implementations import NotTaken

F = torch.nn.functional


def torch_convolution(x, w, *, ties="first"):
    largest = x.max(1, keepdim=True).values if ties == "first" else x.amax(1, keepdim=True)
    maps = torch.cat([x.mean(1, keepdim=True), largest], 1)
    return torch.sigmoid(F.conv2d(maps, w, padding=(w.shape[2] // 2, w.shape[3] // 2))) * x


def torch_two_convolutions(x, w, *, ties="first"):
    """One for the mean, one for the maximum."""
    largest = x.max(1, keepdim=True).values if ties == "first" else x.amax(1, keepdim=True)
    padding = (w.shape[2] // 2, w.shape[3] // 2)
    a = F.conv2d(x.sum(1, keepdim=True) / x.shape[1], w[:, :1], padding=padding)
    return x * torch.sigmoid(a + F.conv2d(largest, w[:, 1:], padding=padding))


@functools.cache
def timm_module(K):
    from timm.layers.cbam import SpatialAttn
    gate = SpatialAttn(K).eval()
    gate.conv.bn.eps = 0.0
    return gate


def torch_timm(x, w, *, ties="first"):
    """Its batch normalisation as the identity."""
    if ties == "first" or w.shape[2] != w.shape[3]:
        raise NotTaken("ties")
    gate = timm_module(w.shape[2])
    weights = {f"conv.bn.{name}": t.to(x.dtype) for name, t in gate.conv.bn.state_dict().items()
               if t.is_floating_point()} | {"conv.conv.weight": w}
    return torch.func.functional_call(gate, weights, (x,))


def jax_convolution(x, w, *, ties="first"):
    if ties == "first":
        raise NotTaken("ties")
    maps = jnp.stack([x.mean(1), x.max(1)], 1)
    a = jax.lax.conv_general_dilated(maps, w, (1, 1), [(n // 2, n // 2) for n in w.shape[2:]])
    return x * jax.nn.sigmoid(a)
