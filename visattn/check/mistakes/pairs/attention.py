"""What goes wrong in attention."""

from visattn.check.changes import convention, mistake

CHANGES = [
    mistake("unscaled",
            "scale = q.shape[-1] ** -0.5 if scale is None else scale",
            "scale = 1.0 if scale is None else scale",
            "The scores are not divided by √D: they grow with the number of features, and softmax picks single keys.",
            see="eq. (1), lesson 1"),
    mistake("no_row_sum",
            "da, = softmax.backward(dp, softmax.Cache(p, mask, -1))",
            "da = p * dp",
            "The gradient of softmax lacks its second term: da = p ⊙ (dp - Σ_s dp ⊙ p). Every row of da must sum to 0.",
            see="lesson 1"),
]

def causal_wide(rng):
    """more keys than queries under a causal mask: which corner it is aligned to"""
    B, G, T, S, D, E = 1, 2, 3, 5, 4, 6
    q, k, v = rng.normal(size=(B, G, T, D)), rng.normal(size=(B, G, S, D)), rng.normal(size=(B, G, S, E))
    return (q, k, v), {"causal": "top_left"}


def overflow(rng, precision):
    """logits just above the logarithm of the largest number: softmax without its maximum"""
    T, S, D = 3, 4, 2
    q, k = rng.normal(size=(1, T, D)), rng.normal(size=(1, S, D))
    return (q, k * (1.2 * precision.log_max), rng.normal(size=(1, S, 5))), {"scale": 1.0}


CASES = [causal_wide, overflow]

# Other names for the arguments, beside those everybody uses (visattn/check/names.py); of an option, its values, too.
ALIASES = {"is_causal": ("causal", {"top_left": True, None: False})}
