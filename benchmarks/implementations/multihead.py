"""Multi-head attention."""

import torch

from implementations import NotTaken, attention, huggingface, opened

F = torch.nn.functional
VIT = "models.vit.modeling_vit.ViTAttention", "models.vit.configuration_vit.ViTConfig"
CLIP = "models.clip.modeling_clip.CLIPAttention", "models.clip.configuration_clip.CLIPVisionConfig"
SAM = "models.sam.modeling_sam.SamAttention", "models.sam.configuration_sam.SamMaskDecoderConfig"
CONVENTIONS = dict.fromkeys(("torch_transformers_vit", "torch_transformers_clip", "torch_transformers_sam"),
                            huggingface.MEANS)


def project(x, w, b, heads):
    return F.linear(x, w, b).unflatten(-1, (heads, -1)).transpose(1, 2)


def composed(inner):
    def layer(x, context, w_q, w_k, w_v, w_o, b_q=None, b_v=None, b_o=None, *, heads, mask=None, causal=None):
        o = inner(project(x, w_q, b_q, heads), project(context, w_k, None, heads), project(context, w_v, b_v, heads),
                  mask=mask, causal=causal)
        return F.linear(o.transpose(1, 2).flatten(2), w_o, b_o)
    return layer


torch_written = composed(attention.torch_scale_on_scores)
torch_scale_on_q = composed(attention.torch_scale_on_q)
torch_einsum = composed(attention.torch_einsum)
torch_sdpa = composed(attention.torch_sdpa_math)
torch_flash = composed(attention.torch_flash_padded)


def torch_head_by_head(x, context, w_q, w_k, w_v, w_o, b_q=None, b_v=None, b_o=None, *, heads, mask=None, causal=None):
    """Lists of weights, one head after another, then concatenated."""
    found = []
    mask = None if mask is None else mask.expand(len(x), heads, x.shape[1], context.shape[1])
    for g in range(heads):
        wq, wk, wv = (w.chunk(heads)[g] for w in (w_q, w_k, w_v))
        bq, bv = (None if b is None else b.chunk(heads)[g] for b in (b_q, b_v))
        q, k, v = F.linear(x, wq, bq), F.linear(context, wk), F.linear(context, wv, bv)
        found.append(attention.torch_divided_by_root(q, k, v, mask=None if mask is None else mask[:, g], causal=causal))
    return F.linear(torch.cat(found, -1), w_o, b_o)


def torch_module(x, context, w_q, w_k, w_v, w_o, b_q=None, b_v=None, b_o=None, *, heads, mask=None, causal=None):
    """torch's own, with a key bias of 0; it knows one number of features, and gives NaN where no key is left."""
    I, (N, T), S = x.shape[-1], x.shape[:2], context.shape[1]
    if not len(w_q) == len(w_v) == len(w_o) == I:
        raise NotTaken("other numbers of features")
    biases = [b_q, b_v, b_o]
    if any(b is None for b in biases) and any(b is not None for b in biases):
        raise NotTaken("some of the biases")
    corner = opened(x, context, None, causal)
    if mask is not None:
        mask = mask.expand(N, heads, T, S).flatten(0, 1)
        if not bool(mask.any(-1).all()):
            raise NotTaken("rows without a key")
    mask = corner if mask is None else mask if corner is None else mask & corner
    packed = None if b_q is None else torch.cat([b_q, torch.zeros_like(b_q), b_v])
    y, _ = F.multi_head_attention_forward(
        x.transpose(0, 1), context.transpose(0, 1), context.transpose(0, 1), I, heads, None, packed, None, None, False,
        0.0, w_o, b_o, attn_mask=None if mask is None else ~mask, need_weights=False, use_separate_proj_weight=True,
        q_proj_weight=w_q, k_proj_weight=w_k, v_proj_weight=w_v)
    return y.transpose(0, 1)


torch_transformers_vit = huggingface.layer(*VIT, "eager", "o_proj")
torch_transformers_vit_sdpa = huggingface.layer(*VIT, "sdpa", "o_proj")
torch_transformers_clip = huggingface.layer(*CLIP, "eager")
torch_transformers_sam = huggingface.layer(*SAM, "eager", itself=False)
torch_transformers_sam_sdpa = huggingface.layer(*SAM, "sdpa", itself=False)


def jax_composed(x, context, w_q, w_k, w_v, w_o, b_q=None, b_v=None, b_o=None, *, heads, mask=None, causal=None):
    def split(x, w, b):
        y = x @ w.T if b is None else x @ w.T + b
        return y.reshape(*x.shape[:2], heads, -1).swapaxes(1, 2)

    o = attention.jax_softmax_where(split(x, w_q, b_q), split(context, w_k, None), split(context, w_v, b_v), mask=mask,
                                    causal=causal)
    y = o.swapaxes(1, 2).reshape(*x.shape[:2], -1) @ w_o.T
    return y if b_o is None else y + b_o
