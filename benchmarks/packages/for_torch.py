"""torch."""

import torch
import torch.nn.functional as F
from entries import NOT_COMPARED, called, entry
from heads import in_one_size
from torch import nn

entry("torch.nn.functional.scaled_dot_product_attention", "attention", "none: called as it is")(
    F.scaled_dot_product_attention)


@entry("torch.nn.functional.scaled_dot_product_attention, enable_gqa", "grouped_query")
def grouped(q, k, v, *, mask=None, causal=None, scale=None):
    if causal == "bottom_right" or (causal and mask is not None):
        raise NotImplementedError("is_causal from the bottom right, or with a mask")
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal is not None, scale=scale,
                                          enable_gqa=True)


def multihead(weighed, x, context, w_q, w_k, w_v, w_o, b_q, b_v, b_o, heads, mask, causal):
    s = in_one_size(x, context, w_q, w_k, w_v, w_o, b_q, b_v, b_o, heads, mask)
    (N, T, _), S = x.shape, context.shape[1]
    if causal:
        if T != S or mask is not None:
            raise NotImplementedError("a causal mask that is not square, or with another")
        ignored = torch.ones(T, S, dtype=torch.bool).triu(1)
    else:
        ignored = None if mask is None else ~mask.broadcast_to(N, heads, T, S).reshape(N * heads, T, S)
    y, _ = called(nn.MultiheadAttention(s.q.shape[0], heads, batch_first=True),
                  {"in_proj_weight": s.qkv, "in_proj_bias": s.bqkv, "out_proj.weight": s.o, "out_proj.bias": s.bo},
                  s.x, s.context, s.context, attn_mask=ignored, need_weights=weighed)
    return y[s.cut]


@entry("torch.nn.MultiheadAttention", "multihead", "True in its mask means: not this key; turned; one size for all: "
       "filled up with zeros")
def multihead_weighed(x, context, w_q, w_k, w_v, w_o, b_q=None, b_v=None, b_o=None, *, heads, mask=None, causal=None):
    return multihead(True, x, context, w_q, w_k, w_v, w_o, b_q, b_v, b_o, heads, mask, causal)


@entry("torch.nn.MultiheadAttention, need_weights=False", "multihead", "the same")
def multihead_fast(x, context, w_q, w_k, w_v, w_o, b_q=None, b_v=None, b_o=None, *, heads, mask=None, causal=None):
    return multihead(False, x, context, w_q, w_k, w_v, w_o, b_q, b_v, b_o, heads, mask, causal)


def cell(kind, x, states, wx, wh, bx, bh):
    return called(kind(x.shape[1], wh.shape[1]), {"weight_ih": wx, "weight_hh": wh, "bias_ih": bx, "bias_hh": bh}, x,
                  states)


@entry("torch.nn.LSTMCell", "lstm_cell")
def lstm(x, h, c, wx, wh, bx, bh):
    return cell(nn.LSTMCell, x, (h, c), wx, wh, bx, bh)


@entry("torch.nn.GRUCell", "gru_cell")
def gru(x, h, wx, wh, bx, bh):
    return cell(nn.GRUCell, x, h, wx, wh, bx, bh)


@entry("torch.nn.LayerNorm", "layernorm")
def layernorm(x, g, b, *, eps=1e-5):
    return called(nn.LayerNorm(len(g), eps=eps), {"weight": g, "bias": b}, x)


@entry("torch.nn.BatchNorm2d", "batchnorm", "in training, unless mean and variance are given")
def batchnorm(x, g, b, *, mean=None, var=None, eps=1e-5):
    return F.batch_norm(x, mean, var, g, b, training=mean is None, eps=eps)


entry("torch.nn.functional.gelu", "gelu", "none: called as it is")(F.gelu)
entry("torch.nn.functional.hardswish", "hard_swish", "none: called as it is")(F.hardswish)
entry("torch.nn.functional.relu", "relu", "none: called as it is")(F.relu)
entry("torch.sigmoid", "sigmoid", "none: called as it is")(torch.sigmoid)
entry("torch.erf", "erf", "none: called as it is")(torch.erf)
entry("torch.nn.functional.linear", "linear", "none: called as it is")(F.linear)
entry("torch.nn.functional.conv2d", "conv2d", "none: called as it is")(F.conv2d)
entry("torch.nn.functional.grid_sample", "grid_sample", "none: called as it is")(F.grid_sample)
entry("torch.nn.functional.cross_entropy", "cross_entropy", "none: called as it is")(F.cross_entropy)


@entry("torch.softmax", "softmax", "the elements that take no part are filled with -∞")
def softmax(x, *, axis=-1, mask=None):
    return torch.softmax(x if mask is None else x.masked_fill(~mask, -torch.inf), axis)


@entry("torch.nn.functional.log_softmax", "log_softmax", "always told along which axis: left to itself it takes "
       "one that "
       "depends on how many there are, and warns")
def log_softmax(x, *, axis=-1):
    return F.log_softmax(x, axis)


@entry("torch.nn.functional.affine_grid", "affine_grid", "its size has the batch and the channels in front")
def affine_grid(theta, *, size, align_corners):
    return F.affine_grid(theta, [len(theta), 1, *size], align_corners=align_corners)


@entry("torch.nn.functional.max_pool2d", "max_pool2d", ties="first")
def max_pool2d(x, *, kernel, stride=None, padding=0, ties="first"):
    return F.max_pool2d(x, kernel, stride, padding)


@entry("torch.nn.functional.avg_pool2d", "average_pool2d")
def average_pool2d(x, *, kernel, stride=None, padding=0):
    return F.avg_pool2d(x, kernel, stride, padding)


@entry("torch.nn.functional.embedding", "embedding")
def embedding(w, *, ids):
    return F.embedding(ids, w)


NOT_COMPARED["torch.nn.Dropout"] = "draws its own mask; the operator is given one"
