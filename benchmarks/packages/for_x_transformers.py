"""x-transformers."""

import torch
from entries import called, entry
from heads import in_one_size
from x_transformers.x_transformers import Attention

SOFTMAX = "its softmax is in float32, whatever its input is: not called in float64"


def not_in_float64(x):
    if x.dtype == torch.float64:
        raise NotImplementedError(SOFTMAX)


@entry("x_transformers.Attention", "multihead", f"one size for all: filled up with zeros; no biases; {SOFTMAX}")
def attention(x, context, w_q, w_k, w_v, w_o, *, heads, mask=None):
    not_in_float64(x)
    if heads == 1:
        raise NotImplementedError("one head as wide as the input has no last projection")
    s = in_one_size(x, context, w_q, w_k, w_v, w_o, None, None, None, heads, mask)
    M = s.q.shape[0]
    y = called(Attention(M, dim_head=M // heads, heads=heads),
               {"to_q.weight": s.q, "to_k.weight": s.k, "to_v.weight": s.v, "to_out.weight": s.o},
               s.x, context=s.context, attn_mask=s.mask)
    return (y[0] if isinstance(y, tuple) else y)[s.cut]


@entry("x_transformers.Attention, flash", "multihead", "the same")
def attention_flash(x, context, w_q, w_k, w_v, w_o, *, heads):
    if heads == 1:
        raise NotImplementedError("one head as wide as the input has no last projection")
    s = in_one_size(x, context, w_q, w_k, w_v, w_o, None, None, None, heads)
    M = s.q.shape[0]
    y = called(Attention(M, dim_head=M // heads, heads=heads, flash=True),
               {"to_q.weight": s.q, "to_k.weight": s.k, "to_v.weight": s.v, "to_out.weight": s.o},
               s.x, context=s.context)
    return (y[0] if isinstance(y, tuple) else y)[s.cut]


@entry("x_transformers.Attention, kv_heads", "grouped_query", "projections that hand q, k and v through; the scale is "
       f"built in; {SOFTMAX}")
def grouped(q, k, v, *, mask=None):
    not_in_float64(q)
    (N, Gq, T, D), (_, G, _, E) = q.shape, v.shape

    def flat(a):
        return a.transpose(1, 2).reshape(N, a.shape[2], -1)

    context = torch.cat([flat(k), flat(v)], dim=-1)
    a, b, out = (torch.eye(n, dtype=q.dtype) for n in (Gq * D, G * (D + E), Gq * E))
    module = Attention(Gq * D, dim_head=D, value_dim_head=E, heads=Gq, kv_heads=G, dim_context=G * (D + E),
                       dim_out=Gq * E)
    y = called(module, {"to_q.weight": a, "to_k.weight": b[:G * D], "to_v.weight": b[G * D:], "to_out.weight": out},
               flat(q), context=context, attn_mask=mask)
    y = y[0] if isinstance(y, tuple) else y
    return y.reshape(N, T, Gq, E).transpose(1, 2)


@entry("x_transformers.Attention, kv_heads, heads in its order", "grouped_query", "the same; query heads put in the "
       "order in which it shares key heads: 0, R, 2R … read one after the other")
def grouped_in_its_order(q, k, v, *, mask=None):
    order = torch.arange(q.shape[1]).reshape(k.shape[1], -1).T.ravel()          # 0 2 4 1 3 5 for R = 2, G = 3 …
    mask = mask if mask is None or mask.shape[1] == 1 else mask[:, order]
    return grouped(q[:, order], k, v, mask=mask)[:, order.argsort()]
