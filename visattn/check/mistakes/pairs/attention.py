"""What goes wrong in attention."""

import numpy as np

from visattn.check.changes import convention, equal, mistake

SCALE = "scale = q.shape[-1] ** -0.5 if scale is None else scale"
SCORES = "a = (scale * q) @ k.swapaxes(-1, -2)"
CAPPED = "a = softcap * u"
MAP = "p, _ = softmax.forward(a if bias is None else a + bias, mask=allowed) if a.shape[-1] else (a, None)"
MEAN = "o = weigh(p, v, allowed)"
RETURN = "return o, Cache(q, k, v, bias, u, p, allowed, scale)"
MASK = "parts = [] if mask is None else [mask]"
CORNER = 'parts.append(s <= (t if causal == "top_left" else t + S - T))'
DSOFTMAX = "da, = softmax.backward(dp, softmax.Cache(p, mask, -1))"
DBIAS = "dbias = () if bias is None else (unbroadcast(da, bias.shape),)"
DCAP = "da = da * (1 - u**2)"
DQ = "dq = scale * weigh(da, k, mask)"
DK = "dk = scale * weigh(da.swapaxes(-1, -2), q, turned)"


def filled(fill, given="allowed", kept="None"):
    """The scores of forbidden pairs get another value than -∞; no gradient passes through what was replaced.

    given   which pairs are allowed, in this respect
    kept    which are still masked in the right way
    """
    return f"""
given = {given}
if given is not None:
    u = np.where(given, np.zeros_like(a) if u is None else u, 1)
    a, allowed = np.where(given, a if bias is None else a + bias, {fill}), {kept}
    p, _ = softmax.forward(a, mask=allowed)
else:
    p, _ = softmax.forward(a if bias is None else a + bias, mask=allowed)"""


BY_MASK = {"given": "mask", "kept": "_allowed(None, bias, causal, a)"}
BY_CAUSAL = {"given": "None if causal is None else _allowed(None, None, causal, a)",
             "kept": "_allowed(mask, bias, None, a)"}
WRAPPED = """
right_forward, right_backward = forward, backward


def forward(q, k, v, bias=None, **options):
    {forward}


def backward(do, cache):
    {backward}


def example(rng):"""


CHANGES = [
    # the scores
    mistake("unscaled", SCALE, "scale = 1.0 if scale is None else scale",
            "The scores are not divided by √D: they grow with the number of features, and softmax picks single keys.",
            see="eq. (1), lesson 1"),
    mistake("divided_by_d", SCALE, "scale = 1 / q.shape[-1] if scale is None else scale",
            "The scores are divided by D instead of √D: all weights come out nearly equal.", see="eq. (1), lesson 1"),
    mistake("multiplied_by_root_d", SCALE, "scale = q.shape[-1] ** 0.5 if scale is None else scale",
            "The scores are multiplied by √D where they should be divided by it: softmax picks single keys.",
            see="eq. (1), lesson 1"),
    mistake("scale_of_values", SCALE, "scale = v.shape[-1] ** -0.5 if scale is None else scale",
            "The scale is taken from E, the features of a value. It is 1/√D, with D the features of a query and a key; "
            "where E = D nobody sees the difference.", see="eq. (1), lesson 1"),
    mistake("scale_of_keys", SCALE, "scale = k.shape[-2] ** -0.5 if scale is None else scale",
            "The scale is taken from S, how many keys there are. It is 1/√D, with D the features of one key.",
            see="eq. (1), lesson 1"),
    mistake("scaled_twice", SCALE, "scale = (q.shape[-1] ** -0.5 if scale is None else scale) ** 2",
            "The scores are scaled twice, once on the queries (or the keys) and once more afterwards: q kᵀ is divided "
            "by D in all.", see="eq. (1), lesson 1"),
    mistake("scale_ignored", SCALE, "scale = q.shape[-1] ** -0.5",
            "The scale that is given makes no difference: 1/√D is used anyway."),
    mistake("scale_on_top", SCALE, "scale = q.shape[-1] ** -0.5 * (1 if scale is None else scale)",
            "The scale that is given comes on top of 1/√D. It is there to replace it."),
    mistake("roles_swapped", SCORES, "a = (scale * k) @ q.swapaxes(-1, -2)",
            "The scores are k qᵀ, transposed: row t is what the queries say of key t. They are a = q kᵀ / √D.",
            see="eq. (1), lesson 1"),

    # the cap and the bias
    mistake("cap_ignored", f"u = np.tanh(a / softcap)\n{CAPPED}", "pass",
            "The cap makes no difference: the scores should become c tanh(a / c)."),
    mistake("cap_not_multiplied", CAPPED, "a = u",
            "The capped scores end at ±1: after tanh(a / c) they have to be multiplied by c."),
    mistake("cap_not_divided", "u = np.tanh(a / softcap)", "u = np.tanh(a)",
            "The scores go into tanh as they are: c tanh(a / c) divides them by c first, so that small ones stay."),
    mistake("cap_after_mask", MAP, """
if u is not None and allowed is not None:
    u, a, allowed = np.where(allowed, u, -1), np.where(allowed, a, -softcap), None
p, _ = softmax.forward(a if bias is None else a + bias, mask=allowed)""",
            "The scores are capped after they were masked: -∞ becomes -c, and forbidden keys get weight. "
            "The cap comes first, the mask last."),
    mistake("bias_inside_cap", f"""
u = None
if softcap is not None:
u = np.tanh(a / softcap)
{CAPPED}
allowed = _allowed(mask, bias, causal, a)
{MAP}""", """
u = None
if softcap is not None:
    u = np.tanh((a if bias is None else a + bias) / softcap)
    a = softcap * u
allowed = _allowed(mask, bias, causal, a)
p, _ = softmax.forward(a if bias is None or u is not None else a + bias, mask=allowed)""",
            "The bias is added before the cap, which then bounds it, too. The cap is on q kᵀ / √D, and the bias "
            "comes after."),
    mistake("bias_ignored", MAP, "p, _ = softmax.forward(a, mask=allowed)",
            "The bias makes no difference: it should be added to the scores before the softmax."),
    mistake("bias_scaled", MAP, "p, _ = softmax.forward(a if bias is None else a + scale * bias, mask=allowed)",
            "The bias is multiplied by 1/√D together with q kᵀ. It is added after the scaling, as it is."),
    mistake("bias_multiplied", MAP, "p, _ = softmax.forward(a if bias is None else a * bias, mask=allowed)",
            "The scores are multiplied by the bias; it is added."),

    # who may attend to whom
    mistake("mask_ignored", MASK, "parts = []",
            "The mask makes no difference: forbidden keys, such as padding, take part in every mean.", see="lesson 1"),
    mistake("mask_transposed", MASK, "parts = [] if mask is None else [mask.swapaxes(-1, -2)]",
            "The mask is laid over the scores transposed: it hides queries where it should hide keys. Rows are queries "
            "and columns are keys: a mask of padded keys is (…, 1, S)."),
    mistake("mask_lost_under_causal", MASK, "parts = [] if mask is None or causal is not None else [mask]",
            "Under the causal mask the other mask is lost: a query may attend only where both allow it."),
    mistake("causal_or_mask", "return reduce(np.logical_and, parts) if parts else None",
            "return reduce(np.logical_or, parts) if parts else None",
            "The causal mask and the other are joined by or: a key is open where either allows it. Both have to."),
    mistake("mask_added", MAP, """
a = a if bias is None else a + bias
if mask is not None:
    a, allowed = a + mask, _allowed(None, bias, causal, a)
p, _ = softmax.forward(a, mask=allowed)""",
            "The boolean mask is added to the scores: allowed keys gain 1, and forbidden ones stay in. Forbidden "
            "scores have to become -∞.", see="lesson 1"),
    mistake("mask_multiplied", MAP, filled(0.0, **BY_MASK),
            "The scores are multiplied by the mask, or filled with 1e-9 where -1e9 was meant: a forbidden score "
            "becomes 0 and keeps the weight e⁰. It has to become -∞.", see="lesson 1"),
    mistake("causal_multiplied", MAP, filled(0.0, **BY_CAUSAL),
            "The scores are multiplied by the lower triangle: a score of the future becomes 0 and keeps the weight e⁰. "
            "It has to become -∞.", see="lesson 1"),
    mistake("filled_with_minus_10", MAP, filled(-10.0),
            "Forbidden scores are filled with -10, which is not small enough: they keep weight where other scores are "
            "small, and win where they are below -10. It has to be -∞."),
    mistake("filled_with_minus_100", MAP, filled(-100.0),
            "Forbidden scores are filled with -100, which large scores reach: where the others are below, the "
            "forbidden key wins. It has to be -∞."),
    mistake("causal_ignored", "if causal is not None:", "if False:",
            "The causal mask makes no difference: queries see the future.", see="lesson 1"),
    mistake("causal_strict", CORNER, CORNER.replace("<=", "<"),
            "Query t does not see key t: the causal mask leaves out the diagonal. It is s ≤ t.", see="lesson 1"),
    mistake("causal_one_ahead", CORNER, CORNER.replace("s <=", "s - 1 <="),
            "Query t sees key t + 1: the causal mask is off by one. It is s ≤ t.", see="lesson 1"),
    mistake("causal_inverted", CORNER, CORNER.replace("<=", ">="),
            "The upper triangle is kept, not the lower one: queries see the future, and nothing of the past.",
            see="lesson 1"),
    convention("true_is_ignored", MASK, "parts = [] if mask is None else [~mask]",
               "True in the mask means: ignore this key. Here it means: this key may be attended.",
               by="torch.nn.MultiheadAttention"),
    convention("causal_from_bottom_right", CORNER, "parts.append(s <= t + S - T)",
               "The causal mask is aligned to the bottom right corner: the last query sees the last key. Where there "
               "are as many queries as keys it is the same.",
               by="FlashAttention since 2.1, torch's causal_lower_right", see="lesson 1"),
    convention("causal_from_top_left", CORNER, "parts.append(s <= t)",
               "The causal mask is aligned to the top left corner: query t sees the keys up to t. Where there are as "
               "many queries as keys it is the same.",
               by="torch's is_causal, keras, jax", see="lesson 1"),
    convention("empty_rows_are_nan", "def example(rng):", WRAPPED.format(forward="""
    o, cache = right_forward(q, k, v, bias, **options)
    none = False if cache.mask is None else ~np.broadcast_to(cache.mask, cache.p.shape).any(-1, keepdims=True)
    return np.where(none, np.nan, o), cache""".strip(), backward="""
    dq, dk, dv, *dbias = right_backward(do, cache)
    none = False if cache.mask is None else ~np.broadcast_to(cache.mask, cache.p.shape).any(-1, keepdims=True)
    none = none if cache.mask is None else none.any(-2, keepdims=True)
    return dq, dk, np.where(none, np.nan, dv), *dbias
""".strip()),
               "A query with no key left gives NaN: softmax divides 0 by 0. Here it gives zeros and zero gradients.",
               by="a softmax written out in torch or jax, over scores filled with -∞,", see="lesson 1"),
    convention("empty_rows_are_nan_everywhere", MAP, f"""
{MAP}
if allowed is not None:
    p, allowed = np.where(np.broadcast_to(allowed, a.shape).any(-1, keepdims=True), p, np.nan), None""",
               "A query with no key left gives NaN, and NaN gradients to all queries and keys that it meets: softmax "
               "divides 0 by 0. Here it gives zeros and zero gradients.",
               by="a softmax written out in torch or jax, with -∞ added to the scores,", see="lesson 1"),
    convention("empty_rows_are_means_with_gradients", MAP, """
if allowed is not None:
    none = ~np.broadcast_to(allowed, a.shape).any(-1, keepdims=True)
    a = np.where(none, 0, a if bias is None else a + bias)
    allowed = allowed | none
    p, _ = softmax.forward(a, mask=allowed)
else:
    p, _ = softmax.forward(a if bias is None else a + bias)""",
               "A query with no key left gives the mean of all values, and passes gradients: one large finite number "
               "is added to all its scores. Here it gives zeros and zero gradients.",
               by="transformers, keras on torch", see="lesson 1"),

    # the map and the mean
    mistake("map_transposed", MEAN, "o = weigh(p.swapaxes(-1, -2), v, allowed)",
            "The values are weighed by the columns of the map, pᵀ v: each key's weights, which do not sum to 1. "
            "The mean of a query is o = p v.", see="lesson 1"),
    mistake("keys_as_values", MEAN, "o = weigh(p, k, allowed)",
            "The mean is taken of the keys: o = p k. It should be taken of the values: o = p v.", see="lesson 1"),
    mistake("queries_as_values", MEAN, "o = weigh(p, q, allowed)",
            "The mean is taken of the queries: o = p q. It should be taken of the values: o = p v.", see="lesson 1"),
    convention("heads_after_tokens", "def example(rng):", WRAPPED.format(forward="""
    turned = (x.swapaxes(-3, -2) if x.ndim > 3 else x for x in (q, k, v))
    o, cache = right_forward(*turned, bias, **options)
    return o.swapaxes(-3, -2) if q.ndim > 3 else o, cache""".strip(), backward="""
    if do.ndim < 4:
        return right_backward(do, cache)
    dq, dk, dv, *dbias = right_backward(do.swapaxes(-3, -2), cache)
    return dq.swapaxes(-3, -2), dk.swapaxes(-3, -2), dv.swapaxes(-3, -2), *dbias""".strip()),
               "The arrays are read as (batch, tokens, heads, features), so that heads attend to heads. Here tokens "
               "are the last axis but one: (batch, heads, tokens, features).",
               by="jax.nn.dot_product_attention, FlashAttention"),

    # backward
    mistake("backward_forgets_causal", RETURN, f"""
if causal is not None:
    allowed = _allowed(mask, bias, None, a)
    p, _ = softmax.forward(a if bias is None else a + bias, mask=allowed)
{RETURN}""",
            "Forward is causal and backward is not: the map is computed anew without the mask."),
    mistake("backward_from_other_corner", RETURN, f"""
if causal is not None:
    allowed = _allowed(mask, bias, "bottom_right" if causal == "top_left" else "top_left", a)
    p, _ = softmax.forward(a if bias is None else a + bias, mask=allowed)
{RETURN}""",
            "Forward and backward align the causal mask to different corners: nobody sees it where T = S."),
    mistake("backward_forgets_mask", RETURN, f"""
if mask is not None:
    allowed = _allowed(None, bias, causal, a)
    p, _ = softmax.forward(a if bias is None else a + bias, mask=allowed)
{RETURN}""",
            "Forward applies the mask and backward does not: the map is computed anew without it."),
    mistake("dv_untransposed", "dv = weigh(p.swapaxes(-1, -2), do, turned)", "dv = weigh(p, do, mask)",
            "dv is p do, and should be pᵀ do: key s collects from all the queries that it gave to. It fits only where "
            "T = S.", see="lesson 1"),
    mistake("dq_unscaled", DQ, "dq = weigh(da, k, mask)",
            "dq lacks the factor 1/√D: a = q kᵀ / √D, so dq = da k / √D.", see="lesson 1"),
    mistake("dk_unscaled", DK, "dk = weigh(da.swapaxes(-1, -2), q, turned)",
            "dk lacks the factor 1/√D: a = q kᵀ / √D, so dk = daᵀ q / √D.", see="lesson 1"),
    mistake("dq_scaled_twice", DQ, "dq = scale ** 2 * weigh(da, k, mask)",
            "dq is scaled twice: the factor 1/√D belongs there once.", see="lesson 1"),
    mistake("dk_scaled_twice", DK, "dk = scale ** 2 * weigh(da.swapaxes(-1, -2), q, turned)",
            "dk is scaled twice: the factor 1/√D belongs there once. Queries that are kept scaled bring it along.",
            see="lesson 1"),
    mistake("gradients_unscaled", f"{DQ}\n{DK}",
            "dq = weigh(da, k, mask)\ndk = weigh(da.swapaxes(-1, -2), q, turned)",
            "dq and dk lack the factor 1/√D: the scores were divided by √D, and so are their gradients.",
            see="lesson 1"),
    mistake("dq_from_queries", DQ, "dq = scale * weigh(da, q, mask)",
            "dq is made of q, and should be made of k: the scores are q kᵀ, so dq = da k / √D.", see="lesson 1"),
    mistake("dk_from_keys", DK, "dk = scale * weigh(da.swapaxes(-1, -2), k, turned)",
            "dk is made of k, and should be made of q: the scores are q kᵀ, so dk = daᵀ q / √D.", see="lesson 1"),
    mistake("dk_untransposed", DK, "dk = scale * weigh(da, q, mask)",
            "dk is da q, and should be daᵀ q: key s collects from the queries, the rows of da. It fits only where "
            "T = S.", see="lesson 1"),
    mistake("dq_dk_exchanged", "return dq, dk, dv, *dbias", "return dk, dq, dv, *dbias",
            "dq and dk are given back in each other's place."),
    mistake("dbias_not_summed", DBIAS, "dbias = () if bias is None else (da,)",
            "dbias has the shape of the scores: a bias that was broadcast served many pairs, and their gradients add."),
    mistake("dbias_averaged", DBIAS,
            "dbias = () if bias is None else (unbroadcast(da, bias.shape) * (bias.size / da.size),)",
            "dbias is averaged over the axes along which the bias was broadcast. A number used many times gets the sum "
            "of the gradients."),
    mistake("dbias_scaled", DBIAS, "dbias = () if bias is None else (scale * unbroadcast(da, bias.shape),)",
            "dbias is multiplied by 1/√D. The bias is added after the scaling: dbias = da."),
    mistake("dbias_after_cap", f"{DBIAS}\nif u is not None:\n{DCAP}", f"""
if u is not None:
    {DCAP}
{DBIAS}""",
            "dbias holds the derivative of the cap. The bias is added to capped scores: dbias = da, before the factor "
            "1 - u²."),
    mistake("cap_derivative_forgotten", DCAP, "pass",
            "The derivative of the cap is missing: a = c tanh(a′ / c), so da′ = da ⊙ (1 - u²) with u = tanh(a′ / c)."),
    mistake("cap_derivative_unsquared", DCAP, "da = da * (1 - u)",
            "The derivative of tanh is 1 - u², here it is 1 - u."),

    # as good
    equal("scale_on_scores", SCORES, "a = scale * (q @ k.swapaxes(-1, -2))"),
    equal("scale_on_keys", SCORES, "a = q @ (scale * k).swapaxes(-1, -2)"),
    equal("scale_on_both", SCORES, """
root = abs(scale) ** 0.5
a = (root * q) @ ((root if scale >= 0 else -root) * k).swapaxes(-1, -2)"""),
    equal("normalised_last", MEAN, """
if a.shape[-1]:
    a = a if bias is None else a + bias
    a = a if allowed is None else np.where(allowed, a, -np.inf)
    some = True if allowed is None else np.broadcast_to(allowed, a.shape).any(-1, keepdims=True)
    e = np.exp(a - np.where(some, a.max(-1, keepdims=True), 0))
    o = weigh(e, v, allowed) / np.where(some, e.sum(-1, keepdims=True), 1)
else:
    o = weigh(p, v, allowed)"""),
    equal("map_from_its_normaliser", RETURN, f"""
if a.shape[-1]:
    a = a if bias is None else a + bias
    a = a if allowed is None else np.where(allowed, a, -np.inf)
    some = True if allowed is None else np.broadcast_to(allowed, a.shape).any(-1, keepdims=True)
    top = np.where(some, a.max(-1, keepdims=True), 0)
    lse = top + np.log(np.where(some, np.exp(a - top).sum(-1, keepdims=True), 1))
    p = np.exp(a - lse)
{RETURN}"""),
    equal("row_sum_from_output", DSOFTMAX, """
dp = dp if mask is None else np.where(mask, dp, 0)
da = p * (dp - (do * weigh(p, v, mask)).sum(-1, keepdims=True))"""),
    equal("scale_on_da", f"{DQ}\n{DK}", """
dq = weigh(scale * da, k, mask)
dk = weigh((scale * da).swapaxes(-1, -2), q, turned)"""),
    equal("scale_on_inputs", f"{DQ}\n{DK}", """
dq = weigh(da, scale * k, mask)
dk = weigh(da.swapaxes(-1, -2), scale * q, turned)"""),
]


def qkv(rng, T=4, S=5, D=6, E=7, lead=(2, 2)):
    """Queries, keys and values from N(0, 1)."""
    return rng.normal(size=(*lead, T, D)), rng.normal(size=(*lead, S, D)), rng.normal(size=(*lead, S, E))


def some_open(rng, shape):
    """A mask at random in which every row has a key left, and every column a query."""
    mask = rng.random(shape) < 0.5
    t = np.arange(max(shape[-2:]))
    mask[..., t % shape[-2], t % shape[-1]] = True
    return mask


def plain(rng):
    """odd sizes without mask and bias: the scale, the axes, what is multiplied by what"""
    return qkv(rng, 5, 3, 7, 11), {}


def plain_square(rng):
    """as many queries as keys, E = D: what fits only here, transposed products or one tensor in the place of another"""
    return qkv(rng, 4, 4, 5, 5), {}


def one_head(rng):
    """no axis before the tokens: axes counted from the front"""
    return qkv(rng, 3, 5, 4, 6, lead=()), {}


def more_axes(rng):
    """three axes before the tokens"""
    return qkv(rng, 3, 4, 5, 2, lead=(2, 1, 3)), {}


def one_query(rng):
    """a single query"""
    return qkv(rng, T=1), {}


def one_key(rng):
    """a single key: its weight is 1, and no gradient reaches q and k"""
    return qkv(rng, S=1), {}


def scaled(rng):
    """a scale that is not 1/√D"""
    return qkv(rng, 3, 4, 5, 6), {"scale": 0.25}


def causal_square(rng):
    """a causal mask over as many queries as keys: the diagonal and the direction"""
    return qkv(rng, 5, 5, 4, 6), {"causal": "top_left"}


def causal_wide(rng):
    """more keys than queries under a causal mask: which corner it is aligned to"""
    return qkv(rng, 3, 5, 4, 6), {"causal": "top_left"}


def causal_tall(rng):
    """more queries than keys under a causal mask: which corner it is aligned to"""
    return qkv(rng, 5, 3, 4, 6), {"causal": "top_left"}


def causal_square_bottom_right(rng):
    """a causal mask from the bottom right over as many queries as keys"""
    return qkv(rng, 4, 4, 3, 5), {"causal": "bottom_right"}


def causal_wide_bottom_right(rng):
    """more keys than queries under a causal mask from the bottom right"""
    return qkv(rng, 3, 5, 4, 6), {"causal": "bottom_right"}


def causal_tall_bottom_right(rng):
    """more queries than keys under a causal mask from the bottom right: the first queries see nothing"""
    return qkv(rng, 5, 3, 4, 6), {"causal": "bottom_right"}


def masked(rng):
    """a mask that leaves every query a key: its meaning, and what stands in for a forbidden score"""
    return qkv(rng), {"mask": some_open(rng, (2, 2, 4, 5))}


def masked_square(rng):
    """a mask over as many queries as keys: rows and columns exchanged"""
    return qkv(rng, 4, 4, 3, 5), {"mask": some_open(rng, (4, 4)) & ~np.eye(4, k=-2, dtype=bool)}


def padded(rng):
    """keys that are padding, others in every sample: masks of (batch, 1, 1, keys)"""
    return qkv(rng, 5, 5, 4, 3), {"mask": (np.arange(5) < np.array([[3], [4]]))[:, None, None]}


def masked_loud(rng):
    """forbidden scores far above the others: a mask that is not -∞ loses"""
    q, k, v = qkv(rng, 3, 4, 4, 5)
    mask = np.array([True, False, True, True])
    k[..., 1, :], q[..., 0] = 0, 4
    k[..., 0] = np.where(mask, k[..., 0], 48)
    return (q, k - np.where(mask, 16, 0)[:, None] * np.eye(4)[0], v), {"mask": np.broadcast_to(mask, (3, 4)).copy()}


def masked_below(rng):
    """allowed scores far below zero: a finite number in the place of -∞ wins"""
    q, k, v = qkv(rng, 3, 4, 4, 5)
    q[..., 0], k[..., 0] = 4, -32
    return (q, k, v), {"mask": some_open(rng, (3, 4)), "scale": 1.0}


def empty_rows(rng):
    """queries with no key left: zeros and zero gradients, or NaN, or a mean"""
    mask = some_open(rng, (2, 1, 4, 5))
    mask[0, :, 1] = mask[1, :, 3] = False
    return qkv(rng), {"mask": mask}


def causal_masked(rng):
    """a causal mask and another one: both have to allow"""
    mask = np.ones((2, 1, 1, 5), bool)
    mask[0, ..., 3:] = mask[1, ..., 2] = False
    return qkv(rng, 5, 5, 3, 4), {"mask": mask, "causal": "top_left"}


def biased(rng):
    """a bias for every pair"""
    return (*qkv(rng), rng.normal(size=(2, 2, 4, 5))), {}


def biased_broadcast(rng):
    """a bias that serves several heads and queries: its gradient is a sum"""
    return (*qkv(rng), rng.normal(size=(2, 1, 5))), {}


def biased_by_infinity(rng):
    """a bias of -∞ hides a key"""
    bias = np.where(some_open(rng, (4, 5)), rng.normal(size=(4, 5)), -np.inf)
    return (*qkv(rng), bias), {}


def capped(rng):
    """a soft cap on scores that reach it"""
    return qkv(rng, 3, 4, 5, 6), {"softcap": 1.5, "scale": 1.0}


def capped_masked(rng):
    """a soft cap and a mask: the cap comes first"""
    return qkv(rng, 3, 4, 5, 6), {"softcap": 1.5, "mask": some_open(rng, (3, 4))}


def capped_biased(rng):
    """a soft cap and a bias: the bias is not capped"""
    return (*qkv(rng, 3, 4, 5, 6), rng.normal(size=(2, 3, 4))), {"softcap": 1.5}


def overflow(rng, precision):
    """scores just above the logarithm of the largest number: softmax without its maximum"""
    q, k, v = qkv(rng, 3, 4, 2, 5)
    q[..., 0], k[..., 0] = 1, 1.05 * precision.log_max + rng.uniform(0, 1, size=k.shape[:-1])
    return (q, k, v), {"scale": 1.0}


def rising(rng):
    """every key beats those before it: a running maximum, and what was summed under the one before"""
    q, k, v = qkv(rng, 3, 9, 4, 5)
    q[..., 0], k[..., 0] = 1, 2 * np.arange(9)
    return (q, k, v), {}


def peaky(rng):
    """large scores: nearly all weight on one key, small gradients"""
    q, k, v = qkv(rng)
    return (4 * q, 4 * k, v), {}


def flat_offset(rng):
    """nearly equal weights and values around 8: sums in low precision, differences of large numbers"""
    q, k, v = qkv(rng, 4, 16, 8, 3)
    return (q / 16, k / 16, v + 8), {}


def many_keys(rng):
    """more keys than a tile holds, and not a multiple of it"""
    return qkv(rng, 2, 71, 3, 4, lead=(1,)), {}


CASES = [plain, plain_square, one_head, more_axes, one_query, one_key, scaled,
         causal_square, causal_wide, causal_tall,
         causal_square_bottom_right, causal_wide_bottom_right, causal_tall_bottom_right,
         masked, masked_square, padded, masked_loud, masked_below, empty_rows, causal_masked,
         biased, biased_broadcast, biased_by_infinity, capped, capped_masked, capped_biased,
         overflow, rising, peaky, flat_offset, many_keys]

# Other names for the arguments, beside those everybody uses (visattn/check/names.py); of an option, its values, too.
ALIASES = {"is_causal": ("causal", {"top_left": True, None: False})}
