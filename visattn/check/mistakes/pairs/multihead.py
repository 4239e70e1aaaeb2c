"""What goes wrong in multi-head attention."""

import numpy as np

from visattn.check.changes import equal, mistake

K = "k, c_k = linear.forward(context, w_k)"
V = "v, c_v = linear.forward(context, w_v, b_v)"
H = "h, c_h = attention.forward(split(q, heads), split(k, heads), split(v, heads), mask=mask, causal=causal)"
Y = "y, c_y = linear.forward(merge(h), w_o, b_o)"
DH = "dq, dk, dv = attention.backward(split(dh, heads), cache.h)"
RETURN = "return dx, dc_k + dc_v, dw_q, dw_k, dw_v, dw_o, *db_q, *db_v, *db_o"
SPLIT_AND_MERGE = '''
def split(x, heads):
"""(N, T, G D) to (N, G, T, D): consecutive features belong to one head."""
N, T, GD = x.shape
return x.reshape(N, T, heads, GD // heads).swapaxes(1, 2)


def merge(h):
"""(N, G, T, D) to (N, T, G D): the heads side by side."""
N, G, T, D = h.shape
return h.swapaxes(1, 2).reshape(N, T, G * D)'''


def split_and_merge(split, merge):
    """Both functions anew: consistent in themselves, with the right gradient of a wrong output."""
    return f"""
def split(x, heads):
    N, T, GD = x.shape
    return {split}


def merge(h):
    N, G, T, D = h.shape
    return {merge}"""


CHANGES = [
    mistake("split_without_transpose", H, """
of_q, of_k, of_v = (x.reshape(len(x), heads, -1, x.shape[2] // heads) for x in (q, k, v))
h, c_h = attention.forward(of_q, of_k, of_v, mask=mask, causal=causal)""",
            "The heads are split by a reshape to (N, G, T, D) alone, which cuts the tokens into G parts. First reshape "
            "to (N, T, G, D), then exchange the axes T and G."),
    mistake("merge_without_transpose", Y, "y, c_y = linear.forward(h.reshape(*q.shape[:2], -1), w_o, b_o)",
            "The heads are merged by a reshape alone: a token gets features of other tokens. Exchange the axes of "
            "heads and tokens first."),
    mistake("split_and_merge_without_transpose", SPLIT_AND_MERGE,
            split_and_merge("x.reshape(N, heads, T, GD // heads)", "h.reshape(N, T, G * D)"),
            "The heads are split and merged by reshapes alone: each head sees a part of the tokens instead of a part "
            "of the features. The axes of tokens and heads have to be exchanged."),
    mistake("heads_interleaved", SPLIT_AND_MERGE,
            split_and_merge("x.reshape(N, T, GD // heads, heads).transpose(0, 3, 1, 2)",
                            "h.transpose(0, 2, 3, 1).reshape(N, T, D * G)"),
            "Head g gets every G-th feature. It owns consecutive ones: reshape to (heads, features), not (features, "
            "heads)."),
    mistake("batch_and_heads_exchanged", Y,
            "y, c_y = linear.forward(merge(h.swapaxes(0, 1).reshape(h.shape)), w_o, b_o)",
            "Batch and heads are folded into one axis in one order and unfolded in the other: examples get heads of "
            "other examples."),
    mistake("scaled_by_all_features", H, H.replace("attention.forward(split(q, heads)",
            "attention.forward(split(q * heads ** -0.5, heads)"),
            "The scores are divided by the root of G·D, all features, and should be divided by √D, those of one head.",
            see="section 3.2.2"),
    mistake("one_head_for_all", H, """
of_q, of_k, of_v = q[:, None], k[:, None], v[:, None]
mask = mask if mask is None else mask[:, :1]
h, c_h = attention.forward(of_q, of_k, of_v, mask=mask, causal=causal)""",
            "There is one attention over all features instead of one for each head: the features are not split.",
            see="section 3.2.2"),
    mistake("mask_of_another_example", H, f"""
import numpy as np
if mask is not None and mask.shape[1] == 1:
    every = np.broadcast_to(mask, (len(x), *mask.shape[1:]))
    mask = np.tile(every, (heads, 1, 1, 1)).reshape(len(x), heads, *mask.shape[2:])
{H}""",
            "The mask is repeated for the heads in the wrong order: examples get the masks of others. With batch and "
            "heads on one axis each mask is repeated G times in a row."),
    mistake("keys_and_values_exchanged", f"{K}\n{V}", f"{K.replace('w_k', 'w_v')}\n{V.replace('w_v', 'w_k')}",
            "Keys are made with W_v and values with W_k: packed weights are cut in another order than they were "
            "joined."),
    mistake("context_ignored", f"{K}\n{V}", f"{K.replace('context', 'x')}\n{V.replace('context', 'x')}",
            "Keys and values are made of x. They should be made of the context: v = c W_vᵀ + b_v."),
    mistake("values_from_x", V, V.replace("context", "x"),
            "The values are made of x, the keys of the context. Both come from the context."),
    mistake("no_output_projection", Y, f"{Y}\ny = merge(h)",
            "The heads are given back side by side: W_o, which mixes them, is missing.", see="section 3.2.2"),
    mistake("output_bias_forgotten", Y, f"{Y}\ny = y if b_o is None else y - b_o",
            "The bias b_o of the output is not added."),
    mistake("value_bias_forgotten", V, f"{V}\nv = v if b_v is None else v - b_v",
            "The bias b_v of the values is not added. Unlike a bias of the keys it does reach the output."),
    mistake("query_bias_forgotten", "q, c_q = linear.forward(x, w_q, b_q)",
            "q, c_q = linear.forward(x, w_q, b_q)\nq = q if b_q is None else q - b_q",
            "The bias b_q of the queries is not added. Unlike a bias of the keys it does reach the output."),
    mistake("dh_split_without_transpose", DH,
            "dq, dk, dv = attention.backward(dh.reshape(len(dh), heads, -1, dh.shape[2] // heads), cache.h)",
            "The gradient of the heads is split by a reshape alone. Merging exchanges two axes, and its gradient "
            "exchanges them back."),
    mistake("dq_merged_without_transpose", "dx, dw_q, *db_q = linear.backward(merge(dq), cache.q)",
            "dx, dw_q, *db_q = linear.backward(dq.reshape(*dy.shape[:2], -1), cache.q)",
            "The gradients of the queries are merged by a reshape alone: exchange the axes of heads and tokens first."),
    mistake("context_gradient_of_values_only", RETURN, RETURN.replace("dc_k + dc_v", "dc_v"),
            "The gradient of the context lacks what comes through the keys: it fed keys and values, and their "
            "gradients add."),
    mistake("context_gradient_of_keys_only", RETURN, RETURN.replace("dc_k + dc_v", "dc_k"),
            "The gradient of the context lacks what comes through the values: it fed keys and values, and their "
            "gradients add."),
    equal("heads_added", Y, """
y, c_y = linear.forward(merge(h), w_o, b_o)
E = w_o.shape[1] // heads
y = sum(h[:, g] @ w_o[:, g * E:(g + 1) * E].T for g in range(heads))
y = y if b_o is None else y + b_o"""),
]


def made(rng, N=2, T=3, S=4, I=5, C=6, G=2, D=3, E=4, O=7, biased=False):
    """x, context and weights; with biases where they are asked for."""
    x, context = rng.normal(size=(N, T, I)), rng.normal(size=(N, S, C))
    weights = [rng.normal(size=s) / s[1] ** 0.5 for s in ((G * D, I), (G * D, C), (G * E, C), (O, G * E))]
    return x, context, *weights, *([rng.normal(size=n) for n in (G * D, G * E, O)] if biased else [])


def plain(rng):
    """no mask and no biases, all sizes different: what is split and merged along which axis"""
    return made(rng), {"heads": 2}


def biased(rng):
    """biases that are not zero, as they are at the start: one that is missing"""
    return made(rng, biased=True), {"heads": 2}


def square(rng):
    """all sizes equal where they can be: weights or inputs in each other's place"""
    return made(rng, T=4, S=4, I=6, C=6, G=2, D=3, E=3, O=6), {"heads": 2}


def three_heads(rng):
    """an odd number of heads, neither of the batch nor of the tokens: orders of axes"""
    return made(rng, N=2, T=4, S=5, G=3, D=2, E=2), {"heads": 3}


def one_head(rng):
    """a single head: plain attention between projections"""
    return made(rng, G=1), {"heads": 1}


def heads_of_one_feature(rng):
    """as many heads as features: a scale from the wrong size"""
    return made(rng, G=4, D=1, E=1), {"heads": 4}


def self_attention(rng):
    """x is its own context"""
    x, _, *weights = made(rng, T=4, I=6, C=6)
    return (x, x.copy(), *weights), {"heads": 2}


def causal(rng):
    """a causal mask, as many queries as keys"""
    return made(rng, T=4, S=4), {"heads": 2, "causal": "top_left"}


def padded(rng):
    """contexts of different lengths: masks of (batch, 1, 1, keys), which must not go to another example or head"""
    return made(rng, S=5), {"heads": 2, "mask": (np.arange(5) < np.array([[2], [4]]))[:, None, None]}


def padded_square(rng):
    """contexts of different lengths, as many queries as keys: a mask on the wrong axis"""
    return made(rng, T=5, S=5), {"heads": 2, "mask": (np.arange(5) < np.array([[2], [4]]))[:, None, None]}


def masked_by_head(rng):
    """another mask for every head, and one query of one head with no key"""
    mask = rng.random(size=(2, 2, 3, 4)) < 0.6
    mask[..., 0] = True
    mask[1, 1, 2] = False
    return made(rng), {"heads": 2, "mask": mask}


CASES = [plain, biased, square, three_heads, one_head, heads_of_one_feature, self_attention, causal, padded,
         padded_square, masked_by_head]

ALIASES = {
    "is_causal": ("causal", {"top_left": True, None: False}),
    "query": "x", "tokens": "x", "memory": "context", "kv": "context", "num_attention_heads": "heads",
    "wq": "w_q", "wk": "w_k", "wv": "w_v", "wo": "w_o", "bq": "b_q", "bv": "b_v", "bo": "b_o",
}
