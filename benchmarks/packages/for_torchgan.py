"""torchgan."""

import torch
from entries import called, entry
from heads import as_many_out_as_in
from torchgan.layers import SelfAttention2d


@entry("torchgan.layers.SelfAttention2d", "spatial_self_attention", "adds x, with a factor γ that starts at 0: "
       "γ = 2²⁰, "
       "divided by γ, x taken off; filled up with zeros, for as many channels go out as in; biases: set to 0")
def self_attention(x, w_k, w_q, w_o):
    x, w_k, w_q, w_o, out = as_many_out_as_in(x, w_k, w_q, w_o)
    gamma = 2.0 ** 20
    module = SelfAttention2d(x.shape[1], len(w_k))
    weights = {"query.weight": w_q, "key.weight": w_k, "value.weight": w_o}
    weights = {name: w[..., None, None] for name, w in weights.items()}
    weights |= {f"{name}.bias": x.new_zeros(len(w)) for name, w in (("query", w_q), ("key", w_k), ("value", w_o))}
    weights["gamma"] = torch.full((1,), gamma, dtype=x.dtype)
    return (called(module, weights, x) / gamma - x / gamma)[:, :out]
