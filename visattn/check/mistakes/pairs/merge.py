"""What goes wrong where parts of an attention are joined."""

import numpy as np

from visattn.check.changes import convention, equal, mistake

CLEAN = "o = np.where(some[..., None], o, 0)"
TOP = "top = lse.max(-2)"
FINITE = "top = np.where(top == -np.inf, 0, top)"
WEIGHTS = "w = e / np.where(none, 1, total)[..., None, :]"
JOINED = "joined = (w[..., None] * o).sum(-3)"
RETURN = "return (joined, np.where(none, -np.inf, top + np.log(np.where(none, 1, total)))), Cache(o, w, joined)"
DO = "do = np.where(some[..., None], w[..., None] * dj[..., None, :, :], 0)"
DW = "dw = (dj[..., None, :, :] * (o - joined[..., None, :, :])).sum(-1)"
DLSE = "dlses = np.where(some, w * (dw + dlse[..., None, :]), 0)"


def returning(lse):
    return RETURN.replace("top + np.log(np.where(none, 1, total))", lse)


CHANGES = [
    mistake("plain_mean", WEIGHTS, "w = np.full_like(e, 1 / e.shape[-2])",
            "The parts are averaged with equal weights. Part i weighs exp(lse_i - lse), its share in all the weight."),
    mistake("plain_sum", WEIGHTS, "w = np.where(some, np.ones_like(e), 0)",
            "The parts are added up. Each is a mean already: part i weighs exp(lse_i - lse), and these sum to 1."),
    mistake("weights_not_normalised", WEIGHTS, "w = e",
            "The weights do not sum to 1: exp(lse_i - max) has to be divided by the sum over the parts."),
    mistake("strongest_part_only", WEIGHTS, "w = np.where(some & (e == 1), e, 0)",
            "Only the part with the largest lse is taken. All parts count, by exp(lse_i - lse)."),
    mistake("weights_by_lse", WEIGHTS, "w = np.where(some, lse, 0)\nw = w / w.sum(-2, keepdims=True)",
            "The parts are weighted by lse_i as it is, which may be negative. The weights are exp(lse_i - lse)."),
    mistake("weights_over_queries", WEIGHTS, "w = e / np.where(none[..., None, :], 1, e.sum(-1, keepdims=True))",
            "The weights are normalised over the queries. They sum to 1 over the parts, for every query."),
    mistake("lse_is_the_maximum", RETURN, returning("top"),
            "The joined lse is the largest of the parts'. It is the logarithm of their sum, log Σ_i exp lse_i."),
    mistake("lse_without_maximum", RETURN, returning("np.log(np.where(none, 1, total))"),
            "The joined lse lacks the maximum that was subtracted before the exponentials: "
            "m + log Σ_i exp(lse_i - m)."),
    mistake("lse_averaged", RETURN, returning("top + np.log(np.where(none, 1, total) / e.shape[-2])"),
            "The joined lse is the logarithm of a mean. The keys of all parts add up: log Σ_i exp lse_i."),
    mistake("lse_without_logarithm", RETURN, returning("top + total"),
            "The logarithm is missing: lse = m + log Σ_i exp(lse_i - m)."),
    mistake("exponentials_overflow", TOP, "top = np.zeros_like(lse[..., 0, :])",
            "exp lse_i overflows where lse_i is large: subtract the largest lse_i first, it cancels."),
    convention("empty_queries_are_nan", FINITE, "pass",
               "A query that no part has a key for gives NaN: exp(-∞ - (-∞)). Here it gives o = 0 and lse = -∞.",
               by="the formula written out with torch.logsumexp"),
    mistake("empty_parts_leak", CLEAN, "pass",
            "What a part without keys holds leaks: its weight is 0, and 0 · NaN is NaN. Leave it out by selection."),

    # backward
    mistake("do_unweighted", DO, DO.replace("w[..., None] * dj", "0 * w[..., None] + dj"),
            "The gradient of the parts lacks their weights: do_i = w_i do."),
    mistake("weights_as_constants", DLSE, "dlses = np.where(some, w * dlse[..., None, :], 0)",
            "The weights are taken for constants: they depend on lse_i, and dlse_i = w_i (Σ_e do ⊙ (o_i - o) + dlse)."),
    mistake("no_mean_subtracted", DW, "dw = (dj[..., None, :, :] * o).sum(-1)",
            "The second term is missing, the one that all parts have in common: dlse_i = w_i Σ_e do ⊙ (o_i - o)."),
    mistake("dlse_ignored", DLSE, DLSE.replace("(dw + dlse[..., None, :])", "dw"),
            "The gradient of the joined lse is ignored: each lse_i has the share w_i of it."),
    mistake("dlse_subtracted", DLSE, DLSE.replace("dw + dlse", "dw - dlse"),
            "The gradient of the joined lse has the wrong sign: dlse_i = w_i (dw_i + dlse)."),
    mistake("dlse_to_every_part", DLSE, "dlses = np.where(some, w * dw + dlse[..., None, :], 0)",
            "Every part gets the whole gradient of the joined lse. Its share is w_i: ∂lse/∂lse_i = w_i."),

    # as good
    equal("weights_from_the_joined", WEIGHTS, """
w = np.exp(lse - np.where(none, 0, top + np.log(np.where(none, 1, total)))[..., None, :])"""),
    equal("normalised_last", JOINED, "joined = (e[..., None] * o).sum(-3) / np.where(none, 1, total)[..., None]"),
    equal("mean_of_what_parts_get", DW, """
dw = (dj[..., None, :, :] * o).sum(-1)
dw = dw - (w * dw).sum(-2, keepdims=True)"""),
]


def made(rng, K=3, T=4, E=3, lead=(2,), size=1.0):
    return rng.normal(size=(*lead, K, T, E)), size * rng.normal(size=(*lead, K, T))


def three(rng):
    """three parts"""
    return made(rng), {}


def square(rng):
    """as many parts as queries: axes that are mixed up"""
    return made(rng, 3, 3, 3), {}


def one(rng):
    """a single part is the answer"""
    return made(rng, 1), {}


def heads(rng):
    """two axes before the parts"""
    return made(rng, 2, 3, 4, lead=(2, 3)), {}


def far_apart(rng):
    """parts of which one has nearly all the weight"""
    return made(rng, size=8), {}


def large(rng, precision):
    """lse too large for exp"""
    o, lse = made(rng)
    return (o, lse + np.float64(np.log(precision.largest)) + 4), {}


def very_small(rng):
    """lse far below zero"""
    o, lse = made(rng)
    return (o, lse - 1000), {}


def empty_part(rng):
    """a part without keys for some queries; what it holds there is not a number"""
    o, lse = made(rng)
    lse[:, 1, 1:3] = -np.inf
    o[:, 1, 1:3] = np.nan
    return (o, lse), {}


def nothing_at_all(rng):
    """queries that no part has a key for: o = 0, lse = -∞, no gradient"""
    o, lse = made(rng)
    lse[..., 2], o[..., 2, :] = -np.inf, 0
    return (o, lse), {}


CASES = [three, square, one, heads, far_apart, large, very_small, empty_part, nothing_at_all]

ALIASES = {"out": "o", "outs": "o", "outputs": "o", "logsumexp": "lse"}
