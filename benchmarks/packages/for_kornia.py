"""kornia."""

from entries import called, entry
from heads import in_one_size
from kornia.geometry import transform
from kornia.models.sam.architecture.transformer import Attention
from kornia.models.vit import MultiHeadAttention


@entry("kornia.models.vit.MultiHeadAttention", "multihead", "attends to its own input: x and context side by "
       "side in it")
def self_attention(x, context, w_q, w_k, w_v, w_o, b_q=None, b_v=None, b_o=None, *, heads):
    s = in_one_size(x, context, w_q, w_k, w_v, w_o, b_q, b_v, b_o, heads, itself=True)
    return called(MultiHeadAttention(s.q.shape[0], heads, 0.0, 0.0),
                  {"qkv.weight": s.qkv, "qkv.bias": s.bqkv, "projection.weight": s.o, "projection.bias": s.bo},
                  s.x)[s.cut]


@entry("kornia.models.sam.architecture.transformer.Attention", "multihead", "one size for all: filled up with zeros")
def of_sam(x, context, w_q, w_k, w_v, w_o, b_q=None, b_v=None, b_o=None, *, heads):
    s = in_one_size(x, context, w_q, w_k, w_v, w_o, b_q, b_v, b_o, heads)
    weights = {f"{name}.{part}": getattr(s, ("b" if part == "bias" else "") + short) for part in ("weight", "bias")
               for name, short in (("q_proj", "q"), ("k_proj", "k"), ("v_proj", "v"), ("out_proj", "o"))}
    return called(Attention(s.q.shape[0], heads), weights, s.x, s.context, s.context)[s.cut]


@entry("kornia.geometry.transform.remap, normalized_coordinates", "grid_sample", "its grid is two maps")
def remap(x, grid, *, mode="bilinear", padding="zeros", align_corners):
    return transform.remap(x, grid[..., 0], grid[..., 1], mode, padding, align_corners, normalized_coordinates=True)
