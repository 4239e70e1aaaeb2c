"""What goes wrong in softmax.

Most changes stand before the first line, or at the last, because a mistake is made with a mask and without one.
"""

import numpy as np

from visattn.check.changes import convention, mistake

FIRST = "if mask is None:"
LAST = "return p, Cache(p, mask, axis)"

CHANGES = [
    mistake("other_axis", FIRST,
            "axis = (axis % x.ndim - 1) % x.ndim\nif mask is None:",
            "The weights are normalised along the axis before the right one: columns sum to 1, rows do not. "
            "p_s = e^{x_s} / Σ_t e^{x_t} sums over the same axis that it runs along.", "lesson 1"),
    mistake("one_sum_for_all", LAST,
            "e = np.exp(x - x.max()) if mask is None else np.where(mask, np.exp(x - x.max()), 0)\n"
            "p = e / e.sum()\n"
            "return p, Cache(p, mask, axis)",
            "One sum serves all rows, as when batch and rows are flattened into one axis: a row sums to a fraction "
            "of 1.",
            "lesson 1"),
    mistake("no_maximum", LAST,
            "e = np.exp(x) if mask is None else np.where(mask, np.exp(x), 0)\n"
            "total = e.sum(axis, keepdims=True)\n"
            "p = e / (total if mask is None else np.where(mask.any(axis, keepdims=True), total, 1))\n"
            "return p, Cache(p, mask, axis)",
            "The maximum of a row is not subtracted before the exponential, which overflows: ∞ / ∞ is NaN. "
            "The shift cancels, so p_s = e^{x_s - m} / Σ_t e^{x_t - m} is the same number.", "lesson 1"),
    mistake("constant_for_the_maximum", LAST,
            "e = np.exp(x - 10) if mask is None else np.where(mask, np.exp(x - 10), 0)\n"
            "total = e.sum(axis, keepdims=True)\n"
            "p = e / (total if mask is None else np.where(mask.any(axis, keepdims=True), total, 1))\n"
            "return p, Cache(p, mask, axis)",
            "A constant is subtracted instead of the maximum of each row: rows that lie far above it overflow, "
            "and in rows far below it every exponential is 0."),
    mistake("maximum_starts_too_high", LAST,
            "m = np.maximum(-1e4, (x if mask is None else np.where(mask, x, -np.inf)).max(axis, keepdims=True))\n"
            "e = np.exp(x - m) if mask is None else np.where(mask, np.exp(x - m), 0)\n"
            "total = e.sum(axis, keepdims=True)\n"
            "p = e / (total if mask is None else np.where(mask.any(axis, keepdims=True), total, 1))\n"
            "return p, Cache(p, mask, axis)",
            "The maximum is sought from a finite number on, such as -10⁴: in a row whose numbers all lie below that, "
            "every exponential is 0. Start from -∞."),
    mistake("one_more_in_the_sum", LAST,
            "x = x if mask is None else np.where(mask, x, -np.inf)\n"
            "m = np.maximum(x.max(axis, keepdims=True), 0)\n"
            "p = np.exp(x - m) / (np.exp(x - m).sum(axis, keepdims=True) + np.exp(-m))\n"
            "return p, Cache(p, mask, axis)",
            "There is a 1 too many below the fraction, e^{x_s} / (1 + Σ_t e^{x_t}): a row sums to less than 1."),
    mistake("epsilon_in_the_sum", LAST,
            "x = x if mask is None else np.where(mask, x, -np.inf)\n"
            "some = np.isfinite(x.max(axis, keepdims=True))\n"
            "e = np.exp(x - np.where(some, x.max(axis, keepdims=True), 0))\n"
            "p = e / (e.sum(axis, keepdims=True) + 1e-4)\n"
            "return p, Cache(p, mask, axis)",
            "A small ε is added to the sum below the fraction. Without need, since the largest exponential is 1; "
            "and a row then sums to less than 1."),
    mistake("base_two", FIRST,
            "x = x * 0.6931471805599453\nif mask is None:",
            "The powers are of 2, not of e: every difference of scores counts ln 2 = 0.69 times. "
            "e^x = 2^{x log₂ e}: the factor log₂ e is missing."),
    mistake("base_two_twice", FIRST,
            "x = x * 1.4426950408889634\nif mask is None:",
            "The factor log₂ e = 1.44 is there twice, or with e instead of 2: every difference of scores counts too "
            "much. "
            "e^x = 2^{x log₂ e}."),
    mistake("mask_ignored", FIRST,
            "mask = None\nif mask is None:",
            "The mask has no effect: weights go to elements that take no part.", "lesson 1"),
    mistake("mask_inverted", FIRST,
            "mask = None if mask is None else ~mask\nif mask is None:",
            "The mask is read the other way around: only those elements get weight that should get none. "
            "True means: takes part.", "lesson 1"),
    mistake("mask_added", FIRST,
            "x, mask = (x if mask is None else x + mask), None\nif mask is None:",
            "The boolean mask is added to the numbers, so True counts 1 and nothing is masked. "
            "What takes no part must become -∞.", "lesson 1"),
    mistake("mask_multiplied", FIRST,
            "x, mask = (x if mask is None else x * mask), None\nif mask is None:",
            "The numbers are multiplied by the mask: what takes no part gets the score 0, and e⁰ = 1 is a weight. "
            "It must become -∞.", "lesson 1"),
    mistake("mask_too_shallow", FIRST,
            "x, mask = (x if mask is None else np.where(mask, x, -100)), None\nif mask is None:",
            "What takes no part gets a finite score, -100: it leaks wherever the others are not far larger. "
            "It must become -∞.", "lesson 1"),
    mistake("mask_after_the_sum", LAST,
            "e = np.exp(x - x.max(axis, keepdims=True))\n"
            "p = e / e.sum(axis, keepdims=True)\n"
            "p = p if mask is None else np.where(mask, p, 0)\n"
            "return p, Cache(p, mask, axis)",
            "The mask is applied to the finished weights, whose sum had the masked ones in it: a row sums to less "
            "than 1. "
            "Mask the scores, before the sum.", "lesson 1"),
    mistake("diagonal_only",
            "dx = dp - np.expand_dims(mean, axis)",
            "dx = dp * (1 - p)",
            "Only the diagonal of the Jacobian is there, dx = p (1 - p) dp, as if the weights of a row did not "
            "depend on "
            "each other's scores: dx = p ⊙ (dp - Σ_s dp_s p_s), whose rows sum to 0.", "lesson 1"),
    mistake("no_row_sum",
            "dx = dp - np.expand_dims(mean, axis)",
            "dx = dp.copy()",
            "The second term is missing, the one that a row has in common: dx = p ⊙ (dp - Σ_s dp_s p_s). "
            "Every row of dx must sum to 0.", "lesson 1"),
    mistake("row_sum_not_weighted_by_p",
            "dx = dp - np.expand_dims(mean, axis)\ndx *= p",
            "dx = p * dp - np.expand_dims(mean, axis)",
            "A pair of brackets is missing, dx = p dp - Σ_s dp_s p_s: p multiplies both terms, "
            "dx = p ⊙ (dp - Σ_s dp_s p_s).", "lesson 1"),
    mistake("plain_mean",
            "dx = dp - np.expand_dims(mean, axis)",
            "dx = dp - dp.mean(axis, keepdims=True)",
            "The mean of dp is taken with equal weights: it is weighted by p, dx = p ⊙ (dp - Σ_s dp_s p_s), and only "
            "then "
            "do rows of dx sum to 0.", "lesson 1"),
    mistake("plain_sum",
            "dx = dp - np.expand_dims(mean, axis)",
            "dx = dp - dp.sum(axis, keepdims=True)",
            "The sum of dp is taken without the weights: dx = p ⊙ (dp - Σ_s dp_s p_s), and only then do rows of dx sum "
            "to 0.", "lesson 1"),
    mistake("mean_of_the_row",
            "dx = dp - np.expand_dims(mean, axis)",
            "dx = dp - np.expand_dims(mean, axis) / dp.shape[axis]",
            "What a row has in common is divided by the length of the row: Σ_s dp_s p_s is a mean already, since the "
            "weights p sum to 1. dx = p ⊙ (dp - Σ_s dp_s p_s).", "lesson 1"),
    mistake("row_sum_over_another_axis",
            "dx = dp - np.expand_dims(mean, axis)",
            "dx = dp - (dp * p).sum((axis % p.ndim - 1) % p.ndim, keepdims=True)",
            "The sum Σ dp p of the gradient runs over another axis than the softmax: its rows do not sum to 0.",
            "lesson 1"),
    mistake("no_weight_outside",
            "dx *= p",
            "",
            "The factor p is missing before the brackets: dx = p ⊙ (dp - Σ_s dp_s p_s), so an element without weight "
            "has "
            "no gradient.", "lesson 1"),
    mistake("plus",
            "dx = dp - np.expand_dims(mean, axis)",
            "dx = dp + np.expand_dims(mean, axis)",
            "A sign is wrong: dx = p ⊙ (dp - Σ_s dp_s p_s), whose rows sum to 0.", "lesson 1"),
    convention("masked_row_nan", LAST,
               "some = True if mask is None else mask.any(axis, keepdims=True)\n"
               "return np.where(some, p, np.nan), Cache(p, mask, axis)",
               "A row in which nothing takes part gives NaN: 0 / 0, as with scores of -∞. Here it gives zeros.",
               by="torch.softmax"),
    convention("masked_row_uniform", LAST,
               "some = True if mask is None else mask.any(axis, keepdims=True)\n"
               "p = np.where(some, p, 1 / x.shape[axis])\n"
               "return p, Cache(p, mask, axis)",
               "A row in which nothing takes part gives equal weights: what is masked has the lowest finite score. "
               "Here it gives zeros.",
               by="transformers, jax.nn.dot_product_attention"),
]


def just_too_large(rng, precision):
    """numbers just above the logarithm of the largest: no maximum subtracted"""
    return (rng.uniform(precision.log_max + 2, precision.log_max + 8, size=(2, 3, 4)),), {}


def far_too_large(rng, precision):
    """numbers far above and far below what an exponential can hold: a constant subtracted, not the maximum"""
    x = 1.2 * precision.log_max + 20 + rng.normal(size=(2, 3, 4))
    return (np.concatenate([x, -x], axis=1),), {}


def far_below(rng):
    """rows with numbers below any finite one to start a maximum from"""
    return (-20000 - 128.0 * rng.permutation(24).reshape(2, 3, 4),), {}


def masked(rng):
    """a mask over a batch, and rows in which nothing takes part: its polarity, and 0 / 0"""
    mask = rng.random(size=(2, 4, 5)) < 0.5
    mask[0, 1], mask[1, 2], mask[1, 3] = False, True, [False, False, True, False, False]
    return (rng.normal(size=(2, 4, 5)),), {"mask": mask}


def masked_low(rng):
    """what takes part is far below 0: masked by a number that is not low enough"""
    mask = rng.random(size=(3, 5)) < 0.6
    mask[:, 0], mask[:, 1] = True, False
    return (rng.normal(-98, 1, size=(3, 5)),), {"mask": mask}


def nothing_takes_part(rng):
    """a mask without any True"""
    return (rng.normal(size=(3, 4)),), {"mask": np.zeros((3, 4), bool)}


def one_mask_for_all(rng):
    """a mask that is broadcast along rows and batch"""
    return (rng.normal(size=(2, 3, 5)),), {"mask": np.array([[True, False, True, True, False]])}


def middle_axis(rng):
    """another axis than the last, with a mask"""
    mask = rng.random(size=(2, 4, 3)) < 0.7
    return (rng.normal(size=(2, 4, 3)),), {"axis": 1, "mask": mask}


def peaked(rng):
    """one weight near 1, the others tiny"""
    return (8 * rng.normal(size=(3, 6)),), {}


def one_element(rng):
    """rows of one element, whose weight is 1 and whose gradient is 0"""
    return (rng.normal(size=(3, 2, 1)),), {}


CASES = [just_too_large, far_too_large, far_below, masked, masked_low, nothing_takes_part, one_mask_for_all,
         middle_axis, peaked, one_element]

ALIASES = {"dim": "axis"}
