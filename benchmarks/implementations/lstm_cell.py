"""A step of an LSTM."""

import jax
import jax.numpy as jnp
import torch

F = torch.nn.functional


def torch_lstm_cell(x, h, c, wx, wh, bx, bh):
    return torch.lstm_cell(x, (h, c), wx, wh, bx, bh)


def torch_by_hand(x, h, c, wx, wh, bx, bh):
    i, f, g, o = (F.linear(x, wx, bx) + F.linear(h, wh, bh)).chunk(4, 1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def torch_one_product(x, h, c, wx, wh, bx, bh):
    """[x; h] with both weights side by side, and the sum of the biases."""
    z = torch.cat([x, h], 1) @ torch.cat([wx, wh], 1).T + (bx + bh)
    n = h.shape[1]
    i, f, g, o = z[:, :n].sigmoid(), z[:, n:2 * n].sigmoid(), z[:, 2 * n:3 * n].tanh(), z[:, 3 * n:].sigmoid()
    c = f * c + i * g
    return o * c.tanh(), c


def jax_by_hand(x, h, c, wx, wh, bx, bh):
    i, f, g, o = jnp.split(x @ wx.T + bx + h @ wh.T + bh, 4, 1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c
