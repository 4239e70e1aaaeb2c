"""A step of a GRU."""

import jax
import jax.numpy as jnp
import torch

F = torch.nn.functional


def torch_gru_cell(x, h, wx, wh, bx, bh):
    return torch.gru_cell(x, h, wx, wh, bx, bh)


def torch_by_hand(x, h, wx, wh, bx, bh):
    a, u = F.linear(x, wx, bx).chunk(3, 1), F.linear(h, wh, bh).chunk(3, 1)
    r, z = torch.sigmoid(a[0] + u[0]), torch.sigmoid(a[1] + u[1])
    return (1 - z) * torch.tanh(a[2] + r * u[2]) + z * h


def torch_gate_by_gate(x, h, wx, wh, bx, bh):
    """Every gate from its own weights; h′ = n + z (h - n)."""
    (wr, wz, wn), (ur, uz, un) = wx.chunk(3), wh.chunk(3)
    (br, bz, bn), (cr, cz, cn) = bx.chunk(3), bh.chunk(3)
    r = torch.sigmoid(x @ wr.T + h @ ur.T + br + cr)
    z = torch.sigmoid(x @ wz.T + h @ uz.T + bz + cz)
    n = torch.tanh(x @ wn.T + bn + r * (h @ un.T + cn))
    return n + z * (h - n)


def jax_by_hand(x, h, wx, wh, bx, bh):
    a, u = jnp.split(x @ wx.T + bx, 3, 1), jnp.split(h @ wh.T + bh, 3, 1)
    r, z = jax.nn.sigmoid(a[0] + u[0]), jax.nn.sigmoid(a[1] + u[1])
    return (1 - z) * jnp.tanh(a[2] + r * u[2]) + z * h
