"""Attention with its log-sum-exp: composed in torch, torch's kernels, jax, and tiles of every order."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import torch

from implementations import NotTaken, attention, opened, summed, tiles

F = torch.nn.functional
aten = torch.ops.aten


# torch

def scored(q, k, v, bias, mask, causal, scale):
    """Scores of every query head, -∞ where it may not look, and the values that it reads."""
    R = q.shape[-3] // k.shape[-3]
    k, v = (x.repeat_interleave(R, -3) for x in (k, v))
    a = attention.scores(q, k, bias, scale, None)
    mask = opened(q, k, mask, causal)
    return (a if mask is None else a.masked_fill(~mask, -torch.inf)), v


def or_zero(x):
    return x.masked_fill(x == -torch.inf, 0)


def torch_logsumexp(q, k, v, bias=None, *, mask=None, causal=None, scale=None, tile=None):
    a, v = scored(q, k, v, bias, mask, causal, scale)
    lse = torch.logsumexp(a, -1)
    return torch.exp(a - or_zero(lse)[..., None]) @ v, lse


def torch_softmax(q, k, v, bias=None, *, mask=None, causal=None, scale=None, tile=None):
    """The map by softmax, its logarithm of the sum by another call."""
    a, v = scored(q, k, v, bias, mask, causal, scale)
    return torch._safe_softmax(a, -1) @ v, a.logsumexp(-1)


def torch_by_hand(q, k, v, bias=None, *, mask=None, causal=None, scale=None, tile=None):
    """The sum divides the mean, as in the kernels, but all keys at once."""
    a, v = scored(q, k, v, bias, mask, causal, scale)
    top = or_zero(a.amax(-1, keepdim=True).detach())
    e = torch.exp(a - top)
    total = e.sum(-1, keepdim=True)
    none = total == 0
    lse = torch.where(none, -torch.inf, top + torch.log(torch.where(none, 1, total)))
    return (e @ v) / torch.where(none, 1, total), lse[..., 0]


def torch_in_float32(q, k, v, bias=None, *, mask=None, causal=None, scale=None, tile=None):
    """Whatever comes in half precision is computed in float32, and rounded at the end."""
    wide = [x if x is None or x.dtype.itemsize >= 4 else x.float() for x in (q, k, v, bias)]
    o, lse = torch_by_hand(*wide, mask=mask, causal=causal, scale=scale)
    return o.to(q.dtype), lse.to(q.dtype)


def torch_tiles(q, k, v, bias=None, *, mask=None, causal=None, scale=None, tile=None):
    """The running maximum, sum and mean, tile after tile; gradients by autograd through all of them."""
    a, v = scored(q, k, v, bias, mask, causal, scale)
    width = tile[1] if tile else 4
    top = torch.full((*a.shape[:-1], 1), -torch.inf, dtype=a.dtype)
    total, u = torch.zeros_like(top), 0
    for s, values in zip(a.split(width, -1), v.split(width, -2)):
        higher = torch.maximum(top, s.detach().amax(-1, keepdim=True))
        p, shrink = torch.exp(s - or_zero(higher)), torch.exp(top - or_zero(higher))
        total, u, top = total * shrink + p.sum(-1, keepdim=True), u * shrink + p @ values, higher
    none = total == 0
    safe = torch.where(none, 1, total)
    return u / safe, torch.where(none, -torch.inf, or_zero(top) + safe.log())[..., 0]


def torch_ring(q, k, v, bias=None, *, mask=None, causal=None, scale=None, tile=None):
    """Two halves of the keys, joined by the sigmoid of the difference of their lse."""
    a, v = scored(q, k, v, bias, mask, causal, scale)
    found = None
    half = max(a.shape[-1] // 2, 1)
    for s, values in zip(a.split(half, -1), v.split(half, -2)):
        lse = s.logsumexp(-1, keepdim=True)
        o = torch.exp(s - or_zero(lse)) @ values
        if found is None:
            found = o, lse
            continue
        if not bool((torch.isfinite(lse) & torch.isfinite(found[1])).all()):
            raise NotTaken("a part without keys")
        o = found[0] - torch.sigmoid(lse - found[1]) * (found[0] - o)
        found = o, found[1] - F.logsigmoid(found[1] - lse)
    return found[0], found[1][..., 0]


class Kernel(torch.autograd.Function):
    """torch's kernel for CPUs, and its gradient, which has no place for one of lse: it comes as that of a feature of v
    that is zero and of o that is one, since the kernel takes Σ do ⊙ o from dp."""

    @staticmethod
    def forward(ctx, q, k, v, mask, scale, corner):
        o, lse = aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, corner, attn_mask=mask, scale=scale)
        ctx.save_for_backward(q, k, v, o, lse)
        ctx.options = mask, scale, corner
        return o, lse.to(q.dtype)

    @staticmethod
    def backward(ctx, do, dlse):
        q, k, v, o, lse = ctx.saved_tensors
        mask, scale, corner = ctx.options
        o = torch.cat([o[..., :-1], torch.ones_like(dlse)[..., None]], -1)
        do = torch.cat([do[..., :-1], -dlse[..., None]], -1)
        back = aten._scaled_dot_product_flash_attention_for_cpu_backward
        return (*back(do, q, k, v, o, lse, 0.0, corner, attn_mask=mask, scale=scale), None, None, None)


def torch_kernel(q, k, v, bias=None, *, mask=None, causal=None, scale=None, tile=None):
    """Heads repeated, and features of zeros added: one of them is left for lse."""
    if bias is not None:
        raise NotTaken("bias")
    R, E, lead = q.shape[-3] // k.shape[-3], v.shape[-1], q.shape[:-3]
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    k, v = (x.repeat_interleave(R, -3) for x in (k, v))
    only = causal == "top_left" and mask is None
    mask = None if only else opened(q, k, mask, causal)
    if mask is not None:
        mask = mask.expand(*q.shape[:-1], k.shape[-2])
        if not bool(mask.any(-1).all()):
            raise NotTaken("queries without a key")
        mask = torch.zeros(mask.shape, dtype=q.dtype).masked_fill(~mask, -torch.inf)
        mask = mask if lead else mask[None]
    n = max(q.shape[-1], E + 1)
    q, k, v = (F.pad(x, (0, n - x.shape[-1])) for x in (q, k, v))
    o, lse = Kernel.apply(*(x if lead else x[None] for x in (q, k, v)), mask, scale, only)
    return (o if lead else o[0])[..., :E], lse if lead else lse[0]


# jax

def jax_scored(q, k, v, bias, mask, causal, scale):
    R = q.shape[-3] // k.shape[-3]
    k, v = (jnp.repeat(x, R, -3) for x in (k, v))
    a, mask = attention.jax_scores(q, k, bias, scale, None), attention.jax_open(q, k, mask, causal)
    return (a if mask is None else jnp.where(mask, a, -jnp.inf)), v


def jax_logsumexp(q, k, v, bias=None, *, mask=None, causal=None, scale=None, tile=None):
    a, v = jax_scored(q, k, v, bias, mask, causal, scale)
    some = jnp.isfinite(a).any(-1)
    lse = jax.nn.logsumexp(jnp.where(some[..., None], a, 0), -1)
    p = jnp.where(some[..., None], jnp.exp(a - lse[..., None]), 0)
    return p @ v, jnp.where(some, lse, -jnp.inf)


def jax_scan(q, k, v, bias=None, *, mask=None, causal=None, scale=None, tile=None):
    """One key after another."""
    a, v = jax_scored(q, k, v, bias, mask, causal, scale)
    wide = a.dtype if a.dtype.itemsize >= 4 else jnp.float32

    def step(state, key):
        top, total, u = state
        s, value = key
        higher = jnp.maximum(top, jax.lax.stop_gradient(s))
        safe = jnp.where(higher == -jnp.inf, 0, higher)
        shrink, p = jnp.exp(top - safe), jnp.exp(s - safe)
        return (higher, total * shrink + p, u * shrink[..., None] + p[..., None] * value[..., None, :]), None

    start = jnp.full(a.shape[:-1], -jnp.inf, wide), jnp.zeros(a.shape[:-1], wide), jnp.zeros(
        (*a.shape[:-1], v.shape[-1]), wide)
    keys = jnp.moveaxis(a, -1, 0).astype(wide), jnp.moveaxis(v, -2, 0).astype(wide)
    (top, total, u), _ = jax.lax.scan(step, start, keys)
    none = total == 0
    safe = jnp.where(none, 1, total)
    lse = jnp.where(none, -jnp.inf, jnp.where(none, 0, top) + jnp.log(safe))
    return (u / safe[..., None]).astype(a.dtype), lse.astype(a.dtype)


# NumPy, tile by tile

def tiled(m, q, k, v, bias=None, *, mask=None, causal=None, scale=None, tile=None, width=2, order="ascending",
          base_two=False, kept=True):
    """A running maximum, sum and mean; backward from lse, which a kernel keeps (`kept`) or has rounded in memory."""
    f, (Gq, T, D), S = m.dtype.type, q.shape[-3:], k.shape[-2]
    R, scale = Gq // k.shape[-3], f(D ** -0.5 if scale is None else scale)
    k, v = (np.repeat(x, R, -3) for x in (k, v))
    mask, full = attention.numpy_open(T, S, mask, causal), (*q.shape[:-1], S)
    mask = None if mask is None else np.broadcast_to(mask, full)
    wide = None if bias is None else np.broadcast_to(bias, full)
    fold = f(np.log2(np.e)) if base_two else f(1)
    exp, log = (np.exp2, np.log2) if base_two else (np.exp, np.log)
    blocks = tiles(S, width, order)

    def scores(js):
        s = m.dot(q, k[..., js, :].swapaxes(-1, -2)) * scale
        s = s if wide is None else s + wide[..., js]
        return (s if mask is None else np.where(mask[..., js], s, f(-np.inf))) * fold

    top, total = np.full((*q.shape[:-1], 1), -np.inf, f), np.zeros((*q.shape[:-1], 1), f)
    u = np.zeros((*q.shape[:-1], v.shape[-1]), f)
    for js in blocks:
        s = scores(js)
        higher = np.maximum(top, s.max(-1, keepdims=True))
        safe = np.where(np.isfinite(higher), higher, f(0))
        shrink, e = exp(top - safe), exp(s - safe)
        total, u, top = total * shrink + e.sum(-1, keepdims=True), u * shrink + m.dot(e, v[..., js, :]), higher
    some = total > 0
    o = m.stored(u / np.where(some, total, f(1)))
    lse = np.where(some, np.where(some, top, f(0)) + log(np.where(some, total, f(1))), f(0)) / fold
    given = m.stored(np.where(some, lse, f(-np.inf)))[..., 0]
    lse = (lse if kept else m.stored(lse)) * fold

    def backward(dy):
        do, dlse = dy
        delta = (do * o).sum(-1, keepdims=True) - dlse[..., None]
        dq, dk, dv, da = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v), np.zeros(full, f)
        for js in blocks:
            p = exp(scores(js) - lse)
            dv[..., js, :] = m.dot(p.swapaxes(-1, -2), do)
            ds = p * (m.dot(do, v[..., js, :].swapaxes(-1, -2)) - delta)
            da[..., js] = ds
            dq += scale * m.dot(ds, k[..., js, :])
            dk[..., js, :] = scale * m.dot(ds.swapaxes(-1, -2), q)
        dk, dv = (d.reshape(*d.shape[:-3], -1, R, *d.shape[-2:]).sum(-3) for d in (dk, dv))
        grads = (dq, dk, dv) if bias is None else (dq, dk, dv, summed(da, bias.shape))
        return tuple(map(m.stored, grads))

    return (o, given), backward


numpy_tiles_of_1 = partial(tiled, width=1)
numpy_tiles_of_2_descending = partial(tiled, width=2, order="descending")
numpy_tiles_of_3_random = partial(tiled, width=3, order="random")
numpy_tiles_of_8_base_two = partial(tiled, width=8, base_two=True)
numpy_tiles_of_16 = partial(tiled, width=16)
