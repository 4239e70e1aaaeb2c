"""Squeeze-and-excitation."""

import functools

import jax
import jax.numpy as jnp
import torch

from implementations import huggingface, tiles

F = torch.nn.functional


def torch_linear(x, w1, w2):
    s = torch.sigmoid(F.linear(F.relu(F.linear(x.mean((2, 3)), w1)), w2))
    return x * s[:, :, None, None]


def torch_convolutions(x, w1, w2):
    z = F.adaptive_avg_pool2d(x, 1)
    s = torch.sigmoid(F.conv2d(F.relu(F.conv2d(z, w1[:, :, None, None])), w2[:, :, None, None]))
    return x * s


def torch_einsum(x, w1, w2):
    z = x.flatten(2).sum(2) / x[0, 0].numel()
    h = torch.einsum("nc,mc->nm", z, w1).clamp(min=0)
    return torch.einsum("nc,nchw->nchw", torch.sigmoid(torch.einsum("nm,cm->nc", h, w2)), x)


def torch_rows_then_columns(x, w1, w2):
    z = x.mean(-1).mean(-1)
    return x * torch.sigmoid(torch.relu(z @ w1.T) @ w2.T)[..., None, None]


@functools.cache
def timm_module(C, M):
    from timm.layers import SEModule
    return SEModule(C, rd_channels=M, bias=False)


def torch_timm(x, w1, w2):
    weights = {"fc1.weight": w1[:, :, None, None], "fc2.weight": w2[:, :, None, None]}
    return torch.func.functional_call(timm_module(x.shape[1], len(w1)), weights, (x,))


@functools.cache
def regnet(C, M, dtype):
    return huggingface.of("models.regnet.modeling_regnet.RegNetSELayer")(C, M).to(dtype)


def torch_transformers_regnet(x, w1, w2):
    """It has biases: zeros."""
    weights = {"attention.0.weight": w1[:, :, None, None], "attention.0.bias": x.new_zeros(len(w1)),
               "attention.2.weight": w2[:, :, None, None], "attention.2.bias": x.new_zeros(len(w2))}
    return torch.func.functional_call(regnet(x.shape[1], len(w1), x.dtype), weights, (x,))


def jax_matmul(x, w1, w2):
    s = jax.nn.sigmoid(jax.nn.relu(x.mean((2, 3)) @ w1.T) @ w2.T)
    return x * s[:, :, None, None]


def jax_einsum(x, w1, w2):
    h = jnp.maximum(jnp.einsum("nchw,mc->nm", x, w1) / (x.shape[2] * x.shape[3]), 0)
    return jnp.einsum("nchw,nc->nchw", x, 1 / (1 + jnp.exp(-jnp.einsum("nm,cm->nc", h, w2))))


def numpy_tiles(m, x, w1, w2):
    """Means in tiles of pixels; gradients from the stored output's parts."""
    import numpy as np
    flat = x.reshape(*x.shape[:2], -1)
    n, f = flat.shape[2], m.dtype.type
    z = m.stored(sum(flat[..., js].sum(-1) for js in tiles(n, 3, "descending")) / f(n))
    h = m.stored(np.maximum(m.dot(z, w1.T), 0))
    s = m.stored(f(0.5) * (1 + np.tanh(m.dot(h, w2.T) / 2)))

    def backward(dy):
        d = dy.reshape(flat.shape)
        da = m.stored(sum((d[..., js] * flat[..., js]).sum(-1) for js in tiles(n, 2, "random")) * s * (1 - s))
        dh = m.stored(m.dot(da, w2) * (h > 0))
        dz = m.dot(dh, w1)
        dx = d * s[..., None] + (dz / f(n))[..., None]
        return tuple(map(m.stored, (dx.reshape(x.shape), m.dot(dh.T, z), m.dot(da.T, h))))

    return m.stored(flat * s[..., None]).reshape(x.shape), backward
