"""fastai."""

import torch
from entries import NOT_COMPARED, entry
from fastai.layers import SelfAttention
from heads import as_many_out_as_in


@entry("fastai.layers.SelfAttention", "spatial_self_attention", "adds x, with a factor γ that starts at 0: γ = 2²⁰, "
       "divided by γ, x taken off; filled up with zeros, for as many channels go out as in; spectral norm taken off")
def self_attention(x, w_k, w_q, w_o):
    x, w_k, w_q, w_o, out = as_many_out_as_in(x, w_k, w_q, w_o)
    gamma = 2.0 ** 20
    module = SelfAttention(8 * len(w_k))
    # Its `query` is what a pixel is weighed by, its `key` what a pixel looks for: softmax over the first axis of f gᵀ.
    for name, w in (("query", w_k), ("key", w_q), ("value", w_o)):
        setattr(module, name, Projection(w))
    module.gamma.data = torch.full((1,), gamma, dtype=x.dtype)
    return (module(x) / gamma - x / gamma)[:, :out]


class Projection(torch.nn.Module):
    """A convolution of one number with this weight, which may have a gradient."""

    def __init__(self, w):
        super().__init__()
        self.w = w

    def forward(self, t):
        return torch.nn.functional.conv1d(t, self.w[..., None])


NOT_COMPARED["fastai.layers.PooledSelfAttention2d"] = "pools keys and values: no operator here"
