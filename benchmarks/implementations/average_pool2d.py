"""Means of windows."""

import jax
import jax.numpy as jnp
import torch

from implementations import NotTaken, pair

F = torch.nn.functional


def torch_avg_pool2d(x, *, kernel, stride=None, padding=0, count_include_pad=True):
    return F.avg_pool2d(x, kernel, stride, padding, count_include_pad=count_include_pad)


def steps(kernel, stride):
    return pair(kernel if stride is None else stride)


def torch_unfold(x, *, kernel, stride=None, padding=0, count_include_pad=True):
    (kh, kw), (sh, sw), (ph, pw) = pair(kernel), steps(kernel, stride), pair(padding)

    def total(a):
        return F.pad(a, (pw, pw, ph, ph)).unfold(2, kh, sh).unfold(3, kw, sw).sum((-2, -1))

    return total(x) / (kh * kw) if count_include_pad else total(x) / total(torch.ones_like(x))


def torch_convolution(x, *, kernel, stride=None, padding=0, count_include_pad=True):
    """With kernels of 1 / (Kh Kw)."""
    if not count_include_pad:
        raise NotTaken("count_include_pad")
    kh, kw = pair(kernel)
    w = torch.full((x.shape[1], 1, kh, kw), 1 / (kh * kw), dtype=x.dtype)
    return F.conv2d(x, w, stride=steps(kernel, stride), padding=padding, groups=x.shape[1])


def torch_rows_then_columns(x, *, kernel, stride=None, padding=0, count_include_pad=True):
    if not count_include_pad:
        raise NotTaken("count_include_pad")
    (kh, kw), (sh, sw), (ph, pw) = pair(kernel), steps(kernel, stride), pair(padding)
    return F.pad(x, (pw, pw, ph, ph)).unfold(2, kh, sh).mean(-1).unfold(3, kw, sw).mean(-1)


def jax_reduce_window(x, *, kernel, stride=None, padding=0, count_include_pad=True):
    def total(a):
        return jax.lax.reduce_window(a, 0.0, jax.lax.add, (1, 1, *pair(kernel)), (1, 1, *steps(kernel, stride)),
                                     ((0, 0), (0, 0), *((p, p) for p in pair(padding))))

    kh, kw = pair(kernel)
    return total(x) / (kh * kw if count_include_pad else total(jnp.ones_like(x)))
