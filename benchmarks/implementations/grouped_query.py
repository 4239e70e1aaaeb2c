"""Attention with fewer heads of keys than of queries."""

import jax
import jax.numpy as jnp
import numpy as np
import torch

from implementations import NotTaken, attention, huggingface, opened

F = torch.nn.functional
CONVENTIONS = dict.fromkeys(("torch_transformers_llama", "torch_transformers_gemma2"), huggingface.MEANS)


def repeated(x, n):
    return x.repeat_interleave(n // x.shape[1], 1)


def torch_repeated(q, k, v, **options):
    return attention.written(q, repeated(k, q.shape[1]), repeated(v, q.shape[1]), **options)


def torch_expanded(q, k, v, **options):
    """Keys and values expanded beside their group, as in LLaMA."""
    R = q.shape[1] // k.shape[1]
    k, v = (x[:, :, None].expand(-1, -1, R, -1, -1).flatten(1, 2) for x in (k, v))
    return attention.written(q, k, v, on="scores", by="float32", **options)


def torch_folded(q, k, v, *, mask=None, causal=None, scale=None):
    """Queries of a group side by side, keys never repeated."""
    N, Gq, T, D = q.shape
    G, scale = k.shape[1], D ** -0.5 if scale is None else scale
    a = torch.einsum("ngrtd,ngsd->ngrts", q.unflatten(1, (G, -1)), k) * scale
    mask = opened(q, k, mask, causal)
    if mask is not None:
        mask = mask.expand(N, Gq, T, k.shape[2]).unflatten(1, (G, -1))
    return torch.einsum("ngrts,ngse->ngrte", attention.weights(a, mask, "safe"), v).flatten(1, 2)


def torch_enable_gqa(q, k, v, *, mask=None, causal=None, scale=None):
    only = causal == "top_left" and mask is None
    return F.scaled_dot_product_attention(q, k, v, None if only else opened(q, k, mask, causal),
                                          is_causal=only, scale=scale, enable_gqa=True)


def torch_sdpa_repeated(q, k, v, **options):
    return attention.torch_sdpa_math(q, repeated(k, q.shape[1]), repeated(v, q.shape[1]), **options)


def torch_flash_repeated(q, k, v, **options):
    return attention.torch_flash_padded(q, repeated(k, q.shape[1]), repeated(v, q.shape[1]), **options)


torch_transformers_llama = huggingface.eager("llama")
torch_transformers_gemma2 = huggingface.eager("gemma2")
torch_transformers_sdpa = huggingface.sdpa


def jax_repeated(q, k, v, **options):
    R = q.shape[1] // k.shape[1]
    return attention.jax_softmax_where(q, jnp.repeat(k, R, 1), jnp.repeat(v, R, 1), **options)


def jax_dot_product_attention(q, k, v, *, mask=None, causal=None, scale=None):
    if q.shape[-1] != v.shape[-1]:
        raise NotTaken("D not E")
    only = causal == "top_left" and mask is None
    mask = None if only else attention.jax_open(q, k, mask, causal)
    mask = None if mask is None else jnp.broadcast_to(mask, (*q.shape[:3], k.shape[2]))
    q, k, v = (x.swapaxes(1, 2) for x in (q, k, v))
    return jax.nn.dot_product_attention(q, k, v, None, mask, scale=scale, is_causal=only).swapaxes(1, 2)


def numpy_tiles_of_3(m, q, k, v, **options):
    (N, G), R = k.shape[:2], q.shape[1] // k.shape[1]
    o, back = attention.flash(m, q, np.repeat(k, R, 1), np.repeat(v, R, 1), tile=3, **options)

    def backward(do):
        dq, dk, dv = back(do)
        return dq, *(m.stored(d.reshape(N, G, R, *d.shape[2:]).sum(2)) for d in (dk, dv))

    return o, backward
