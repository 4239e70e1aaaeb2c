"""Attention: nine ways to write it in torch, torch's kernels, jax, keras, and tiles as FlashAttention has them."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from implementations import NotTaken, huggingface, opened, summed, tiles

F = torch.nn.functional
# Where a mask leaves nothing, and where a bias of -∞ does: a fill comes after the bias, and stops the gradient.
NAN, EVERYWHERE, MEANS = "empty_rows_are_nan", "empty_rows_are_nan_everywhere", "masked_row_uniform"
CONVENTIONS = {
    "torch_nan_rows": (NAN, EVERYWHERE), "torch_added_infinity": (EVERYWHERE,),
    "torch_lowest_number": (MEANS, EVERYWHERE), "jax_written": (NAN, EVERYWHERE), "jax_softmax_where": (EVERYWHERE,),
    "jax_lowest_number": (MEANS, EVERYWHERE), "jax_dot_product_attention": (MEANS, EVERYWHERE),
} | dict.fromkeys(("torch_transformers_vit", "torch_transformers_gpt2", "torch_transformers_gemma2"), huggingface.MEANS)


# torch

def scores(q, k, bias, scale, softcap, how="q", einsum=False):
    """Scaled, capped, biased."""
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    if how == "q":
        q = q * scale
    elif how == "k":
        k = k * scale
    elif how == "split":
        q, k = q * abs(scale) ** 0.5, k * abs(scale) ** 0.5
    a = torch.einsum("...td,...sd->...ts", q, k) if einsum else q @ k.transpose(-2, -1)
    if how == "scores":
        a = a * scale
    elif how == "divided":
        a = a / (1 / scale)
    elif how == "split" and scale < 0:
        a = -a
    if softcap is not None:
        a = softcap * torch.tanh(a / softcap)
    return a if bias is None else a + bias


def weights(a, mask, how):
    """Softmax over the last axis; rows without a key give zeros."""
    a = a if mask is None else a.masked_fill(~mask, -torch.inf)
    some = torch.isfinite(a).any(-1, keepdim=True)
    a = a if how == "safe" else a.masked_fill(~some, 0)
    if how == "torch":
        p = torch.softmax(a, -1)
    elif how == "safe":
        return torch._safe_softmax(a, -1)
    elif how == "float32":
        p = torch.softmax(a.float() if a.dtype.itemsize < 4 else a, -1).to(a.dtype)
    elif how == "log":
        p = torch.log_softmax(a, -1).exp()
    else:
        top = a.max(-1, keepdim=True).values
        if how == "lse":
            p = torch.exp(a - torch.logsumexp(a, -1, keepdim=True))
        else:
            e = torch.exp(a - (top.detach() if how == "detached" else top))
            p = e / e.sum(-1, keepdim=True)
    return torch.where(some, p, 0)


def written(q, k, v, bias=None, *, mask=None, causal=None, scale=None, softcap=None, on="q", by="torch", einsum=False):
    p = weights(scores(q, k, bias, scale, softcap, on, einsum), opened(q, k, mask, causal), by)
    return torch.einsum("...ts,...se->...te", p, v) if einsum else p @ v


torch_scale_on_q = written
torch_scale_on_k = partial(written, on="k", by="safe")
torch_scale_on_scores = partial(written, on="scores", by="hand")
torch_scale_split = partial(written, on="split", by="detached")
torch_divided_by_root = partial(written, on="divided", by="float32")
torch_einsum = partial(written, on="scores", by="torch", einsum=True)
torch_einsum_by_hand = partial(written, on="q", by="hand", einsum=True)
torch_log_softmax = partial(written, on="scores", by="log")
torch_logsumexp = partial(written, on="q", by="lse")


def torch_divided_late(q, k, v, bias=None, *, mask=None, causal=None, scale=None, softcap=None):
    """The sum of exponentials divides the mean, not the map."""
    a, mask = scores(q, k, bias, scale, softcap, "scores"), opened(q, k, mask, causal)
    a = a if mask is None else torch.where(mask, a, -torch.inf)
    top = a.amax(-1, keepdim=True).detach()
    e = torch.exp(a - torch.where(torch.isfinite(top), top, 0))
    total = e.sum(-1, keepdim=True)
    return (e @ v) / torch.where(total > 0, total, torch.ones_like(total))


def torch_multiplied_by_mask(q, k, v, bias=None, *, mask=None, causal=None, scale=None, softcap=None):
    """The maximum over all keys, then exponentials times the mask."""
    if mask is not None or causal is not None or bias is not None:
        raise NotTaken("mask")
    return written(q, k, v, scale=scale, softcap=softcap, by="hand")


def torch_nan_rows(q, k, v, bias=None, *, mask=None, causal=None, scale=None, softcap=None):
    a, mask = scores(q, k, bias, scale, softcap, "scores"), opened(q, k, mask, causal)
    return torch.softmax(a if mask is None else a.masked_fill(~mask, -torch.inf), -1) @ v


def torch_added_infinity(q, k, v, bias=None, *, mask=None, causal=None, scale=None, softcap=None):
    """As many add a mask: zeros and -∞."""
    a, mask = scores(q, k, bias, scale, softcap, "scores"), opened(q, k, mask, causal)
    if mask is not None:
        a = a + torch.zeros(mask.shape, dtype=a.dtype).masked_fill(~mask, -torch.inf)
    return torch.softmax(a, -1) @ v


def torch_lowest_number(q, k, v, bias=None, *, mask=None, causal=None, scale=None, softcap=None):
    """Filled with the lowest finite number."""
    a, mask = scores(q, k, bias, scale, softcap, "scores"), opened(q, k, mask, causal)
    return torch.softmax(a if mask is None else a.masked_fill(~mask, torch.finfo(a.dtype).min), -1) @ v


def torch_one_query_at_a_time(q, k, v, bias=None, *, mask=None, causal=None, scale=None, softcap=None):
    a, mask = scores(q, k, bias, scale, softcap, "q"), opened(q, k, mask, causal)
    mask = None if mask is None else mask.expand(a.shape)
    return torch.stack([
        (weights(a[..., t, :], None if mask is None else mask[..., t, :], "torch")[..., None] * v).sum(-2)
        for t in range(a.shape[-2])], -2)


def fused(backend, q, k, v, bias=None, *, mask=None, causal=None, scale=None, softcap=None):
    """F.scaled_dot_product_attention with one of its kernels."""
    if softcap is not None:
        raise NotTaken("softcap")
    if bias is not None and (mask is not None or causal is not None):
        raise NotTaken("bias and mask")
    only = causal == "top_left" and mask is None
    mask = None if only else opened(q, k, mask, causal)
    if backend is SDPBackend.FLASH_ATTENTION and (q.ndim != 4 or q.shape[-1] != v.shape[-1]):
        raise NotTaken("other than four axes, or D not E")
    if backend is SDPBackend.FLASH_ATTENTION and bias is not None and bias.requires_grad:
        raise NotTaken("a bias with a gradient")
    with sdpa_kernel([backend]):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask if bias is None else bias, is_causal=only,
                                              scale=scale)


torch_sdpa_math = partial(fused, SDPBackend.MATH)
torch_sdpa_flash = partial(fused, SDPBackend.FLASH_ATTENTION)


def torch_flash_padded(q, k, v, bias=None, **options):
    """The flash kernel also where E is not D: features of zeros are added, and cut off again."""
    scale = options.pop("scale", None)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    n = max(q.shape[-1], v.shape[-1])
    E, lead = v.shape[-1], q.shape[:-2]
    if bias is not None:
        raise NotTaken("bias")
    if q.ndim > 4:
        raise NotTaken("more than four axes")
    q, k, v = (F.pad(x, (0, n - x.shape[-1]))[(None,) * (4 - x.ndim)] for x in (q, k, v))
    o = fused(SDPBackend.FLASH_ATTENTION, q, k, v, scale=scale, **options)
    return o[..., :E].reshape(*lead, -1, E)


torch_transformers_vit = huggingface.eager("vit")
torch_transformers_gpt2 = huggingface.eager("gpt2")
torch_transformers_gemma2 = huggingface.eager("gemma2")
torch_transformers_sdpa = huggingface.sdpa


# jax

def jax_open(q, k, mask, causal):
    T, S = q.shape[-2], k.shape[-2]
    if causal is not None:
        corner = jnp.tril(jnp.ones((T, S), bool), 0 if causal == "top_left" else S - T)
        mask = corner if mask is None else mask & corner
    return mask


def jax_scores(q, k, bias, scale, softcap):
    a = jnp.einsum("...td,...sd->...ts", q, k) * (q.shape[-1] ** -0.5 if scale is None else scale)
    a = a if softcap is None else softcap * jnp.tanh(a / softcap)
    return a if bias is None else a + bias


def jax_written(q, k, v, bias=None, *, mask=None, causal=None, scale=None, softcap=None):
    a, mask = jax_scores(q, k, bias, scale, softcap), jax_open(q, k, mask, causal)
    return jax.nn.softmax(a if mask is None else jnp.where(mask, a, -jnp.inf), -1) @ v


def jax_lowest_number(q, k, v, bias=None, *, mask=None, causal=None, scale=None, softcap=None):
    a, mask = jax_scores(q, k, bias, scale, softcap), jax_open(q, k, mask, causal)
    a = a if mask is None else jnp.where(mask, a, jnp.finfo(a.dtype).min)
    e = jnp.exp(a - a.max(-1, keepdims=True))
    return (e / e.sum(-1, keepdims=True)) @ v


def jax_softmax_where(q, k, v, bias=None, *, mask=None, causal=None, scale=None, softcap=None):
    a, mask = jax_scores(q, k, bias, scale, softcap), jax_open(q, k, mask, causal)
    if mask is None:
        return jax.nn.softmax(a, -1) @ v
    mask = jnp.broadcast_to(mask, a.shape)
    some = mask.any(-1, keepdims=True)
    p = jax.nn.softmax(a, -1, where=mask | ~some)
    return jnp.where(some, p, 0) @ v


def jax_dot_product_attention(q, k, v, bias=None, *, mask=None, causal=None, scale=None, softcap=None):
    """Tokens before heads; bias and mask with all four axes."""
    if softcap is not None:
        raise NotTaken("softcap")
    if q.shape[-1] != v.shape[-1]:
        raise NotTaken("D not E")
    if q.ndim != 4:
        raise NotTaken("other than four axes")
    only = causal == "top_left" and mask is None
    mask = None if only else jax_open(q, k, mask, causal)
    N, G, T, S = *q.shape[:2], q.shape[2], k.shape[2]
    bias, mask = (None if a is None else jnp.broadcast_to(a, (N, G, T, S)) for a in (bias, mask))
    q, k, v = (x.swapaxes(1, 2) for x in (q, k, v))
    return jax.nn.dot_product_attention(q, k, v, bias, mask, scale=scale, is_causal=only).swapaxes(1, 2)


# NumPy, tile by tile

def numpy_open(T, S, mask, causal):
    if causal is not None:
        corner = np.tri(T, S, 0 if causal == "top_left" else S - T, dtype=bool)
        mask = corner if mask is None else mask & corner
    return mask


def flash(m, q, k, v, bias=None, *, mask=None, causal=None, scale=None, softcap=None, tile=2, order="ascending",
          base_two=False):
    """A running maximum, a running sum and a running mean; backward computes the map anew from the logarithm of the
    sum, and D from the rounded output."""
    f, (T, D), S = m.dtype.type, q.shape[-2:], k.shape[-2]
    scale = f(D ** -0.5 if scale is None else scale)
    mask = numpy_open(T, S, mask, causal)
    full = (*q.shape[:-1], S)
    mask = None if mask is None else np.broadcast_to(mask, full)
    wide = None if bias is None else np.broadcast_to(bias, full)
    fold = f(np.log2(np.e)) if base_two else f(1)
    exp = np.exp2 if base_two else np.exp
    blocks = tiles(S, tile, order)

    def tile_of_scores(js):
        s, u = m.dot(q, k[..., js, :].swapaxes(-1, -2)) * scale, None
        if softcap is not None:
            u = np.tanh(s / f(softcap))
            s = f(softcap) * u
        s = s if wide is None else s + wide[..., js]
        return (s if mask is None else np.where(mask[..., js], s, f(-np.inf))) * fold, u

    top, total = np.full((*q.shape[:-1], 1), -np.inf, f), np.zeros((*q.shape[:-1], 1), f)
    o = np.zeros((*q.shape[:-1], v.shape[-1]), f)
    for js in blocks:
        s, _ = tile_of_scores(js)
        higher = np.maximum(top, s.max(-1, keepdims=True))
        safe = np.where(np.isfinite(higher), higher, f(0))
        shrink, e = exp(top - safe), exp(s - safe)
        total, o, top = total * shrink + e.sum(-1, keepdims=True), o * shrink + m.dot(e, v[..., js, :]), higher
    o = m.stored(o / np.where(total > 0, total, f(1)))
    lse = np.where(total > 0, np.where(np.isfinite(top), top, f(0)) + (np.log2 if base_two else np.log)(total), f(0))

    def backward(do):
        D = (do * o).sum(-1, keepdims=True)
        dq, dk, dv, da = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v), np.zeros(full, f)
        for js in blocks:
            s, u = tile_of_scores(js)
            p = exp(s - lse)
            dv[..., js, :] = m.dot(p.swapaxes(-1, -2), do)
            ds = p * (m.dot(do, v[..., js, :].swapaxes(-1, -2)) - D)
            da[..., js] = ds
            ds = ds if u is None else ds * (1 - u * u)
            dq += scale * m.dot(ds, k[..., js, :])
            dk[..., js, :] = scale * m.dot(ds.swapaxes(-1, -2), q)
        grads = (dq, dk, dv) if bias is None else (dq, dk, dv, summed(da, bias.shape))
        return tuple(map(m.stored, grads))

    return o, backward


numpy_tiles_of_1 = partial(flash, tile=1)
numpy_tiles_of_2_descending = partial(flash, tile=2, order="descending")
numpy_tiles_of_3_random = partial(flash, tile=3, order="random")
numpy_tiles_of_8_base_two = partial(flash, tile=8, base_two=True)
numpy_tiles_of_16 = partial(flash, tile=16)


def numpy_stored_throughout(m, q, k, v, bias=None, *, mask=None, causal=None, scale=None, softcap=None):
    """Every array that is written is rounded; the gradient of softmax from p and dp."""
    f, st = m.dtype.type, m.stored
    scale = f(q.shape[-1] ** -0.5 if scale is None else scale)
    mask, u = numpy_open(q.shape[-2], k.shape[-2], mask, causal), None
    a = st(m.dot(q, k.swapaxes(-1, -2)) * scale)
    if softcap is not None:
        u = st(np.tanh(st(a / f(softcap))))
        a = st(f(softcap) * u)
    a = a if bias is None else st(a + bias)
    a = a if mask is None else np.where(mask, a, f(-np.inf))
    top = a.max(-1, keepdims=True)
    e = st(np.exp(a - np.where(np.isfinite(top), top, f(0))))
    total = e.sum(-1, keepdims=True)
    p = st(e / np.where(total > 0, total, f(1)))

    def backward(do):
        dp = st(m.dot(do, v.swapaxes(-1, -2)))
        da = st(p * (dp - (p * dp).sum(-1, keepdims=True)))
        dbias = () if bias is None else (summed(da, bias.shape),)
        ds = st((da if u is None else da * (1 - u * u)) * scale)
        return tuple(map(st, (m.dot(ds, k), m.dot(ds.swapaxes(-1, -2), q), m.dot(p.swapaxes(-1, -2), do), *dbias)))

    return st(m.dot(p, v)), backward
