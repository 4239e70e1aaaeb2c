"""Batch normalisation."""

import jax
import numpy as np
import torch

from implementations import NotTaken, huggingface
from implementations.layernorm import two_passes, welford


def torch_batch_norm(x, g, b, *, mean=None, var=None, eps=1e-5):
    return torch.nn.functional.batch_norm(x, mean, var, g, b, mean is None, 0.1, eps)


def torch_by_hand(x, g, b, *, mean=None, var=None, eps=1e-5):
    if mean is None:
        mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
    n = (x - mean[:, None, None]) / torch.sqrt(var + eps)[:, None, None]
    return g[:, None, None] * n + b[:, None, None]


def torch_flat(x, g, b, *, mean=None, var=None, eps=1e-5):
    """On a matrix with a row for each channel, scale and rsqrt in one factor."""
    flat = x.transpose(0, 1).flatten(1)
    if mean is None:
        mean = flat.mean(1)
        var = ((flat - mean[:, None]) ** 2).mean(1)
    y = (flat - mean[:, None]) * (g * torch.rsqrt(var + eps))[:, None] + b[:, None]
    return y.reshape(x.transpose(0, 1).shape).transpose(0, 1)


def torch_transformers_frozen(x, g, b, *, mean=None, var=None, eps=1e-5):
    """DETR's, of given statistics: one factor and one term for each channel."""
    if mean is None or eps != 1e-5:
        raise NotTaken("statistics of the batch, another epsilon")
    frozen = huggingface.of("models.detr.modeling_detr.DetrFrozenBatchNorm2d")(len(g))
    return torch.func.functional_call(frozen, {"weight": g, "bias": b, "running_mean": mean, "running_var": var}, (x,))


def jax_by_hand(x, g, b, *, mean=None, var=None, eps=1e-5):
    if mean is None:
        mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3))
    n = (x - mean[:, None, None]) * jax.lax.rsqrt(var + eps)[:, None, None]
    return g[:, None, None] * n + b[:, None, None]


def norm(m, x, g, b, statistics, mean=None, var=None, eps=1e-5):
    f, given = m.dtype.type, mean is not None
    flat = x.swapaxes(0, 1).reshape(len(g), -1)
    mean, var = (mean[:, None], var[:, None]) if given else statistics(flat)
    rstd = f(1) / np.sqrt(var + f(eps))
    n = (flat - mean) * rstd

    def turned(a):
        return a.reshape(x.swapaxes(0, 1).shape).swapaxes(0, 1)

    def backward(dy):
        d = dy.swapaxes(0, 1).reshape(n.shape)
        dn = d * g[:, None]
        dx = rstd * dn if given else rstd * (dn - dn.mean(1, keepdims=True) - n * (dn * n).mean(1, keepdims=True))
        return tuple(map(m.stored, (turned(dx), (d * n).sum(1), d.sum(1))))

    return m.stored(turned(n * g[:, None] + b[:, None])), backward


def numpy_welford(m, x, g, b, **options):
    return norm(m, x, g, b, welford, **options)


def numpy_two_passes(m, x, g, b, **options):
    return norm(m, x, g, b, two_passes, **options)
