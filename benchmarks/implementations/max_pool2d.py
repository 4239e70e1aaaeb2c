"""Maxima of windows: torch's pooling takes the first of equals, amax shares among them."""

import jax
import jax.numpy as jnp
import torch

from implementations import NotTaken, pair

F = torch.nn.functional


def first(ties):
    if ties != "first":
        raise NotTaken("ties")


def torch_max_pool2d(x, *, kernel, stride=None, padding=0, ties="first"):
    first(ties)
    return F.max_pool2d(x, kernel, stride, padding)


def torch_with_indices(x, *, kernel, stride=None, padding=0, ties="first"):
    first(ties)
    _, at = F.max_pool2d(x, kernel, stride, padding, return_indices=True)
    return x.flatten(2).gather(2, at.flatten(2)).unflatten(2, at.shape[2:])


def windows(x, kernel, stride, padding):
    (kh, kw), (ph, pw) = pair(kernel), pair(padding)
    sh, sw = pair(kernel if stride is None else stride)
    return F.pad(x, (pw, pw, ph, ph), value=-torch.inf).unfold(2, kh, sh).unfold(3, kw, sw).flatten(4)


def torch_unfold(x, *, kernel, stride=None, padding=0, ties="first"):
    u = windows(x, kernel, stride, padding)
    return u.max(-1).values if ties == "first" else u.amax(-1)


def torch_unfold_where(x, *, kernel, stride=None, padding=0, ties="first"):
    """Whatever is largest, gathered."""
    first(ties)
    u = windows(x, kernel, stride, padding)
    return u.gather(-1, u.argmax(-1, keepdim=True))[..., 0]


def jax_reduce_window(x, *, kernel, stride=None, padding=0, ties="first"):
    first(ties)
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 1, *pair(kernel)),
                                 (1, 1, *pair(kernel if stride is None else stride)),
                                 ((0, 0), (0, 0), *((p, p) for p in pair(padding))))


def keras_max_pool(x, *, kernel, stride=None, padding=0, ties="first"):
    import keras
    first(ties)
    if padding:
        raise NotTaken("padding")
    return keras.ops.max_pool(x, pair(kernel), pair(kernel if stride is None else stride), "valid", "channels_first")
