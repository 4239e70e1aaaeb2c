"""What goes wrong in batch normalisation.

What a training loop does with the averages of mean and variance is not seen here: the operator keeps none.
"""

import numpy as np

from visattn.check.changes import convention, equal, mistake

VAR = "var = ((x - mean[:, None, None]) ** 2).sum(NHW) / m"
RSTD = "rstd = 1 / np.sqrt(var + eps)"
DY = "dy = dy - (db / m)[:, None, None] - n * (dg / m)[:, None, None]"
DX = "dx = (g * rstd)[:, None, None] * dy"

CHANGES = [
    mistake("unbiased", VAR, "var = ((x - mean[:, None, None]) ** 2).sum(NHW) / (m - 1)",
            "The variance is divided by m - 1: a batch is normalised by the biased one, v = mean_nhw (x - μ)². "
            "The unbiased belongs in the running average alone."),
    mistake("one_pass_variance", VAR, "var = (x * x).sum(NHW) / m - mean * mean",
            "The variance is computed as mean x² - μ²: where the mean is large, two large numbers cancel and their "
            "rounding errors remain. Subtract the mean first."),
    mistake("eps_outside_the_root", RSTD, "rstd = 1 / (np.sqrt(var) + eps)",
            "ε is added to the standard deviation, not to the variance: r = 1 / √(v + ε)."),
    mistake("no_eps", RSTD, "rstd = 1 / np.sqrt(var)",
            "ε is missing: r = 1 / √(v + ε). A channel of equal pixels is then divided by 0."),
    mistake("no_root", RSTD, "rstd = 1 / (var + eps)",
            "The numbers are divided by the variance, not by its root: r = 1 / √(v + ε)."),
    mistake("each_image_by_itself", "n = (x - mean[:, None, None]) * rstd[:, None, None]",
            "n = (x - mean[:, None, None]) * rstd[:, None, None]\n"
            "if training:\n"
            "    n = (x - x.mean((2, 3), keepdims=True)) / np.sqrt(x.var((2, 3), keepdims=True) + eps)",
            "Mean and variance are taken over the pixels of one image, as in instance normalisation: "
            "they run over the batch, too, m = N · H · W."),
    mistake("statistics_given_but_unused", "training = mean is None", "mean, var = None, None\ntraining = mean is None",
            "The mean and variance that are given are ignored, and the batch is normalised by its own: "
            "in inference they are constants."),
    mistake("shift_before_scale", "y = g[:, None, None] * n + b[:, None, None]",
            "y = g[:, None, None] * (n + b[:, None, None])",
            "The shift is added before the scale: y = g ⊙ n + b."),
    mistake("statistics_as_constants", "if training:", "if False:",
            "Mean and variance of the batch are treated as constants, as in inference: in training they depend on "
            "every "
            "pixel, dx = g r (dy - db / m - n dg / m)."),
    mistake("constants_differentiated", "if training:", "if True:",
            "The given mean and variance are differentiated as if they came from the batch: in inference dx = g r dy."),
    mistake("variance_as_constant", DY, "dy = dy - (db / m)[:, None, None]",
            "The way through the variance is missing: dx = g r (dy - db / m - n dg / m)."),
    mistake("mean_as_constant", DY, "dy = dy - n * (dg / m)[:, None, None]",
            "The way through the mean is missing: dx = g r (dy - db / m - n dg / m)."),
    mistake("only_the_batch_counted", "m = max(n[:, 0].size, 1)", "m = len(n)",
            "The sums are divided by the number of images: a channel has m = N · H · W pixels."),
    mistake("scale_forgotten", DX, "dx = rstd[:, None, None] * dy",
            "The learned scale is forgotten in dx: dx = g r (dy - db / m - n dg / m)."),
    mistake("no_rstd", DX, "dx = g[:, None, None] * dy",
            "The factor r = 1 / √(v + ε) is missing: dx = g r (dy - db / m - n dg / m)."),
    mistake("dg_without_n", "dg = (dy * n).sum(NHW)", "dg = (dy * n).sum(NHW) / rstd",
            "dg is taken with x - μ, which is not divided by the standard deviation: dg = Σ dy ⊙ n."),
    convention("eps_of_keras", "eps: float = 1e-5,", "eps: float = 1e-3,",
               "ε is 10⁻³ where none is given; here it is 10⁻⁵.", by="keras"),
    equal("power", RSTD, "rstd = (var + eps) ** -0.5"),
    equal("sums", DY, "dy = (m * dy - db[:, None, None] - n * dg[:, None, None]) / m"),
    equal("quotient", "n = (x - mean[:, None, None]) * rstd[:, None, None]",
          "n = (x - mean[:, None, None]) / np.sqrt(var + eps)[:, None, None]"),
]


def weights(rng, C):
    return rng.normal(size=C), rng.normal(size=C)


def inference(rng):
    """mean and variance are given: constants, far from the batch's own"""
    C = 3
    given = {"mean": rng.normal(1, 1, size=C), "var": rng.uniform(0.5, 2, size=C)}
    return (rng.normal(size=(2, C, 4, 3)), *weights(rng, C)), given


def small_variance(rng):
    """pixels that differ by about √ε: where ε stands, and how large it is"""
    return (rng.normal(0, 0.002, size=(2, 3, 3, 4)), *weights(rng, 3)), {}


def large_mean(rng, precision):
    """a mean that dwarfs the deviations: a variance as the difference of two squares"""
    mean = 0.05 / precision.stored ** 0.5
    return (mean + rng.normal(size=(2, 3, 3, 4)), *weights(rng, 3)), {"eps": 1e-6}


def equal_pixels(rng):
    """a channel whose pixels are all equal: nothing but ε below the fraction"""
    x = rng.normal(size=(2, 3, 3, 2))
    x[:, 1] = 3
    return (x, *weights(rng, 3)), {}


def two_pixels(rng):
    """channels of two pixels: divided by 2, or by 1"""
    return (rng.normal(size=(1, 4, 1, 2)), *weights(rng, 4)), {}


def unlike_images(rng):
    """images of very different brightness: one mean and variance for all of them"""
    x = rng.normal(size=(3, 2, 4, 3)) * np.array([0.2, 1, 3])[:, None, None, None]
    return (x + np.array([-4.0, 0, 2])[:, None, None, None], *weights(rng, 2)), {"eps": 0.1}


CASES = [inference, small_variance, large_mean, equal_pixels, two_pixels, unlike_images]

ALIASES = {"weight": "g", "gamma": "g", "bias": "b", "beta": "b", "epsilon": "eps",
           "running_mean": "mean", "running_var": "var"}
