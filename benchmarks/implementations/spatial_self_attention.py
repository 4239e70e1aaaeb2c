"""Self-attention among the pixels of an image."""

import jax
import jax.numpy as jnp
import torch

F = torch.nn.functional


def torch_sdpa(x, w_k, w_q, w_o):
    k, q = (F.conv2d(x, w[:, :, None, None]).flatten(2).transpose(1, 2) for w in (w_k, w_q))
    mean = F.scaled_dot_product_attention(q, k, x.flatten(2).transpose(1, 2), scale=1.0)
    return F.conv2d(mean.transpose(1, 2).unflatten(2, x.shape[2:]), w_o[:, :, None, None])


def torch_bmm(x, w_k, w_q, w_o):
    """Channels before pixels, as in SAGAN."""
    flat = x.flatten(2)
    k, q = (torch.einsum("dc,ncp->ndp", w, flat) for w in (w_k, w_q))
    p = torch.softmax(torch.bmm(q.transpose(1, 2), k), -1)
    mean = torch.bmm(flat, p.transpose(1, 2))
    return torch.einsum("oc,ncp->nop", w_o, mean).unflatten(2, x.shape[2:])


def torch_tokens(x, w_k, w_q, w_o):
    t = x.flatten(2).transpose(1, 2)
    a = F.linear(t, w_q) @ F.linear(t, w_k).transpose(1, 2)
    e = torch.exp(a - a.amax(-1, keepdim=True))
    mean = (e / e.sum(-1, keepdim=True)) @ t
    return F.linear(mean, w_o).transpose(1, 2).unflatten(2, x.shape[2:])


def jax_tokens(x, w_k, w_q, w_o):
    t = x.reshape(*x.shape[:2], -1).swapaxes(1, 2)
    p = jax.nn.softmax(jnp.einsum("npd,nsd->nps", t @ w_q.T, t @ w_k.T))
    return (p @ t @ w_o.T).swapaxes(1, 2).reshape(len(x), -1, *x.shape[2:])
