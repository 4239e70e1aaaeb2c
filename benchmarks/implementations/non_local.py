"""The non-local block."""

import jax
import jax.numpy as jnp
import torch

F = torch.nn.functional


def torch_convolutions(x, w_g, w_z, w_theta=None, w_phi=None, w_f=None, *, form):
    """As the paper writes it: pairs are concatenated."""
    def conv(x, w):
        return F.conv2d(x, w[:, :, None, None]).flatten(2)

    theta, phi = (x.flatten(2), x.flatten(2)) if form == "gaussian" else (conv(x, w_theta), conv(x, w_phi))
    P = theta.shape[2]
    if form == "concatenation":
        pairs = torch.cat([theta[..., :, None].expand(-1, -1, P, P), phi[..., None, :].expand(-1, -1, P, P)], 1)
        p = F.relu(F.conv2d(pairs, w_f[None, :, None, None])[:, 0]) / P
    else:
        a = theta.transpose(1, 2) @ phi
        p = a / P if form == "dot_product" else torch.softmax(a, 2)
    y = (p @ conv(x, w_g).transpose(1, 2)).transpose(1, 2)
    return conv(y.unflatten(2, x.shape[2:]), w_z).unflatten(2, x.shape[2:]) + x


def torch_tokens(x, w_g, w_z, w_theta=None, w_phi=None, w_f=None, *, form):
    """Pixels as tokens; the concatenation as a sum of two products."""
    t = x.flatten(2).transpose(1, 2)
    theta, phi = (t, t) if w_theta is None else (t @ w_theta.T, t @ w_phi.T)
    P = t.shape[1]
    if form == "concatenation":
        left, right = w_f.chunk(2)
        p = ((theta @ left)[:, :, None] + (phi @ right)[:, None, :]).relu() / P
    elif form == "dot_product":
        p = torch.einsum("nic,njc->nij", theta, phi / P)
    else:
        p = torch.einsum("nic,njc->nij", theta, phi)
        p = (p - torch.logsumexp(p, -1, keepdim=True)).exp()
    return (p @ (t @ w_g.T) @ w_z.T + t).transpose(1, 2).reshape(x.shape)


def jax_tokens(x, w_g, w_z, w_theta=None, w_phi=None, w_f=None, *, form):
    t = x.reshape(*x.shape[:2], -1).swapaxes(1, 2)
    theta, phi = (t, t) if w_theta is None else (t @ w_theta.T, t @ w_phi.T)
    P, M = t.shape[1], theta.shape[2]
    if form == "concatenation":
        p = jax.nn.relu((theta @ w_f[:M])[:, :, None] + (phi @ w_f[M:])[:, None, :]) / P
    else:
        p = jnp.einsum("nic,njc->nij", theta, phi)
        p = p / P if form == "dot_product" else jax.nn.softmax(p)
    return (p @ (t @ w_g.T) @ w_z.T + t).swapaxes(1, 2).reshape(x.shape)
