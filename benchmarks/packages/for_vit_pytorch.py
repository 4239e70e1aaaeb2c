"""vit-pytorch: attention of several of its networks, all of which normalise their input first."""

import torch
from entries import NOT_COMPARED, called, entry
from heads import in_one_size
from torch import nn
from vit_pytorch import cct, cross_vit, simple_flash_attn_vit, simple_vit, vit

REMARK = ("attends to its own input: x and context side by side in it; its layer normalisation taken out; no biases of "
          "q and v")


def self_attention(module, names, x, context, w_q, w_k, w_v, w_o, b_o, heads):
    s = in_one_size(x, context, w_q, w_k, w_v, w_o, None, None, b_o, heads, itself=True)
    M = s.q.shape[0]
    made = module(M, heads, M // heads)
    if hasattr(made, "norm"):
        made.norm = nn.Identity()
    weights = dict(zip(names, (s.qkv, s.o, s.bo)))
    return called(made, weights, s.x)[s.cut]


@entry("vit_pytorch.vit.Attention", "multihead", REMARK)
def of_vit(x, context, w_q, w_k, w_v, w_o, b_o=None, *, heads):
    if heads == 1:
        raise NotImplementedError("one head as wide as the input has no last projection")
    return self_attention(vit.Attention, ("to_qkv.weight", "to_out.0.weight", "to_out.0.bias"), x, context, w_q, w_k,
                          w_v, w_o, b_o, heads)


@entry("vit_pytorch.simple_vit.Attention", "multihead", REMARK)
def of_simple_vit(x, context, w_q, w_k, w_v, w_o, *, heads):
    return self_attention(simple_vit.Attention, ("to_qkv.weight", "to_out.weight"), x, context, w_q, w_k, w_v, w_o,
                          None, heads)


@entry("vit_pytorch.simple_flash_attn_vit.Attention, use_flash=False", "multihead", REMARK)
def of_flash_vit(x, context, w_q, w_k, w_v, w_o, *, heads):
    return self_attention(lambda *sizes: simple_flash_attn_vit.Attention(*sizes, use_flash=False),
                          ("to_qkv.weight", "to_out.weight"), x, context, w_q, w_k, w_v, w_o, None, heads)


@entry("vit_pytorch.cct.Attention", "multihead", REMARK)
def of_cct(x, context, w_q, w_k, w_v, w_o, b_o=None, *, heads):
    return self_attention(lambda dim, heads, each: cct.Attention(dim, heads), ("qkv.weight", "proj.weight",
                          "proj.bias"),
                          x, context, w_q, w_k, w_v, w_o, b_o, heads)


@entry("vit_pytorch.cross_vit.Attention", "multihead", "its layer normalisation taken out; one size for all: filled up "
       "with zeros; no biases of q and v")
def of_cross_vit(x, context, w_q, w_k, w_v, w_o, *, heads):
    s = in_one_size(x, context, w_q, w_k, w_v, w_o, None, None, None, heads)
    M = s.q.shape[0]
    module = cross_vit.Attention(M, heads, M // heads)
    module.norm = nn.Identity()
    return called(module, {"to_q.weight": s.q, "to_kv.weight": torch.cat([s.k, s.v]), "to_out.0.weight": s.o,
                           "to_out.0.bias": s.bo}, s.x, context=s.context)[s.cut]


NOT_COMPARED |= {
    "vit_pytorch.deepvit.Attention": "re-attention: no operator here",
    "vit_pytorch.cait.Attention": "talking heads: no operator here",
    "vit_pytorch.simple_vit_with_qk_norm.Attention": "normalised queries and keys: no operator here",
    "vit_pytorch.xcit.XCAttention": "attention over channels: no operator here",
}
