"""The maximum of every channel."""

import torch

from implementations import NotTaken

F = torch.nn.functional


def first(ties):
    if ties != "first":
        raise NotTaken("ties")


def torch_adaptive(x, *, ties="first"):
    first(ties)
    return F.adaptive_max_pool2d(x, 1).flatten(1)


def torch_pooled(x, *, ties="first"):
    first(ties)
    return F.max_pool2d(x, x.shape[2:])[..., 0, 0]


def torch_max(x, *, ties="first"):
    return x.flatten(2).max(2).values if ties == "first" else x.amax((2, 3))


def jax_max(x, *, ties="first"):
    if ties == "first":
        raise NotTaken("ties")
    return x.max((2, 3))
