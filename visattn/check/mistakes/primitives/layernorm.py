"""What goes wrong in layer normalisation."""

import numpy as np

from visattn.check.changes import convention, equal, mistake

RSTD = "rstd = 1 / np.sqrt((c * c).mean(-1, keepdims=True) + eps)"
DX = "dx = rstd * (dn - dn.mean(-1, keepdims=True) - n * (dn * n).mean(-1, keepdims=True))"

CHANGES = [
    mistake("eps_outside_the_root", RSTD, "rstd = 1 / (np.sqrt((c * c).mean(-1, keepdims=True)) + eps)",
            "ε is added to the standard deviation, not to the variance: r = 1 / √(v + ε). "
            "It shows where the variance is small."),
    mistake("no_eps", RSTD, "rstd = 1 / np.sqrt((c * c).mean(-1, keepdims=True))",
            "ε is missing: r = 1 / √(v + ε). A token whose features are all equal is then divided by 0."),
    mistake("no_root", RSTD, "rstd = 1 / ((c * c).mean(-1, keepdims=True) + eps)",
            "The numbers are divided by the variance, not by its root: r = 1 / √(v + ε), and then y has variance 1."),
    mistake("unbiased", RSTD, "rstd = 1 / np.sqrt((c * c).sum(-1, keepdims=True) / (c.shape[-1] - 1) + eps)",
            "The variance is divided by D - 1, not by D: v = mean_d (x - μ)². "
            "Check how var and std of your library count."),
    mistake("unbiased_std_plus_eps", RSTD,
            "rstd = 1 / (np.sqrt((c * c).sum(-1, keepdims=True) / (c.shape[-1] - 1)) + eps)",
            "The numbers are divided by std + ε with the unbiased std, as some tutorials do: r = 1 / √(v + ε), "
            "and v is divided by D, not by D - 1."),
    mistake("one_pass_variance", RSTD,
            "rstd = 1 / np.sqrt((x * x).mean(-1, keepdims=True) - x.mean(-1, keepdims=True) ** 2 + eps)",
            "The variance is computed as mean x² - μ²: where the mean is large, two large numbers cancel and their "
            "rounding "
            "errors remain. Subtract the mean first: v = mean_d (x - μ)²."),
    mistake("over_all_but_the_batch",
            "c = x - x.mean(-1, keepdims=True)\n" + RSTD,
            "axes = tuple(range(min(1, x.ndim - 1), x.ndim))\n"
            "c = x - x.mean(axes, keepdims=True)\n"
            "rstd = np.broadcast_to(1 / np.sqrt((c * c).mean(axes, keepdims=True) + eps), (*x.shape[:-1], 1))",
            "Mean and variance are taken over all axes but the first: every token is normalised by itself, "
            "over the last axis alone."),
    mistake("over_the_batch",
            "c = x - x.mean(-1, keepdims=True)\n" + RSTD,
            "c = (x - x.mean(0)) / np.sqrt(x.var(0) + eps)\nrstd = np.ones_like(x[..., :1])",
            "Mean and variance are taken over the batch, as in batch normalisation: "
            "layer normalisation takes them over the features of each token, the last axis."),
    mistake("mean_kept", "c = x - x.mean(-1, keepdims=True)", "c = x",
            "The mean is not subtracted, as in RMS normalisation: n = (x - μ) r."),
    mistake("shift_before_scale", "y = g * n + b", "y = g * (n + b)",
            "The shift is added before the scale: y = g ⊙ n + b."),
    mistake("statistics_as_constants", DX, "dx = rstd * dn",
            "Mean and variance are treated as constants: they depend on every feature of the token, "
            "dx = r (dn - mean dn - n mean(dn ⊙ n)). Every row of dx must sum to 0."),
    mistake("variance_as_constant", DX, "dx = rstd * (dn - dn.mean(-1, keepdims=True))",
            "The way through the variance is missing: dx = r (dn - mean dn - n mean(dn ⊙ n))."),
    mistake("mean_as_constant", DX, "dx = rstd * (dn - n * (dn * n).mean(-1, keepdims=True))",
            "The way through the mean is missing: dx = r (dn - mean dn - n mean(dn ⊙ n)), whose rows sum to 0."),
    mistake("sums_for_means", DX, "dx = rstd * (dn - dn.sum(-1, keepdims=True) - n * (dn * n).sum(-1, keepdims=True))",
            "The factor 1/D is missing: dx = r (dn - mean dn - n mean(dn ⊙ n)) has means, not sums."),
    mistake("no_rstd", DX, "dx = dn - dn.mean(-1, keepdims=True) - n * (dn * n).mean(-1, keepdims=True)",
            "The factor r = 1 / √(v + ε) is missing: dx = r (dn - mean dn - n mean(dn ⊙ n))."),
    mistake("scale_forgotten", "dn = g * dy", "dn = dy",
            "The learned scale is forgotten in dx: n was multiplied by g, so dn = g ⊙ dy."),
    mistake("dg_without_n", "dg = (dy * n).reshape(-1, len(g)).sum(0)",
            "dg = (dy * n / rstd).reshape(-1, len(g)).sum(0)",
            "dg is taken with x - μ, which is not divided by the standard deviation: dg = Σ dy ⊙ n."),
    mistake("dg_averaged", "dg = (dy * n).reshape(-1, len(g)).sum(0)", "dg = (dy * n).reshape(-1, len(g)).mean(0)",
            "dg is a mean over the tokens: one scale served them all, so its gradients add, dg = Σ dy ⊙ n."),
    mistake("db_averaged", "db = dy.reshape(-1, len(g)).sum(0)", "db = dy.reshape(-1, len(g)).mean(0)",
            "db is a mean over the tokens: one shift served them all, so its gradients add, db = Σ dy."),
    convention("eps_of_keras",
               'x: Float[Array, "*B D"], g: Float[Array, "D"], b: Float[Array, "D"], *, eps: float = 1e-5',
               'x: Float[Array, "*B D"], g: Float[Array, "D"], b: Float[Array, "D"], *, eps: float = 1e-3',
               "ε is 10⁻³ where none is given; here it is 10⁻⁵.", by="keras"),
    convention("eps_of_timm",
               'x: Float[Array, "*B D"], g: Float[Array, "D"], b: Float[Array, "D"], *, eps: float = 1e-5',
               'x: Float[Array, "*B D"], g: Float[Array, "D"], b: Float[Array, "D"], *, eps: float = 1e-6',
               "ε is 10⁻⁶ where none is given; here it is 10⁻⁵.", by="timm"),
    equal("power", RSTD, "rstd = ((c * c).mean(-1, keepdims=True) + eps) ** -0.5"),
    equal("sums", DX,
          "D = n.shape[-1]\n"
          "dx = rstd / D * (D * dn - dn.sum(-1, keepdims=True) - n * (dn * n).sum(-1, keepdims=True))"),
    equal("step_by_step", DX,
          "c, D = n / rstd, n.shape[-1]\n"
          "dv = (dn * c).sum(-1, keepdims=True) * -0.5 * rstd * rstd * rstd\n"
          "dm = -(dn * rstd).sum(-1, keepdims=True) - 2 * dv * c.mean(-1, keepdims=True)\n"
          "dx = dn * rstd + 2 / D * dv * c + dm / D"),
]


def small_variance(rng):
    """features that differ by about √ε: where ε stands, and how large it is"""
    D = 6
    return (rng.normal(0, 0.002, size=(2, 3, D)), rng.normal(size=D), rng.normal(size=D)), {}


def large_mean(rng, precision):
    """a mean that dwarfs the deviations: a variance as the difference of two squares"""
    D = 6
    mean = 0.05 / precision.stored ** 0.5
    return (mean + rng.normal(size=(2, 3, D)), rng.normal(size=D), rng.normal(size=D)), {"eps": 1e-6}


def equal_features(rng):
    """tokens whose features are all equal: nothing but ε below the fraction"""
    D = 4
    x = np.repeat(rng.integers(-3, 4, size=(3, 1)) * 1.0, D, axis=1)
    return (np.concatenate([x, rng.normal(size=(2, D))]), rng.normal(size=D), rng.normal(size=D)), {}


def one_feature(rng):
    """tokens of one feature, which give the shift and pass no gradient"""
    return (rng.normal(size=(4, 1)), rng.normal(size=1), rng.normal(size=1)), {}


def large_eps(rng):
    """an ε like the variance, and as many tokens as features: axes that are mixed up"""
    D = 4
    return (rng.normal(size=(2, D, D)), rng.normal(size=D), rng.normal(size=D)), {"eps": 0.5}


def scales_apart(rng):
    """tokens of very different size: one variance for several"""
    D = 5
    x = rng.normal(size=(2, 3, D)) * np.array([0.1, 1, 30])[:, None]
    return (x + np.array([0.0, 4.0])[:, None, None], rng.normal(size=D), rng.normal(size=D)), {}


CASES = [small_variance, large_mean, equal_features, one_feature, large_eps, scales_apart]

ALIASES = {"weight": "g", "gamma": "g", "bias": "b", "beta": "b", "epsilon": "eps"}
