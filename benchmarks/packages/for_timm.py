"""timm."""

import torch
from entries import NOT_COMPARED, called, entry, filled
from heads import in_one_size, squared
from timm.layers import (
    GELU,
    Attention,
    AttentionRope,
    CecaModule,
    EcaModule,
    GELUTanh,
    LayerNorm,
    LayerNorm2d,
    NonLocalAttn,
    SEModule,
)
from timm.layers.activations import HardSwish
from timm.layers.activations_me import HardSwishMe
from timm.layers.attention2d import MultiQueryAttentionV2
from timm.layers.cbam import CbamModule, ChannelAttn, SpatialAttn
from timm.layers.squeeze_excite import SqueezeExciteCl

NO_NORM = torch.nn.Identity()


@entry("timm.layers.SEModule", "squeeze_excite", "it has biases: set to 0; C / r to a multiple of 8, unless it "
       "is given")
def build_se(x, w1, w2):
    return filled(SEModule(x.shape[1], rd_channels=len(w1)), {"fc1.weight": w1, "fc2.weight": w2})


class ChannelsFirst(torch.nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


@entry("timm.layers.squeeze_excite.SqueezeExciteCl", "squeeze_excite", "channels are the last axis: turned; biases: "
       "set to 0")
def build_se_channels_last(x, w1, w2):
    return filled(ChannelsFirst(SqueezeExciteCl(x.shape[1], rd_channels=len(w1))),
                  {"inner.fc1.weight": w1, "inner.fc2.weight": w2})


@entry("timm.layers.EcaModule", "efficient_channel")
def build_eca(x, w):
    return filled(EcaModule(kernel_size=len(w)), {"conv.weight": w})


@entry("timm.layers.CecaModule", "efficient_channel", "circular by name and purpose")
def build_ceca(x, w):
    if len(w) > 2 * x.shape[1]:
        raise NotImplementedError("padding beyond one turn around the channels")
    return filled(CecaModule(kernel_size=len(w)), {"conv.weight": w})


@entry("timm.layers.cbam.ChannelAttn", "channel_gate", "equal maxima share the gradient (amax)", ties="even")
def build_channel(x, w1, w2, *, ties):
    return filled(ChannelAttn(x.shape[1], rd_channels=len(w1)), {"fc1.weight": w1, "fc2.weight": w2})


def without_norm(spatial):
    spatial.conv.bn = NO_NORM
    return spatial


@entry("timm.layers.cbam.SpatialAttn", "spatial_gate", "a batch norm follows the convolution: taken out; equal maxima "
       "share the gradient (amax)", ties="even")
def spatial(x, w, *, ties):
    w = squared(w)
    return called(without_norm(SpatialAttn(w.shape[2])), {"conv.conv.weight": w}, x)


@entry("timm.layers.cbam.CbamModule", "cbam", "a batch norm in its spatial gate: taken out; equal maxima share the "
       "gradient (amax)", ties="even")
def cbam(x, w1, w2, w, *, ties):
    w = squared(w)
    module = CbamModule(x.shape[1], rd_channels=len(w1), spatial_kernel_size=w.shape[2])
    without_norm(module.spatial)
    return called(module, {"channel.fc1.weight": w1[..., None, None], "channel.fc2.weight": w2[..., None, None],
                           "spatial.conv.conv.weight": w}, x)


@entry("timm.layers.NonLocalAttn", "non_local", "a batch norm after W_z: taken out; use_scale divides by the root of "
       "the channels of x, not of θ: False", form="embedded_gaussian")
def build_non_local(x, w_g, w_z, w_theta, w_phi, *, form):
    module = NonLocalAttn(x.shape[1], use_scale=False, rd_channels=len(w_g))
    module.norm = NO_NORM
    return filled(module, {"t.weight": w_theta, "p.weight": w_phi, "g.weight": w_g, "z.weight": w_z})


@entry("timm.layers.NonLocalAttn, use_scale", "non_local", "a batch norm after W_z: taken out",
       form="embedded_gaussian")
def build_non_local_scaled(x, w_g, w_z, w_theta, w_phi, *, form):
    module = NonLocalAttn(x.shape[1], use_scale=True, rd_channels=len(w_g))
    module.norm = NO_NORM
    return filled(module, {"t.weight": w_theta, "p.weight": w_phi, "g.weight": w_g, "z.weight": w_z})


def self_attention(kind, fused, x, context, w_q, w_k, w_v, w_o, b_q, b_v, b_o, heads, mask, causal):
    if causal == "bottom_right" or (causal and mask is not None):
        raise NotImplementedError("is_causal from the bottom right, or with a mask")
    if not fused and mask is not None and not mask.any(-1).all():
        raise NotImplementedError("a query with no key left: NaN, which zeros beside it carry from x to context")
    s = in_one_size(x, context, w_q, w_k, w_v, w_o, b_q, b_v, b_o, heads, mask, itself=True)
    module = kind(s.x.shape[-1], heads, qkv_bias=True)
    module.fused_attn = fused
    y = called(module, {"qkv.weight": s.qkv, "qkv.bias": s.bqkv, "proj.weight": s.o, "proj.bias": s.bo}, s.x,
               attn_mask=s.mask, is_causal=causal is not None)
    return y[s.cut]


ONE_SIZE = "attends to its own input: x and context side by side in it"


@entry("timm.layers.Attention, fused", "multihead", ONE_SIZE)
def attention_fused(x, context, w_q, w_k, w_v, w_o, b_q=None, b_v=None, b_o=None, *, heads, mask=None, causal=None):
    return self_attention(Attention, True, x, context, w_q, w_k, w_v, w_o, b_q, b_v, b_o, heads, mask, causal)


@entry("timm.layers.Attention, not fused", "multihead", f"{ONE_SIZE}; not called where a query has no key left")
def attention_unfused(x, context, w_q, w_k, w_v, w_o, b_q=None, b_v=None, b_o=None, *, heads, mask=None, causal=None):
    return self_attention(Attention, False, x, context, w_q, w_k, w_v, w_o, b_q, b_v, b_o, heads, mask, causal)


@entry("timm.layers.AttentionRope, no rope", "multihead", ONE_SIZE)
def attention_rope(x, context, w_q, w_k, w_v, w_o, b_q=None, b_v=None, b_o=None, *, heads, mask=None, causal=None):
    return self_attention(AttentionRope, True, x, context, w_q, w_k, w_v, w_o, b_q, b_v, b_o, heads, mask, causal)


@entry("timm.layers.AttentionRope, num_kv_heads", "grouped_query", "projections that hand q, k and v through: x holds "
       "them side by side; the scale is built in")
def attention_rope_grouped(q, k, v, *, mask=None, causal=None):
    (N, Gq, T, D), (_, G, S, E) = q.shape, v.shape
    if T > S or causal == "bottom_right" or (causal and (mask is not None or T != S)):
        raise NotImplementedError("more queries than keys, or a causal mask from the bottom right, or with another")
    more, factor = D, 1
    while more < E:
        more, factor = 4 * more, 2 * factor
    fill = torch.nn.functional.pad

    def flat(a):
        return fill(a, (0, more - a.shape[-1], 0, S - a.shape[2])).transpose(1, 2).reshape(N, S, -1)

    x = torch.cat([factor * flat(q), flat(k), flat(v)], dim=-1)
    a, b, dim = Gq * more, G * more, x.shape[-1]
    eye = torch.eye(dim, dtype=x.dtype)
    module = AttentionRope(dim, Gq, dim_out=a, attn_head_dim=more, num_kv_heads=G, qkv_bias=False, qkv_fused=False,
                           proj_bias=False)
    mask = fill(mask, (0, 0, 0, S - T), value=True) if mask is not None and mask.shape[2] > 1 else mask
    y = called(module, {"q_proj.weight": eye[:a], "k_proj.weight": eye[a:a + b], "v_proj.weight": eye[a + b:],
                        "proj.weight": torch.eye(a, dtype=x.dtype)}, x, attn_mask=mask, is_causal=causal is not None)
    return y.reshape(N, S, Gq, more).transpose(1, 2)[:, :, :T, :E]


@entry("timm.layers.attention2d.MultiQueryAttentionV2", "multihead", "tokens are pixels; one head of keys and values "
       "for all: cases of one head")
def multi_query(x, context, w_q, w_k, w_v, w_o, *, heads):
    if heads != 1:
        raise NotImplementedError("several heads of keys")
    s = in_one_size(x, context, w_q, w_k, w_v, w_o, None, None, None, heads)
    M = s.x.shape[-1]
    image, other = (a.transpose(1, 2)[..., None] for a in (s.x, s.context))
    y = called(MultiQueryAttentionV2(M, num_heads=1, key_dim=M, value_dim=M),
               {"query_proj": s.q[None], "key_proj": s.k.T, "value_proj": s.v.T, "out_proj": s.o[:, None]},
               image, other)
    return y[..., 0].transpose(1, 2)[s.cut]


@entry("timm.layers.LayerNorm", "layernorm", "ε is 1e-6 unless it is given")
def build_layernorm(x, g, b, *, eps=1e-5):
    return filled(LayerNorm(len(g), eps=eps), {"weight": g, "bias": b})


class TokensAsPixels(torch.nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        pixels = x.reshape(1, -1, x.shape[-1], 1).transpose(1, 2)
        return self.inner(pixels).transpose(1, 2).reshape(x.shape)


@entry("timm.layers.LayerNorm2d", "layernorm", "over the channels of an image: tokens laid out as pixels")
def build_layernorm2d(x, g, b, *, eps=1e-5):
    return filled(TokensAsPixels(LayerNorm2d(len(g), eps=eps)), {"inner.weight": g, "inner.bias": b})


@entry("timm.layers.GELU", "gelu", approximate="none")
def gelu(x, *, approximate="none"):
    return GELU()(x)


@entry("timm.layers.GELUTanh", "gelu", approximate="tanh")
def gelu_tanh(x, *, approximate="tanh"):
    return GELUTanh()(x)


@entry("timm.layers.activations.HardSwish", "hard_swish")
def hard_swish(x):
    return HardSwish()(x)


@entry("timm.layers.activations_me.HardSwishMe", "hard_swish", "a gradient written by hand, to save memory")
def hard_swish_me(x):
    return HardSwishMe()(x)


NOT_COMPARED |= {
    "timm.layers.EffectiveSEModule": "one matrix and a hard sigmoid: no operator here",
    "timm.layers.cbam.LightCbamModule": "adds mean and maximum before the network, by design: no operator here",
    "timm.layers.BatNonLocalAttn": "bilinear attention: no operator here",
}
