"""fightingcv-attention."""

import torch
from entries import NOT_COMPARED, called, entry, filled
from fightingcv_attention.attention.CBAM import CBAMBlock, ChannelAttention, SpatialAttention
from fightingcv_attention.attention.ECAAttention import ECAAttention
from fightingcv_attention.attention.SEAttention import SEAttention
from fightingcv_attention.attention.SelfAttention import ScaledDotProductAttention
from fightingcv_attention.attention.SimplifiedSelfAttention import SimplifiedScaledDotProductAttention
from heads import in_one_size, squared
from torch import nn
from torch.nn.functional import pad


@entry("fightingcv_attention.SEAttention", "squeeze_excite")
def build_se(x, w1, w2):
    module = SEAttention(channel=len(w2), reduction=1)
    module.fc[0], module.fc[2] = nn.Linear(len(w2), len(w1), bias=False), nn.Linear(len(w1), len(w2), bias=False)
    return filled(module, {"fc.0.weight": w1, "fc.2.weight": w2})


@entry("fightingcv_attention.ECAAttention", "efficient_channel", "its convolution has a bias: set to 0")
def build_eca(x, w):
    return filled(ECAAttention(kernel_size=len(w)), {"conv.weight": w})


class Gated(nn.Module):
    def __init__(self, gate):
        super().__init__()
        self.gate = gate

    def forward(self, x):
        return x * self.gate(x)


@entry("fightingcv_attention.CBAM.ChannelAttention", "channel_gate", "gives the gate alone: x is multiplied by it")
def build_channel(x, w1, w2):
    module = ChannelAttention(len(w2), reduction=1)
    module.se[0], module.se[2] = nn.Conv2d(len(w2), len(w1), 1, bias=False), nn.Conv2d(len(w1), len(w2), 1, bias=False)
    return filled(Gated(module), {"gate.se.0.weight": w1, "gate.se.2.weight": w2})


@entry("fightingcv_attention.CBAM.SpatialAttention", "spatial_gate", "gives the gate alone: x is multiplied by it; its "
       "convolution has a bias: set to 0; the maximum is the first map")
def spatial(x, w):
    w = squared(w)
    return called(Gated(SpatialAttention(w.shape[2])), {"gate.conv.weight": w, "gate.conv.bias": x.new_zeros(1)}, x)


def block(x, w1, w2, w):
    w = squared(w)
    module = CBAMBlock(len(w2), reduction=1, kernel_size=w.shape[2])
    module.ca.se[0] = nn.Conv2d(len(w2), len(w1), 1, bias=False)
    module.ca.se[2] = nn.Conv2d(len(w1), len(w2), 1, bias=False)
    return called(module, {"ca.se.0.weight": w1[..., None, None], "ca.se.2.weight": w2[..., None, None],
                           "sa.conv.weight": w, "sa.conv.bias": x.new_zeros(1)}, x)


@entry("fightingcv_attention.CBAMBlock", "cbam", "as it is, but for the two kernels, which are exchanged")
def cbam(x, w1, w2, w):
    return block(x, w1, w2, w.flip(1))


@entry("fightingcv_attention.ScaledDotProductAttention", "multihead", "True in its mask means: not this key; "
       "turned; one "
       "size for all: filled up with zeros")
def attention(x, context, w_q, w_k, w_v, w_o, b_q=None, b_v=None, b_o=None, *, heads, mask=None):
    s = in_one_size(x, context, w_q, w_k, w_v, w_o, b_q, b_v, b_o, heads, mask)
    M = s.q.shape[0]
    y = called(ScaledDotProductAttention(M, M // heads, M // heads, heads),
               {"fc_q.weight": s.q, "fc_k.weight": s.k, "fc_v.weight": s.v, "fc_o.weight": s.o,
                "fc_q.bias": s.bq, "fc_k.bias": s.bk, "fc_v.bias": s.bv, "fc_o.bias": s.bo},
               s.x, s.context, s.context, attention_mask=None if s.mask is None else ~s.mask)
    return y[s.cut]


@entry("fightingcv_attention.SimplifiedScaledDotProductAttention", "attention", "with an identity behind it; features "
       "of values filled up to those of keys, or the other way round")
def simplified(q, k, v, *, mask=None):
    if q.ndim != 4:
        raise NotImplementedError("(batch, heads, tokens, features) only")
    (N, G, T, D), E = q.shape, v.shape[-1]
    more, factor = D, 1
    while more < E:
        more, factor = 4 * more, 2 * factor
    tokens = [pad(a, (0, more - a.shape[-1])).transpose(1, 2).reshape(N, -1, G * more) for a in (factor * q, k, v)]
    mask = None if mask is None else ~mask
    y = called(SimplifiedScaledDotProductAttention(G * more, G),
               {"fc_o.weight": torch.eye(G * more, dtype=q.dtype), "fc_o.bias": q.new_zeros(G * more)},
               *tokens, attention_mask=mask)
    return y.reshape(N, T, G, more).transpose(1, 2)[..., :E]


NOT_COMPARED |= {
    "fightingcv_attention.MUSEAttention": "attention and convolutions in parallel: no operator here",
    "fightingcv_attention.DAModule": "a 3 × 3 convolution before ScaledDotProductAttention, which is compared",
}
