"""What goes wrong in grouped-query attention."""

import numpy as np

from visattn.check.changes import equal, mistake

FORWARD = "o, heads = attention.forward(q, np.repeat(k, R, axis=1), np.repeat(v, R, axis=1),"
SUM = "return d.reshape(N, G, Gq // G, S, D).sum(2)"
RETURN = "return dq, add_group(dk, G), add_group(dv, G)"


def reading(head):
    """Query head h, for all h at once an array, reads this key head; G of them there are."""
    return f"""
G = k.shape[1]
h = np.arange(q.shape[1])
o, heads = attention.forward(q, k[:, {head}], v[:, {head}],"""


CHANGES = [
    mistake("tiled", FORWARD, "o, heads = attention.forward(q, np.tile(k, (1, R, 1, 1)), np.tile(v, (1, R, 1, 1)),",
            "The key heads are repeated in turns, 0 1 0 1: query head h reads key head h mod G. Neighbours share, "
            "0 0 1 1: it reads ⌊h / R⌋."),
    mistake("values_tiled", FORWARD, FORWARD.replace("np.repeat(v, R, axis=1)", "np.tile(v, (1, R, 1, 1))"),
            "The heads of the values are repeated in turns, those of the keys in a row: keys and values of one head "
            "come apart."),
    mistake("tokens_repeated", FORWARD, """
as_heads = lambda x: np.repeat(x, R, axis=2).reshape(len(x), q.shape[1], *x.shape[2:])
o, heads = attention.forward(q, as_heads(k), as_heads(v),""",
            "Keys and values are repeated along the tokens instead of the heads: repeat axis 1, not axis 2."),
    mistake("wrong_divisor", FORWARD, reading("np.minimum(h // G, G - 1)"),
            "Query head h reads key head ⌊h / G⌋, with G the number of key heads. It is ⌊h / R⌋, with R = Gq / G query "
            "heads for each."),
    mistake("one_for_all", FORWARD, reading("0 * h"),
            "All query heads read the first key head: that is multi-query attention. Head h reads ⌊h / R⌋."),
    mistake("order_reversed", FORWARD, reading("(G - 1) - h // R"),
            "The key heads are given out from the last to the first. Query head h reads key head ⌊h / R⌋."),
    mistake("gradient_tiled", SUM, "return d.reshape(N, Gq // G, G, S, D).sum(1)",
            "dk and dv add up every G-th head, as if the heads had been repeated in turns. Neighbours share: the R "
            "heads of a group stand next to each other."),
    mistake("gradient_averaged", SUM, "return d.reshape(N, G, Gq // G, S, D).mean(2)",
            "dk and dv are averaged over the heads of a group: what is used R times gets the sum of R gradients."),
    mistake("gradient_of_first_head", SUM, "return d.reshape(N, G, Gq // G, S, D)[:, :, 0]",
            "dk and dv are those of one head of each group: what is used R times gets the sum of R gradients."),
    mistake("gradient_of_last_head", SUM, "return d.reshape(N, G, Gq // G, S, D)[:, :, -1]",
            "dk and dv are overwritten by each head of a group, not added: only the last one is left."),
    mistake("gradient_not_summed", RETURN, "return dq, dk, dv",
            "dk and dv have a head for every query head: add up those of each group."),
    equal("summed_one_by_one", SUM, "return sum(d.reshape(N, G, Gq // G, S, D)[:, :, r] for r in range(Gq // G))"),
]


def made(rng, Gq, G, N=2, T=3, S=4, D=3, E=5):
    return rng.normal(size=(N, Gq, T, D)), rng.normal(size=(N, G, S, D)), rng.normal(size=(N, G, S, E))


def six_for_two(rng):
    """six query heads, two key heads: which one reads which; with four and two, two mistakes agree"""
    return made(rng, 6, 2), {}


def four_for_two(rng):
    """four query heads, two key heads"""
    return made(rng, 4, 2), {}


def six_for_three(rng):
    """six query heads, three key heads"""
    return made(rng, 6, 3, E=3), {}


def one_for_all(rng):
    """multi-query attention: one key head"""
    return made(rng, 3, 1), {}


def one_for_each(rng):
    """as many key heads as query heads: multi-head attention"""
    return made(rng, 3, 3), {}


def square(rng):
    """as many queries as keys, E = D"""
    return made(rng, 4, 2, T=4, S=4, D=3, E=3), {}


def causal(rng):
    """a causal mask over as many queries as keys"""
    return made(rng, 4, 2, T=4, S=4), {"causal": "top_left"}


def causal_wide(rng):
    """more keys than queries under a causal mask: which corner it is aligned to"""
    return made(rng, 4, 2, T=3, S=5), {"causal": "top_left"}


def scaled(rng):
    """a scale that is not 1/√D"""
    return made(rng, 4, 2), {"scale": 0.25}


def masked_by_head(rng):
    """another mask for every query head"""
    mask = rng.random(size=(2, 6, 3, 4)) < 0.6
    mask[..., 1] = True
    return made(rng, 6, 2), {"mask": mask}


def padded(rng):
    """keys that are padding, others in every example"""
    return made(rng, 6, 2), {"mask": (np.arange(4) < np.array([[3], [2]]))[:, None, None]}


CASES = [six_for_two, four_for_two, six_for_three, one_for_all, one_for_each, square, causal, causal_wide, scaled,
         masked_by_head, padded]

ALIASES = {"is_causal": ("causal", {"top_left": True, None: False})}
