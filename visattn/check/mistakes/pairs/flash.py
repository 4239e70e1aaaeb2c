"""What goes wrong in FlashAttention."""

import numpy as np

from visattn.check.changes import equal, mistake

SCALE = "scale = q.shape[-1] ** -0.5 if scale is None else scale"
MAXIMUM = "m_old, m = m, np.maximum(m, a.max(-1, keepdims=True))"
SHIFT = "a -= or_zero(m)"
SHRINK = "shrink = np.exp(m_old - or_zero(m))"
SUM = "l = shrink * l + p @ ones[cols]"
GATHER = "u = shrink * u + weigh(p, part(v, head, q)[cols], allowed)"
NOTHING = "l = np.where(m == -np.inf, 1, l)"
DIVIDE = "o[head][rows] = u / l"
LSE = "lse[head][rows] = (m + np.log(l))[:, 0]"
RETURN = "return (o, lse), cache"
DELTA = "delta = (do * o).sum(-1) - dlse"
AGAIN = "a -= or_zero(lse[head][rows])[:, None]"
DV = "dvs += weigh(p.T, do[head][rows], turned)"
LESS = "dp -= delta[head][rows][:, None]"
DBIAS = "dbs += unbroadcast(da, dbs.shape)"
DQ = "dqs += scale * weigh(da, part(k, head, q)[cols], allowed)"
DK = "dks += scale * weigh(da.T, q[head][rows], turned)"
SCORES = "a = np.matmul(cache.scale * q, k.T, out=corner(room, rows, cols))"
BIAS = "a += bias"
FILL = "a[~allowed] = -np.inf"
PLACES = ("t, s = np.arange(rows.start, rows.stop, like=a)[:, None], np.arange(cols.start, cols.stop, like=a)")
BELOW = "allowed = s <= t + diagonal(cache) if allowed is None else allowed & (s <= t + diagonal(cache))"
LAST = "return S if cache.causal is None else min(max(rows.stop + diagonal(cache), 0), S)"
DIAGONAL = 'return cache.k.shape[-2] - cache.q.shape[-2] if cache.causal == "bottom_right" else 0'
HEADS = ("return x[tuple(i * n // N for i, n, N in zip(head[::-1], x.shape[-3::-1], q.shape[-3::-1]))[::-1]]")

CHANGES = [
    # from tile to tile
    mistake("nothing_rescaled", SHRINK, "shrink = np.ones_like(m)",
            "Neither the sum nor the accumulator is scaled when the maximum grows: early tiles count too much. Both "
            "are multiplied by exp(m - m′)."),
    mistake("accumulator_not_rescaled", GATHER, GATHER.replace("shrink * u", "u"),
            "The sum is scaled to the new maximum and the accumulator is not: early tiles count too much. "
            "u′ = exp(m - m′) u + p v."),
    mistake("sum_not_rescaled", SUM, SUM.replace("shrink * l", "l"),
            "The accumulator is scaled to the new maximum and the sum is not: the weights do not sum to 1. "
            "l′ = exp(m - m′) l + Σ p."),
    mistake("rescaled_the_wrong_way", SHRINK, "shrink = np.exp(or_zero(m) - np.maximum(m_old, -80))",
            "The sum and the accumulator are scaled by exp(m′ - m), which grows. It is exp(m - m′), at most 1."),
    mistake("maximum_not_carried", MAXIMUM, "m_old, m = m, a.max(-1, keepdims=True)",
            "The maximum is that of the tile alone. Where a later tile has smaller scores, exp(m - m′) overflows, and "
            "after a masked tile all before it is lost: m′ = max(m, max a)."),
    mistake("maximum_from_zero", MAXIMUM, "m_old, m = m, np.maximum(or_zero(m), a.max(-1, keepdims=True))",
            "The maximum starts at 0, or goes back to it after a masked tile. Where all scores lie far below, every "
            "exponential is 0. It starts at -∞."),
    mistake("masked_tile_is_nan", SHIFT, "a -= m",
            "A tile in which a query may attend to nothing gives NaN: exp(-∞ - (-∞)). While the maximum is -∞, "
            "subtract 0 instead."),
    mistake("accumulator_overwritten", GATHER, "u = weigh(p, part(v, head, q)[cols], allowed)",
            "Every tile overwrites the accumulator: only the last one is left of it. u′ = exp(m - m′) u + p v."),
    mistake("sum_overwritten", SUM, "l = p @ ones[cols]",
            "Every tile overwrites the sum: the division is by that of the last one. l′ = exp(m - m′) l + Σ p."),

    # after the last tile
    mistake("not_divided", DIVIDE, "o[head][rows] = u",
            "The accumulator is not divided by the sum at the end: o = u / l."),
    mistake("empty_rows_are_nan", NOTHING, "l = np.where(m == -np.inf, 0, l)",
            "A query with no key left gives NaN: its sum is 0, and 0 is divided by it. It gives o = 0."),
    mistake("divided_by_normaliser", DIVIDE, "o[head][rows] = u / (l * np.exp(or_zero(m)))",
            "The accumulator is divided by Σ exp a. It was gathered under the maximum, and so was l: o = u / l."),
    mistake("lse_without_maximum", LSE, "lse[head][rows] = np.where(m == -np.inf, m, np.log(l))[:, 0]",
            "lse lacks the maximum: the sum was taken under it, and log Σ exp a = m + log l."),
    mistake("lse_without_sum", LSE, "lse[head][rows] = m[:, 0]",
            "lse is the maximum alone: log Σ exp a = m + log l."),
    mistake("lse_without_logarithm", LSE, "lse[head][rows] = (m + l)[:, 0]",
            "The logarithm is missing: lse = m + log l."),
    mistake("lse_in_two_bases", LSE, "lse[head][rows] = (m + np.log2(l))[:, 0]",
            "The maximum and the logarithm have different bases: kernels that compute with exp2 and log2 have to "
            "multiply by ln 2 at the end, lse = m + ln l."),
    mistake("lse_of_nothing_is_positive", LSE, "lse[head][rows] = np.where(m == -np.inf, np.inf, m + np.log(l))[:, 0]",
            "A query with no key left has lse = +∞. It is log 0 = -∞: merged with other keys, it must weigh nothing."),

    # the scores
    mistake("unscaled", SCALE, "scale = 1.0 if scale is None else scale",
            "The scores are not divided by √D: they grow with the number of features, and softmax picks single keys."),
    mistake("scale_ignored", SCALE, "scale = q.shape[-1] ** -0.5",
            "The scale that is given makes no difference: 1/√D is used anyway."),
    mistake("scale_of_values", SCALE, "scale = v.shape[-1] ** -0.5 if scale is None else scale",
            "The scale is taken from E, the features of a value. It is 1/√D, with D the features of a "
            "query and a key."),
    mistake("scaled_by_tile", SCORES, "a = np.matmul(cache.scale * q, k.T, out=corner(room, rows, cols))\n"
            "a *= (len(k) / cache.k.shape[-2]) ** 0.5",
            "The scale depends on how large a tile is. It is 1/√D, whatever the tiles are."),
    mistake("bias_ignored", BIAS, "pass", "The bias makes no difference: it should be added to the scores."),
    mistake("bias_scaled", BIAS, "a += cache.scale * bias",
            "The bias is multiplied by 1/√D together with q kᵀ. It is added after the scaling, as it is."),
    mistake("mask_ignored", "allowed = mask", "allowed = None",
            "The mask makes no difference: forbidden keys, such as padding, take part."),
    mistake("mask_inverted", "allowed = mask", "allowed = None if mask is None else ~mask",
            "True in the mask means: ignore this key. Here it means: this key may be attended."),
    mistake("filled_with_minus_10", FILL, "a[~allowed] = -10",
            "Forbidden scores are filled with -10, which is not small enough: they keep weight where other scores are "
            "small. It has to be -∞."),
    mistake("causal_ignored", BELOW, "pass",
            "The tiles on the diagonal are not masked: queries see keys of the future that stand in the same tile."),
    mistake("causal_within_each_tile", PLACES,
            "t, s = np.arange(len(a), like=a)[:, None], np.arange(a.shape[1], like=a)",
            "The causal mask begins anew in every tile. Query and key have to be counted from the beginning of the "
            "sequence, not of their tile."),
    mistake("causal_strict", BELOW, BELOW.replace("<=", "<"),
            "Query t does not see key t: the causal mask leaves out the diagonal. It is s ≤ t."),
    mistake("causal_inverted", BELOW, BELOW.replace("<=", ">="),
            "The upper triangle is kept, not the lower one: queries see the future."),
    mistake("causal_from_other_corner", DIAGONAL, DIAGONAL.replace("bottom_right", "top_left"),
            "The causal mask is aligned to the other corner: nobody sees it where T = S."),
    mistake("diagonal_tile_left_out", LAST, LAST.replace("rows.stop", "rows.start"),
            "The tiles that the diagonal goes through are left out with those above it. A tile may be skipped only if "
            "its first key comes after its last query."),

    # the heads
    mistake("heads_tiled", HEADS, HEADS.replace("i * n // N", "i % n"),
            "The key heads are repeated in turns, 0 1 0 1: query head h reads key head h mod G. Neighbours share, "
            "0 0 1 1: it reads ⌊h / R⌋."),
    mistake("heads_until_the_last", HEADS, HEADS.replace("i * n // N", "min(i, n - 1)"),
            "Query head h reads key head h, and the last one where there is none. It reads ⌊h / R⌋, R = Gq / G."),

    # backward
    mistake("delta_missing", LESS, "pass",
            "The second term is missing, the one that a row has in common: da = p ⊙ (dp - δ), δ = Σ_e do ⊙ o - dlse."),
    mistake("dlse_ignored", DELTA, "delta = (do * o).sum(-1)",
            "The gradient of lse is ignored: ∂lse/∂a = p, so dlse is subtracted from δ."),
    mistake("dlse_added", DELTA, DELTA.replace("- dlse", "+ dlse"),
            "The gradient of lse has the wrong sign: ∂lse/∂a = p, so da = p ⊙ (dp - Σ_e do ⊙ o + dlse)."),
    mistake("dlse_alone", DELTA, "delta = -dlse",
            "Σ_e do ⊙ o is missing from δ: da = p ⊙ (dp - Σ_e do ⊙ o + dlse)."),
    mistake("delta_added", LESS, LESS.replace("-=", "+="),
            "δ is added: da = p ⊙ (dp - δ)."),
    mistake("map_not_in_da", "dp *= p", "pass",
            "The factor p is missing: da = p ⊙ (dp - δ)."),
    mistake("map_from_tiles_own_maximum", AGAIN, "a -= or_zero(a.max(-1, keepdims=True))",
            "Backward shifts each tile by its own maximum and does not normalise. With lse from forward it is "
            "p = exp(a - lse), in any tile."),
    mistake("map_from_tiles_own_sum", AGAIN, "a -= or_zero(np.log(np.exp(a).sum(-1, keepdims=True)))",
            "Backward normalises each tile by itself. The normaliser is that of the whole row: p = exp(a - lse)."),
    mistake("backward_forgets_mask", RETURN, "return (o, lse), cache._replace(mask=None)",
            "Forward applies the mask and backward does not: the map is computed anew without it."),
    mistake("backward_forgets_causal", RETURN, "return (o, lse), cache._replace(causal=None)",
            "Forward is causal and backward is not: the map is computed anew without the mask."),
    mistake("dq_overwritten", DQ, DQ.replace("dqs +=", "dqs[...] ="),
            "Every tile overwrites dq: a query collects from all tiles of keys, and what they say adds up."),
    mistake("dk_overwritten", DK, DK.replace("dks +=", "dks[...] ="),
            "Every block of queries overwrites dk: a key collects from all queries and all heads that read it."),
    mistake("dv_overwritten", DV, DV.replace("dvs +=", "dvs[...] ="),
            "Every block of queries overwrites dv: a value collects from all queries and all heads that read it."),
    mistake("dq_unscaled", DQ, DQ.replace("scale * ", ""), "dq lacks the factor 1/√D: dq = da k / √D."),
    mistake("dk_unscaled", DK, DK.replace("scale * ", ""), "dk lacks the factor 1/√D: dk = daᵀ q / √D."),
    mistake("dk_scaled_twice", DK, DK.replace("scale * ", "scale ** 2 * "),
            "dk is scaled twice: queries that are kept scaled bring the factor 1/√D along."),
    mistake("dbias_scaled", DBIAS, "dbs += scale * unbroadcast(da, dbs.shape)",
            "dbias is multiplied by 1/√D. The bias is added after the scaling: dbias = da."),
    mistake("dbias_overwritten", DBIAS, "dbs[...] = unbroadcast(da, dbs.shape)",
            "Every tile overwrites dbias. A bias that is broadcast serves many tiles and heads, and their gradients "
            "add."),

    # as good
    equal("scale_on_scores", SCORES, "a = np.matmul(q, k.T, out=corner(room, rows, cols))\na *= cache.scale"),
    equal("scale_on_keys", SCORES, "a = np.matmul(q, (cache.scale * k).T, out=corner(room, rows, cols))"),
    equal("sum_as_a_sum", SUM, "l = shrink * l + p.sum(-1, keepdims=True)"),
    equal("one_over_sum", DIVIDE, "o[head][rows] = u * (1 / l)"),
]


def made(rng, Gq=4, G=2, T=4, S=5, D=3, E=2, lead=(2,)):
    """Queries, keys and values from N(0, 1)."""
    return tuple(rng.normal(size=(*lead, *shape)) for shape in ((Gq, T, D), (G, S, D), (G, S, E)))


def whole(rng):
    """one tile for all, as without tiles"""
    return made(rng), {}


def tiles(rng):
    """tiles of two queries and two keys, the last ones smaller: what passes from tile to tile"""
    return made(rng), {"tile": (2, 2)}


def rising(rng):
    """every tile of keys has larger scores: what was gathered has to be scaled down"""
    q, k, v = made(rng)
    return (np.abs(q), np.abs(k) * (1 + np.arange(5))[:, None], v), {"tile": (3, 2)}


def falling(rng):
    """the first tile of keys has by far the largest scores: a maximum that is not carried on overflows"""
    q, k, v = made(rng)
    bias = np.zeros((1, 1, 5))
    bias[..., :2] = 800
    return (q, k, v, bias), {"tile": (3, 2)}


def far_below_zero(rng):
    """all scores about -1000: a maximum that starts at 0"""
    return (*made(rng), np.full((1, 4, 1), -1000.0)), {"tile": (2, 2)}


def six_for_two(rng):
    """six query heads, two key heads: which one reads which"""
    return made(rng, 6, 2, 3, 4), {"tile": (2, 3)}


def one_for_all(rng):
    """one key head for all query heads, whose gradients add"""
    return made(rng, 3, 1, 3, 4), {"tile": (2, 2)}


def one_for_each(rng):
    """as many key heads as query heads, and no axis before them"""
    return made(rng, 3, 3, 4, 3, lead=()), {"tile": (3, 2)}


def scaled(rng):
    """a scale that is not 1/√D"""
    return made(rng), {"scale": 0.25, "tile": (2, 2)}


def biased(rng):
    """a bias that all examples and heads share"""
    return (*made(rng), rng.normal(size=(1, 4, 5))), {"tile": (2, 2)}


def biased_by_key(rng):
    """a bias of keys, which all queries share"""
    return (*made(rng), rng.normal(size=(2, 1, 1, 5))), {"tile": (2, 2)}


def hidden_by_bias(rng):
    """a bias of -∞ hides keys"""
    bias = np.where(rng.random((4, 4, 5)) < 0.6, rng.normal(size=(4, 4, 5)), -np.inf)
    bias[..., 1] = 0.5
    return (*made(rng), bias), {"tile": (2, 2)}


def masked(rng):
    """another mask for every head"""
    mask = rng.random((2, 4, 4, 5)) < 0.5
    mask[..., 3] = True
    return made(rng), {"mask": mask, "tile": (2, 2)}


def first_tile_masked(rng):
    """the first keys are hidden from all queries: a tile with nothing in it, before there is a maximum"""
    return made(rng), {"mask": (np.arange(5) >= 3)[None, None], "tile": (2, 2)}


def last_tile_masked(rng):
    """the last keys are padding, other ones in every example"""
    return made(rng), {"mask": (np.arange(5) < np.array([[3], [2]]))[:, None, None], "tile": (2, 2)}


def without_keys(rng):
    """a query that may attend to nothing: o = 0, lse = -∞, no gradient"""
    mask = np.ones((1, 4, 5), bool)
    mask[0, 1] = mask[0, 2, :4] = False
    return made(rng), {"mask": mask, "tile": (2, 2)}


def causal_square(rng):
    """a causal mask over as many queries as keys, in several tiles"""
    return made(rng, T=5, S=5), {"causal": "top_left", "tile": (2, 2)}


def causal_wide(rng):
    """more keys than queries under a causal mask: which corner it is aligned to"""
    return made(rng, T=3, S=6), {"causal": "top_left", "tile": (2, 3)}


def causal_tall(rng):
    """more queries than keys under a causal mask from the bottom right: the first queries see nothing"""
    return made(rng, T=6, S=3), {"causal": "bottom_right", "tile": (2, 2)}


def causal_wide_bottom_right(rng):
    """more keys than queries under a causal mask from the bottom right, one tile for all"""
    return made(rng, T=3, S=5), {"causal": "bottom_right"}


def causal_and_masked(rng):
    """a causal mask and another one together"""
    mask = rng.random((1, 5, 5)) < 0.6
    mask[..., 0] = True
    return made(rng, T=5, S=5), {"causal": "top_left", "mask": mask, "tile": (3, 2)}


CASES = [whole, tiles, rising, falling, far_below_zero, six_for_two, one_for_all, one_for_each, scaled, biased,
         biased_by_key, hidden_by_bias, masked, first_tile_masked, last_tile_masked, without_keys, causal_square,
         causal_wide, causal_tall, causal_wide_bottom_right, causal_and_masked]

ALIASES = {"is_causal": ("causal", {"top_left": True, None: False})}
