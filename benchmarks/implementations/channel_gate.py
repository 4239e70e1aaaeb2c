"""CBAM's gate for channels."""

import functools

import jax
import torch

from implementations import NotTaken

F = torch.nn.functional


def torch_linear(x, w1, w2, *, ties="first"):
    largest = F.adaptive_max_pool2d(x, 1).flatten(1) if ties == "first" else x.amax((2, 3))
    a = sum(F.linear(F.relu(F.linear(z, w1)), w2) for z in (x.mean((2, 3)), largest))
    return x * torch.sigmoid(a)[:, :, None, None]


def torch_convolutions(x, w1, w2, *, ties="first"):
    if ties != "first":
        raise NotTaken("ties")
    w1, w2 = w1[:, :, None, None], w2[:, :, None, None]
    mean, largest = F.adaptive_avg_pool2d(x, 1), F.adaptive_max_pool2d(x, 1)
    return torch.sigmoid(F.conv2d(F.relu(F.conv2d(mean, w1)), w2) + F.conv2d(F.relu(F.conv2d(largest, w1)), w2)) * x


def torch_both_at_once(x, w1, w2, *, ties="first"):
    flat = x.flatten(2)
    z = torch.stack([flat.mean(2), flat.max(2).values if ties == "first" else flat.amax(2)])
    return x * torch.sigmoid((torch.relu(z @ w1.T) @ w2.T).sum(0))[..., None, None]


def torch_rows_then_columns(x, w1, w2, *, ties="first"):
    if ties == "first":
        raise NotTaken("ties")
    a = sum(F.linear(F.relu(F.linear(z, w1)), w2) for z in (x.mean(-1).mean(-1), x.amax(-1).amax(-1)))
    return x * torch.sigmoid(a)[:, :, None, None]


@functools.cache
def timm_module(C, M):
    from timm.layers.cbam import ChannelAttn
    return ChannelAttn(C, rd_channels=M)


def torch_timm(x, w1, w2, *, ties="first"):
    if ties == "first":
        raise NotTaken("ties")
    weights = {"fc1.weight": w1[:, :, None, None], "fc2.weight": w2[:, :, None, None]}
    return torch.func.functional_call(timm_module(x.shape[1], len(w1)), weights, (x,))


def jax_matmul(x, w1, w2, *, ties="first"):
    if ties == "first":
        raise NotTaken("ties")
    a = sum(jax.nn.relu(z @ w1.T) @ w2.T for z in (x.mean((2, 3)), x.max((2, 3))))
    return x * jax.nn.sigmoid(a)[:, :, None, None]
