"""diffusers."""

from diffusers.models.attention_processor import Attention, AttnProcessor, AttnProcessor2_0
from entries import called, entry
from heads import in_one_size


def attention(processor, x, context, w_q, w_k, w_v, w_o, b_q, b_v, b_o, heads):
    s = in_one_size(x, context, w_q, w_k, w_v, w_o, b_q, b_v, b_o, heads)
    M = s.q.shape[0]
    module = Attention(M, M, heads=heads, dim_head=M // heads, bias=True, processor=processor)
    weights = {f"{name}.{part}": getattr(s, ("b" if part == "bias" else "") + short) for part in ("weight", "bias")
               for name, short in (("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "o"))}
    return called(module, weights, s.x, encoder_hidden_states=s.context)[s.cut]


@entry("diffusers.models.attention_processor.Attention, AttnProcessor", "multihead", "one size for all: filled up with "
       "zeros")
def plain(x, context, w_q, w_k, w_v, w_o, b_q=None, b_v=None, b_o=None, *, heads):
    return attention(AttnProcessor(), x, context, w_q, w_k, w_v, w_o, b_q, b_v, b_o, heads)


@entry("diffusers.models.attention_processor.Attention, AttnProcessor2_0", "multihead", "the same")
def fused(x, context, w_q, w_k, w_v, w_o, b_q=None, b_v=None, b_o=None, *, heads):
    return attention(AttnProcessor2_0(), x, context, w_q, w_k, w_v, w_o, b_q, b_v, b_o, heads)
