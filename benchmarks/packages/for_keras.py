"""keras, on torch.  It multiplies matrices of float64 in float32, and so is called in float32 alone."""

import keras
import torch
from entries import entry


def called(layer, weights, *args, **keywords):
    """A built layer as a function of its weights: {end of a variable's path: tensor}."""
    values = []
    for variable in layer.trainable_variables:
        end = next(end for end in weights if variable.path.endswith(end))
        values.append(weights[end].reshape(tuple(variable.shape)))
    return layer.stateless_call(values, [v.value for v in layer.non_trainable_variables], *args, **keywords)[0]


def built(layer, *args, **keywords):
    with torch.no_grad():
        layer(*args, **keywords)
    return layer


@entry("keras.layers.MultiHeadAttention", "multihead", "kernels (I, G, D): turned")
def multihead(x, context, w_q, w_k, w_v, w_o, b_q=None, b_v=None, b_o=None, *, heads, mask=None, causal=None):
    if causal == "bottom_right":
        raise NotImplementedError("a causal mask from the bottom right")
    GD, GE, O = len(w_q), len(w_v), len(w_o)
    layer = keras.layers.MultiHeadAttention(heads, GD // heads, value_dim=GE // heads, output_shape=O)
    built(layer, x, context)
    zeros = x.new_zeros
    weights = {"query/kernel": w_q.T, "key/kernel": w_k.T, "value/kernel": w_v.T, "attention_output/kernel": w_o.T,
               "query/bias": zeros(GD) if b_q is None else b_q, "key/bias": zeros(GD),
               "value/bias": zeros(GE) if b_v is None else b_v,
               "attention_output/bias": zeros(O) if b_o is None else b_o}
    if mask is not None:
        N, T, S = len(x), x.shape[1], context.shape[1]
        mask = mask.broadcast_to(N, mask.shape[1], T, S)
        if mask.shape[1] > 1:
            raise NotImplementedError("another mask for every head")
        mask = mask[:, 0]
    return called(layer, weights, x, context, attention_mask=mask, use_causal_mask=causal is not None)


@entry("keras.layers.GroupQueryAttention", "grouped_query", "projections that hand q, k and v through; features of "
       "values filled up to those of keys, or the other way round")
def grouped(q, k, v, *, mask=None):
    (N, Gq, T, D), (_, G, S, E) = q.shape, v.shape
    more, factor = D, 1
    while more < E:
        more, factor = 4 * more, 2 * factor
    dim = Gq * more

    def flat(a):
        a = torch.nn.functional.pad(a, (0, more - a.shape[-1]))
        a = a.transpose(1, 2).reshape(N, a.shape[2], -1)
        return torch.nn.functional.pad(a, (0, dim - a.shape[-1]))

    layer = keras.layers.GroupQueryAttention(more, Gq, G, use_bias=False)
    q, k, v = factor * flat(q), flat(k), flat(v)
    built(layer, q, v, k)
    eye = torch.eye(dim, dtype=q.dtype)
    some = eye[:, :G * more]
    if mask is not None:
        mask = mask.broadcast_to(N, Gq, T, S)
    y = called(layer, {"query/kernel": eye, "key/kernel": some, "value/kernel": some, "attention_output/kernel": eye},
               q, v, k, attention_mask=mask)
    return y.reshape(N, T, Gq, more).transpose(1, 2)[..., :E]


@entry("keras.layers.GroupQueryAttention, no empty rows", "grouped_query", "the same; not called where a query has no "
       "key left")
def grouped_keys(q, k, v, *, mask=None):
    if mask is not None and not mask.any(-1).all():
        raise NotImplementedError("a query with no key left")
    return grouped(q, k, v, mask=mask)


@entry("keras.layers.AdditiveAttention", "additive", "has no projections: done before it; its va is called scale; one "
       "axis of batch")
def additive(q, k, v, wa, ua, va, b=None):
    if q.ndim != 3:
        raise NotImplementedError("one axis before the tokens")
    q, k = q @ wa.T + (0 if b is None else b), k @ ua.T
    layer = built(keras.layers.AdditiveAttention(), [q, v, k])
    return called(layer, {"scale": va}, [q, v, k])


@entry("keras.layers.Attention", "attention", "has no scale: q is scaled before it; has one axis of batch: all in one")
def attention(q, k, v, *, scale=None, causal=None):
    if causal == "bottom_right":
        raise NotImplementedError("a causal mask from the bottom right")
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    lead, (T, D), (S, E) = q.shape[:-2], q.shape[-2:], v.shape[-2:]
    q, k, v = (q * scale).reshape(-1, T, D), k.reshape(-1, S, D), v.reshape(-1, S, E)
    layer = built(keras.layers.Attention(), [q, v, k])
    return called(layer, {}, [q, v, k], use_causal_mask=causal is not None).reshape(*lead, T, E)


@entry("keras.layers.LSTMCell", "lstm_cell", "kernels transposed; one bias: the sum of the two")
def lstm(x, h, c, wx, wh, bx, bh):
    layer = built(keras.layers.LSTMCell(wh.shape[1]), x, [h, c])
    return called(layer, {"recurrent_kernel": wh.T, "kernel": wx.T, "bias": bx + bh}, x, [h, c])[1]


@entry("keras.layers.GRUCell", "gru_cell", "kernels transposed; blocks in the order z, r, n")
def gru(x, h, wx, wh, bx, bh):
    order = torch.arange(len(wx)).reshape(3, -1)[[1, 0, 2]].ravel()
    layer = built(keras.layers.GRUCell(wh.shape[1]), x, [h])
    return called(layer, {"recurrent_kernel": wh[order].T, "kernel": wx[order].T,
                          "bias": torch.stack([bx[order], bh[order]])}, x, [h])[0]


@entry("keras.layers.LayerNormalization", "layernorm")
def layernorm(x, g, b, *, eps=1e-5):
    layer = built(keras.layers.LayerNormalization(epsilon=eps), x)
    return called(layer, {"gamma": g, "beta": b}, x)


@entry("keras.activations.gelu", "gelu")
def gelu(x, *, approximate="none"):
    return keras.activations.gelu(x, approximate=approximate == "tanh")
