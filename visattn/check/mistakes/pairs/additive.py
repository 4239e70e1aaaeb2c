"""What goes wrong in additive attention."""

import numpy as np

from visattn.check.changes import convention, equal, mistake

MASK = "mask = np.broadcast_to(mask, (*q.shape[:-1], k.shape[-2]))"
Z = "z = (q @ wa.T)[..., :, None, :] + (k @ ua.T)[..., None, :, :]"
H = "h = np.tanh(z if b is None else z + b)"
E = "e = h @ va"
O = "o = weigh(p, v, mask)"
DSOFTMAX = "de, = softmax.backward(dp, softmax.Cache(p, mask, -1)) if k.shape[-2] else (dp,)"
DVA = "dva = (de[..., None] * h).reshape(-1, len(va)).sum(0)"
DZ = "dz = de[..., None] * va * (1 - h * h)"
DB = "db = () if b is None else (da.reshape(-1, len(b)).sum(0),)"
SUMS = "da, dc = dz.sum(-2), dz.sum(-3)"
WRAPPED = """
right_forward, right_backward = forward, backward


def forward(q, k, v, wa, ua, va, b=None, *, mask=None):
    o, cache = right_forward(q, k, v, wa, ua, va, b, mask=mask)
    none = np.zeros(o.shape, bool) if mask is None else ~cache.mask.any(-1, keepdims=True)
    return {o}, cache


def backward(do, cache):
    dq, dk, dv, *rest = right_backward(do, cache)
    none = np.zeros(do.shape, bool) if cache.mask is None else ~cache.mask.any(-1, keepdims=True)
    return dq, dk, {dv}, *rest


def example(rng):"""

CHANGES = [
    mistake("tanh_before_the_sum", f"{Z}\n{H}", f"""
{Z}
h = np.tanh((q @ wa.T)[..., :, None, :]) + np.tanh((k @ ua.T if b is None else k @ ua.T + b)[..., None, :, :])""",
            "tanh is taken of W q and of U k before they are added, and the score falls apart into a part of the query "
            "and a part of the key. It is tanh(W q_t + U k_s + b).", see="A.1.2"),
    mistake("no_tanh", H, "h = z if b is None else z + b",
            "The hidden layer has no tanh: without it what the query adds is the same for all keys, and softmax does "
            "not see it. It is tanh(W q_t + U k_s + b).", see="A.1.2"),
    mistake("relu_for_tanh", H, "h = np.maximum(z if b is None else z + b, 0)",
            "The hidden layer has a ReLU where it should have a tanh.", see="A.1.2"),
    mistake("sigmoid_for_tanh", H, "h = 1 / (1 + np.exp(-(z if b is None else z + b)))",
            "The hidden layer has a sigmoid where it should have a tanh.", see="A.1.2"),
    mistake("bias_forgotten", H, "h = np.tanh(z)", "The bias b of the hidden layer is not added."),
    mistake("bias_outside_tanh", H, "h = np.tanh(z) if b is None else np.tanh(z) + b",
            "The bias is added after tanh, where it is the same for all scores of a row, and softmax does not see it."),
    mistake("no_va", E, "e = h.sum(-1)",
            "The hidden units are added up as they are. The score weighs them: e = vᵀ h.", see="A.1.2"),
    mistake("hidden_units_averaged", E, "e = h @ va / len(va)",
            "The scores are averaged over the hidden units; vᵀ h is a sum.", see="A.1.2"),
    mistake("scaled", E, "e = h @ va * len(va) ** -0.5",
            "The scores are divided by the root of their size. That belongs to dot products; additive attention has no "
            "scale."),
    mistake("diagonal_pairs", Z, """
z = np.broadcast_to((q @ wa.T + k @ ua.T)[..., None, :, :], (*q.shape[:-1], *k.shape[-2:-1], len(wa)))""",
            "W q and U k are added along one axis: query t meets key t alone, and all queries get one alignment. Each "
            "needs an axis of its own, so that every query meets every key."),
    mistake("roles_exchanged", Z, "z = (q @ wa.T)[..., None, :, :] + (k @ ua.T)[..., :, None, :]",
            "Queries stand along the axis of the keys and keys along that of the queries: the scores are transposed."),
    mistake("weights_exchanged", Z, "z = (q @ ua.T)[..., :, None, :] + (k @ wa.T)[..., None, :, :]",
            "W is applied to the keys and U to the queries. It is W q_t + U k_s.", see="A.1.2"),
    mistake("query_left_out", Z, "z = np.zeros_like(q @ wa.T)[..., :, None, :] + (k @ ua.T)[..., None, :, :]",
            "The score does not depend on the query. It is vᵀ tanh(W q_t + U k_s + b).", see="A.1.2"),
    mistake("mask_ignored", "if mask is not None:", "mask = None\nif mask is not None:",
            "The mask makes no difference: forbidden keys, such as padding, take part in every mean."),
    mistake("mask_inverted", MASK, "mask = ~np.broadcast_to(mask, (*q.shape[:-1], k.shape[-2]))",
            "True in the mask is read as: ignore this key. It means: this key may be attended."),
    mistake("mask_transposed", MASK, "mask = np.broadcast_to(mask.swapaxes(-1, -2), (*q.shape[:-1], k.shape[-2]))",
            "The mask is laid over the scores transposed: rows are queries and columns are keys."),
    mistake("keys_as_values", O, "o = weigh(p, k, mask)",
            "The mean is taken of the keys, which in the paper are the values, too. Here they are given apart: o = p "
            "v.",
            see="eq. (5)"),
    mistake("map_transposed", O, "o = weigh(p.swapaxes(-1, -2), v, mask)",
            "The values are weighed by the columns of the map, pᵀ v, which do not sum to 1. It is o = p v.",
            see="eq. (5)"),
    convention("no_projections", Z, "z = q[..., :, None, :] + k[..., None, :, :]",
               "Queries and keys are added as they are: there is no W and no U. Project them before, and it is the "
               "same.",
               by="keras.layers.AdditiveAttention"),
    convention("empty_rows_are_nan", "def example(rng):", WRAPPED.format(
        o="np.where(none, np.nan, o)",
        dv="np.where(none.any(-2, keepdims=True), np.nan, dv)"),
               "A query with no key left gives NaN: softmax divides 0 by 0. Here it gives zeros and zero gradients.",
               by="a softmax written out in torch or jax, over scores filled with -∞,"),

    # backward
    mistake("dv_untransposed", "dv = weigh(p.swapaxes(-1, -2), do, turned)", "dv = weigh(p, do, mask)",
            "dv is p do, and should be pᵀ do: key s collects from all the queries that it gave to."),
    mistake("tanh_derivative_forgotten", DZ, "dz = de[..., None] * va * np.ones_like(h)",
            "The derivative of tanh is missing: dz = dh ⊙ (1 - h²)."),
    mistake("tanh_derivative_unsquared", DZ, "dz = de[..., None] * va * (1 - h)",
            "The derivative of tanh is 1 - h², here it is 1 - h."),
    mistake("sigmoid_derivative", DZ, "dz = de[..., None] * va * h * (1 - h)",
            "The derivative of tanh is 1 - h². h (1 - h) is that of the sigmoid."),
    mistake("va_forgotten_in_dz", DZ, "dz = de[..., None] * (1 - h * h)",
            "The gradient of the hidden layer lacks v: e = vᵀ h, so dh_ts = de_ts v."),
    mistake("dva_of_the_derivative", DVA, "dva = (de[..., None] * (1 - h * h)).reshape(-1, len(va)).sum(0)",
            "dva is made of the derivative of tanh. It is Σ de h, of what v was multiplied by."),
    mistake("dva_averaged", DVA, "dva = (de[..., None] * h).reshape(-1, len(va)).mean(0)",
            "dva is averaged over the pairs. One v serves all of them, and their gradients add."),
    mistake("db_averaged", DB, "db = () if b is None else (da.reshape(-1, len(b)).mean(0),)",
            "db is averaged over queries and batch. One b serves all pairs, and their gradients add."),
    mistake("pairs_averaged", SUMS, "da, dc = dz.mean(-2), dz.mean(-3)",
            "The gradients of W q and U k are averaged over the pairs they met. A query meets every key: its gradients "
            "add."),
    mistake("last_query_only", SUMS, "da, dc = dz.sum(-2), dz[..., -1, :, :]",
            "The gradient of U k is that of the last query: each query overwrites what the one before left. U k is "
            "computed once and used by all, so their gradients add."),
    mistake("sums_exchanged", SUMS, "da, dc = dz.sum(-3), dz.sum(-2)",
            "The sums over queries and over keys are exchanged: a query collects from all keys, a key from all "
            "queries."),

    # as good
    equal("bias_first", f"{Z}\n{H}", """
z = (q @ wa.T if b is None else q @ wa.T + b)[..., :, None, :] + (k @ ua.T)[..., None, :, :]
h = np.tanh(z)"""),
    equal("derivative_in_factors", DZ, "dz = de[..., None] * va * ((1 - h) * (1 + h))"),
    equal("row_sum_from_output", DSOFTMAX, """
dp = dp if mask is None else np.where(mask, dp, 0)
de = p * (dp - (do * weigh(p, v, mask)).sum(-1, keepdims=True))"""),
]


def made(rng, T=3, S=4, D=5, C=6, M=3, V=7, lead=(2,), biased=False):
    """Queries, keys, values and weights; with a bias where it is asked for."""
    q, k, v = rng.normal(size=(*lead, T, D)), rng.normal(size=(*lead, S, C)), rng.normal(size=(*lead, S, V))
    wa, ua = rng.normal(size=(M, D)) / D ** 0.5, rng.normal(size=(M, C)) / C ** 0.5
    return q, k, v, wa, ua, rng.normal(size=M), *([rng.normal(size=M)] if biased else [])


def plain(rng):
    """no bias and no mask: all sizes differ"""
    return made(rng), {}


def biased(rng):
    """a bias in the hidden layer"""
    return made(rng, biased=True), {}


def square(rng):
    """all sizes equal where they can be: what fits only here, transposed or in another's place"""
    return made(rng, 4, 4, 5, 5, 5, 5), {}


def one_query(rng):
    """a single query, as in a decoder step"""
    return made(rng, T=1), {}


def one_key(rng):
    """a single key: its weight is 1, and only the values have a gradient"""
    return made(rng, S=1), {}


def no_batch(rng):
    """no axis before the tokens"""
    return made(rng, lead=()), {}


def more_axes(rng):
    """two axes before the tokens"""
    return made(rng, lead=(2, 2)), {}


def saturated(rng):
    """hidden units near ±1, whose derivative is nearly zero"""
    q, k, *rest = made(rng)
    return (4 * q, 4 * k, *rest), {}


def masked(rng):
    """a mask that leaves every query a key"""
    mask = rng.random(size=(2, 3, 4)) < 0.5
    mask[..., 1] = True
    mask[0, 0, 1], mask[0, 0, 2] = False, True
    return made(rng), {"mask": mask}


def masked_square(rng):
    """a mask over as many queries as keys: rows and columns exchanged"""
    return made(rng, 4, 4), {"mask": np.tril(np.ones((4, 4), bool))}


def padded(rng):
    """keys that are padding, others in every example"""
    return made(rng), {"mask": (np.arange(4) < np.array([[3], [2]]))[:, None]}


def empty_rows(rng):
    """queries with no key left: zeros and zero gradients, or a mean"""
    mask = np.ones((2, 3, 4), bool)
    mask[0, 1] = mask[1, :, 2] = False
    return made(rng), {"mask": mask}


CASES = [plain, biased, square, one_query, one_key, no_batch, more_axes, saturated, masked, masked_square, padded,
         empty_rows]

ALIASES = {"w": "wa", "u": "ua", "bias": "b"}
