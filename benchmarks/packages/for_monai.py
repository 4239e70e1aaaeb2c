"""monai."""

import torch
from entries import called, entry, filled
from heads import in_one_size
from monai.networks.blocks.crossattention import CrossAttentionBlock
from monai.networks.blocks.selfattention import SABlock
from monai.networks.blocks.spatialattention import SpatialAttentionBlock
from monai.networks.blocks.squeeze_and_excitation import ChannelSELayer
from torch import nn
from torch.nn.functional import pad


@entry("monai.networks.blocks.ChannelSELayer", "squeeze_excite", "it has biases: set to 0")
def build_se(x, w1, w2):
    module = ChannelSELayer(2, len(w2), r=1)
    module.fc[0], module.fc[2] = nn.Linear(len(w2), len(w1)), nn.Linear(len(w1), len(w2))
    return filled(module, {"fc.0.weight": w1, "fc.2.weight": w2})


def itself(flash, x, context, w_q, w_k, w_v, w_o, b_q, b_v, b_o, heads):
    s = in_one_size(x, context, w_q, w_k, w_v, w_o, b_q, b_v, b_o, heads, itself=True)
    module = SABlock(s.q.shape[0], heads, qkv_bias=True, use_flash_attention=flash)
    return called(module, {"qkv.weight": s.qkv, "qkv.bias": s.bqkv, "out_proj.weight": s.o, "out_proj.bias": s.bo},
                  s.x)[s.cut]


@entry("monai.networks.blocks.SABlock", "multihead", "attends to its own input: x and context side by side in it")
def self_attention(x, context, w_q, w_k, w_v, w_o, b_q=None, b_v=None, b_o=None, *, heads):
    return itself(False, x, context, w_q, w_k, w_v, w_o, b_q, b_v, b_o, heads)


@entry("monai.networks.blocks.SABlock, use_flash_attention", "multihead", "the same")
def self_attention_flash(x, context, w_q, w_k, w_v, w_o, b_q=None, b_v=None, b_o=None, *, heads):
    return itself(True, x, context, w_q, w_k, w_v, w_o, b_q, b_v, b_o, heads)


@entry("monai.networks.blocks.CrossAttentionBlock", "multihead", "one size for all: filled up with zeros")
def cross_attention(x, context, w_q, w_k, w_v, w_o, b_q=None, b_v=None, b_o=None, *, heads):
    s = in_one_size(x, context, w_q, w_k, w_v, w_o, b_q, b_v, b_o, heads)
    module = CrossAttentionBlock(s.q.shape[0], heads, qkv_bias=True)
    weights = {f"{name}.{part}": getattr(s, ("b" if part == "bias" else "") + short) for part in ("weight", "bias")
               for name, short in (("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("out_proj", "o"))}
    return called(module, weights, s.x, context=s.context)[s.cut]


@entry("monai.networks.blocks.SpatialAttentionBlock", "non_local", "a group norm before it: taken out; divides "
       "the scores "
       "by the root of its channels: W_θ multiplied by it, with zeros up to 4ⁿ channels", form="embedded_gaussian")
def spatial_attention(x, w_g, w_z, w_theta, w_phi, *, form):
    (C, M), wide, root = w_z.shape, 1, 1
    while wide < max(C, M):
        wide, root = 4 * wide, 2 * root
    module = SpatialAttentionBlock(2, wide, norm_num_groups=1)
    module.norm = nn.Identity()
    weights = {"attn.to_q.weight": root * w_theta, "attn.to_k.weight": w_phi, "attn.to_v.weight": w_g}
    weights = {name: pad(w, (0, wide - C, 0, wide - M)) for name, w in weights.items()}
    weights["attn.out_proj.weight"] = pad(w_z, (0, wide - M, 0, wide - C))
    zeros = torch.zeros(wide, dtype=x.dtype)
    weights |= {f"attn.{name}.bias": zeros for name in ("to_q", "to_k", "to_v", "out_proj")}
    return called(module, weights, pad(x, (0, 0, 0, 0, 0, wide - C)))[:, :C]
