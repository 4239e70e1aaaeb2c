"""Additive attention."""

import jax.numpy as jnp
import torch

from implementations import attention

F = torch.nn.functional


def torch_all_pairs(q, k, v, wa, ua, va, b=None, *, mask=None):
    h = torch.tanh(F.linear(q, wa, b)[..., :, None, :] + F.linear(k, ua)[..., None, :, :])
    return attention.weights(h @ va, mask, "torch") @ v


def torch_all_pairs_einsum(q, k, v, wa, ua, va, b=None, *, mask=None):
    q, k = torch.einsum("...td,md->...tm", q, wa), torch.einsum("...sc,mc->...sm", k, ua)
    z = q[..., :, None, :] + k[..., None, :, :]
    h = torch.tanh(z if b is None else z + b)
    e = torch.einsum("...m,m->...", h, va)
    return torch.einsum("...ts,...se->...te", attention.weights(e, mask, "hand"), v)


def torch_query_by_query(q, k, v, wa, ua, va, b=None, *, mask=None):
    rows, keys = [], F.linear(k, ua)
    mask = None if mask is None else mask.expand(*q.shape[:-1], k.shape[-2])
    for t in range(q.shape[-2]):
        e = (torch.tanh(F.linear(q[..., t:t + 1, :], wa, b) + keys) * va).sum(-1)
        p = attention.weights(e, None if mask is None else mask[..., t, :], "safe")
        rows.append((p[..., None] * v).sum(-2))
    return torch.stack(rows, -2)


def jax_all_pairs(q, k, v, wa, ua, va, b=None, *, mask=None):
    import jax
    z = (q @ wa.T)[..., :, None, :] + (k @ ua.T)[..., None, :, :]
    e = jnp.tanh(z if b is None else z + b) @ va
    if mask is None:
        return jax.nn.softmax(e) @ v
    mask = jnp.broadcast_to(mask, e.shape)
    some = mask.any(-1, keepdims=True)
    return jnp.where(some, jax.nn.softmax(e, where=mask | ~some), 0) @ v
