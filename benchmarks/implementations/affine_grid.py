"""Grids of points from affine maps."""

import jax.numpy as jnp
import torch


def torch_affine_grid(theta, *, size, align_corners):
    return torch.nn.functional.affine_grid(theta, (len(theta), 1, *size), align_corners)


def centres(n, align_corners, dtype):
    if align_corners:
        return torch.linspace(-1, 1, n, dtype=dtype) if n > 1 else torch.zeros(1, dtype=dtype)
    return (2 * torch.arange(n, dtype=dtype) + 1) / n - 1


def torch_homogeneous(theta, *, size, align_corners):
    y, x = (centres(n, align_corners, theta.dtype) for n in size)
    y, x = torch.meshgrid(y, x, indexing="ij")
    target = torch.stack([x, y, torch.ones_like(x)]).flatten(1)                 # (3, Ho Wo)
    return (theta @ target).transpose(1, 2).reshape(len(theta), *size, 2)


def torch_sums(theta, *, size, align_corners):
    y, x = (centres(n, align_corners, theta.dtype) for n in size)
    t = theta[:, :, :, None, None]
    return torch.stack([t[:, i, 0] * x + t[:, i, 1] * y[:, None] + t[:, i, 2] for i in (0, 1)], -1)


def jax_einsum(theta, *, size, align_corners):
    y, x = ((jnp.linspace(-1, 1, n) if n > 1 else jnp.zeros(1)) if align_corners else (2 * jnp.arange(n) + 1) / n - 1
            for n in size)
    y, x = jnp.meshgrid(y.astype(theta.dtype), x.astype(theta.dtype), indexing="ij")
    return jnp.einsum("nij,hwj->nhwi", theta, jnp.stack([x, y, jnp.ones_like(x)], -1))
