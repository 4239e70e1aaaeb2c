"""transformers."""

import torch
from entries import called, entry
from heads import in_one_size
from transformers import activations
from transformers.models.clip.configuration_clip import CLIPVisionConfig
from transformers.models.clip.modeling_clip import CLIPAttention
from transformers.models.llama.modeling_llama import eager_attention_forward
from transformers.models.vit.configuration_vit import ViTConfig
from transformers.models.vit.modeling_vit import ViTAttention

ITSELF = "attends to its own input: x and context side by side in it"
SOFTMAX = "its softmax is in float32, whatever its input is: not called in float64"


def not_in_float64(x):
    if x.dtype == torch.float64:
        raise NotImplementedError(SOFTMAX)


def additive(mask, dtype):
    """The float mask that models of this package are given: 0, or the lowest number; of float32, in which the softmax
    is computed whatever the precision."""
    lowest = torch.finfo(torch.float32).min
    return None if mask is None else torch.zeros(mask.shape, dtype=dtype).masked_fill(~mask, lowest)


def self_attention(made, out, x, context, w_q, w_k, w_v, w_o, b_q, b_v, b_o, heads, mask):
    s = in_one_size(x, context, w_q, w_k, w_v, w_o, b_q, b_v, b_o, heads, mask, itself=True)
    weights = {f"{name}.{part}": getattr(s, ("b" if part == "bias" else "") + short) for part in ("weight", "bias")
               for name, short in (("q_proj", "q"), ("k_proj", "k"), ("v_proj", "v"), (out, "o"))}
    return called(made(s.q.shape[0], heads), weights, s.x, attention_mask=additive(s.mask, x.dtype))[0][s.cut]


def of(kind, config, how):
    return lambda size, heads: kind(config(hidden_size=size, num_attention_heads=heads, attn_implementation=how))


@entry("transformers.ViTAttention, eager", "multihead", f"{ITSELF}; {SOFTMAX}")
def vit_eager(x, context, w_q, w_k, w_v, w_o, b_q=None, b_v=None, b_o=None, *, heads, mask=None):
    not_in_float64(x)
    return self_attention(of(ViTAttention, ViTConfig, "eager"), "o_proj", x, context, w_q, w_k, w_v, w_o, b_q, b_v, b_o,
                          heads, mask)


@entry("transformers.ViTAttention, sdpa", "multihead", ITSELF)
def vit_sdpa(x, context, w_q, w_k, w_v, w_o, b_q=None, b_v=None, b_o=None, *, heads, mask=None):
    return self_attention(of(ViTAttention, ViTConfig, "sdpa"), "o_proj", x, context, w_q, w_k, w_v, w_o, b_q, b_v, b_o,
                          heads, mask)


@entry("transformers.CLIPAttention, eager", "multihead", f"{ITSELF}; {SOFTMAX}")
def clip_eager(x, context, w_q, w_k, w_v, w_o, b_q=None, b_v=None, b_o=None, *, heads, mask=None):
    not_in_float64(x)
    return self_attention(of(CLIPAttention, CLIPVisionConfig, "eager"), "out_proj", x, context, w_q, w_k, w_v, w_o, b_q,
                          b_v, b_o, heads, mask)


EVERY = "; not called where a query has no key left"


def every_query_has_a_key(mask):
    if mask is not None and not mask.any(-1).all():
        raise NotImplementedError("a query with no key left")


@entry("transformers.ViTAttention, sdpa, no empty rows", "multihead", ITSELF + EVERY)
def vit_sdpa_keys(x, context, w_q, w_k, w_v, w_o, b_q=None, b_v=None, b_o=None, *, heads, mask=None):
    every_query_has_a_key(mask)
    return vit_sdpa(x, context, w_q, w_k, w_v, w_o, b_q, b_v, b_o, heads=heads, mask=mask)


@entry("transformers.CLIPAttention, sdpa, no empty rows", "multihead", ITSELF + EVERY)
def clip_sdpa(x, context, w_q, w_k, w_v, w_o, b_q=None, b_v=None, b_o=None, *, heads, mask=None):
    every_query_has_a_key(mask)
    return self_attention(of(CLIPAttention, CLIPVisionConfig, "sdpa"), "out_proj", x, context, w_q, w_k, w_v, w_o, b_q,
                          b_v, b_o, heads, mask)


class Grouped(torch.nn.Module):
    def __init__(self, groups):
        super().__init__()
        self.num_key_value_groups = groups


@entry("transformers.models.llama.eager_attention_forward", "grouped_query", "an additive mask, of the lowest number; "
       f"tokens before heads in its output; {SOFTMAX}")
def llama(q, k, v, *, mask=None, scale=None):
    not_in_float64(q)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    module = Grouped(q.shape[1] // k.shape[1]).eval()
    return eager_attention_forward(module, q, k, v, additive(mask, q.dtype), scale)[0].transpose(1, 2)


@entry("transformers.activations.GELUActivation", "gelu", approximate="none")
def gelu(x, *, approximate):
    return activations.GELUActivation()(x)


@entry("transformers.activations.GELUActivation, use_gelu_python", "gelu", approximate="none")
def gelu_python(x, *, approximate):
    return activations.GELUActivation(use_gelu_python=True)(x)


@entry("transformers.activations.NewGELUActivation", "gelu", approximate="tanh")
def gelu_new(x, *, approximate):
    return activations.NewGELUActivation()(x)


@entry("transformers.activations.FastGELUActivation", "gelu", approximate="tanh")
def gelu_fast(x, *, approximate):
    return activations.FastGELUActivation()(x)


@entry("transformers.activations.AccurateGELUActivation", "gelu", approximate="tanh")
def gelu_accurate(x, *, approximate):
    return activations.AccurateGELUActivation()(x)


@entry("transformers.activations.QuickGELUActivation", "gelu", "σ(1.702 x) x by name and purpose", approximate="none")
def gelu_quick(x, *, approximate):
    return activations.QuickGELUActivation()(x)
