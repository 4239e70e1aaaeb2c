"""One look of Show, Attend and Tell."""

import jax
import jax.numpy as jnp
import torch

F = torch.nn.functional


def torch_batched(a, h, wa, wh, v, b, wb, bb):
    e = torch.tanh(F.linear(a, wa) + F.linear(h, wh, b)[:, None]) @ v
    alpha = torch.softmax(e, 1)
    return torch.sigmoid(F.linear(h, wb, bb)) * (alpha[..., None] * a).sum(1)


def torch_image_by_image(a, h, wa, wh, v, b, wb, bb):
    seen = []
    for annotations, state in zip(a, h):
        e = torch.stack([v @ torch.tanh(wa @ place + wh @ state + b) for place in annotations])
        beta = torch.sigmoid(wb @ state + bb)
        seen.append(beta * (torch.softmax(e, 0) @ annotations))
    return torch.stack(seen)


def torch_einsum(a, h, wa, wh, v, b, wb, bb):
    z = torch.einsum("npd,md->npm", a, wa) + torch.einsum("ne,me->nm", h, wh)[:, None] + b
    e = torch.einsum("npm,m->np", torch.tanh(z), v)
    e = torch.exp(e - e.amax(1, keepdim=True))
    seen = torch.einsum("np,npd->nd", e / e.sum(1, keepdim=True), a)
    return torch.sigmoid(h @ wb.T + bb) * seen


def jax_batched(a, h, wa, wh, v, b, wb, bb):
    alpha = jax.nn.softmax(jnp.tanh(a @ wa.T + (h @ wh.T + b)[:, None]) @ v)
    return jax.nn.sigmoid(h @ wb.T + bb) * jnp.einsum("np,npd->nd", alpha, a)
