"""Layer normalisation: torch's, by hand, and in NumPy with the variance in two passes, by blocks, and by Welford."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import torch

from implementations import tiles


def torch_layer_norm(x, g, b, *, eps=1e-5):
    return torch.nn.functional.layer_norm(x, g.shape, g, b, eps)


def torch_by_hand(x, g, b, *, eps=1e-5):
    mean, var = x.mean(-1, keepdim=True), x.var(-1, unbiased=False, keepdim=True)
    return (x - mean) / torch.sqrt(var + eps) * g + b


def torch_rsqrt(x, g, b, *, eps=1e-5):
    c = x - x.mean(-1, keepdim=True)
    return g * (c * torch.rsqrt(c.pow(2).mean(-1, keepdim=True) + eps)) + b


def torch_scale_first(x, g, b, *, eps=1e-5):
    c = x - x.sum(-1, keepdim=True) / x.shape[-1]
    return c * (g * ((c * c).sum(-1, keepdim=True) / x.shape[-1] + eps) ** -0.5) + b


def torch_in_float32(x, g, b, *, eps=1e-5):
    wide = x.float() if x.dtype.itemsize < 4 else x
    c = wide - wide.mean(-1, keepdim=True)
    n = c / (c.square().mean(-1, keepdim=True) + eps).sqrt()
    return (n * g + b).to(x.dtype)


def jax_by_hand(x, g, b, *, eps=1e-5):
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(var + eps) * g + b


def jax_standardize(x, g, b, *, eps=1e-5):
    c = x - jnp.mean(x, -1, keepdims=True)
    return c / jnp.sqrt(jnp.mean(jnp.square(c), -1, keepdims=True) + eps) * g + b


def welford(x, tile=1, order="ascending"):
    """Mean and variance of the last axis, block by block (Chan, Golub & LeVeque 1979; of blocks of one: Welford)."""
    n, mean, squares = 0, np.zeros_like(x[..., :1]), np.zeros_like(x[..., :1])
    for js in tiles(x.shape[-1], tile, order):
        block = x[..., js]
        middle, more = block.mean(-1, keepdims=True), len(js)
        apart = middle - mean
        mean = mean + apart * x.dtype.type(more / (n + more))
        squares = squares + ((block - middle) ** 2).sum(-1, keepdims=True)
        squares = squares + apart * apart * x.dtype.type(n * more / (n + more))
        n += more
    return mean, squares / x.dtype.type(n)


def norm(m, x, g, b, *, eps=1e-5, statistics=welford, rows=2):
    """Statistics in the accumulator; the sums of dg and db in blocks of rows."""
    f = m.dtype.type
    mean, var = statistics(x)
    rstd = f(1) / np.sqrt(var + f(eps))
    n = (x - mean) * rstd

    def backward(dy):
        flat, d = n.reshape(-1, n.shape[-1]), dy.reshape(-1, n.shape[-1])
        dg, db = np.zeros_like(g), np.zeros_like(b)
        for js in tiles(len(d), rows, "descending"):
            dg, db = dg + (d[js] * flat[js]).sum(0), db + d[js].sum(0)
        dn = dy * g
        dx = rstd * (dn - dn.mean(-1, keepdims=True) - n * (dn * n).mean(-1, keepdims=True))
        return tuple(map(m.stored, (dx, dg, db)))

    return m.stored(n * g + b), backward


def two_passes(x):
    mean = x.mean(-1, keepdims=True)
    return mean, ((x - mean) ** 2).mean(-1, keepdims=True)


numpy_welford = norm
numpy_blocks_of_3 = partial(norm, statistics=partial(welford, tile=3, order="random"), rows=1)
numpy_two_passes = partial(norm, statistics=two_passes, rows=8)
