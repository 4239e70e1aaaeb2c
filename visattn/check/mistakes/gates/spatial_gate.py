"""What goes wrong in CBAM's spatial gate."""

import numpy as np

from visattn.check.changes import convention, mistake
from visattn.check.mistakes.primitives.global_max_pool2d import spread

D = "d = np.stack([x.mean(axis=1), maxima], axis=1)"
CONV = "a, conv = conv2d.forward(d, w, padding=(Kh // 2, Kw // 2))"
S = "s, _ = sigmoid.forward(a)"
DA = "da = ds * s * (1 - s)"
DX = "dx = s * dy + dd[:, :1] / x.shape[1] + share(dd[:, 1], wins, axis=1)"
EXCHANGED = """
right_forward, right_backward = forward, backward


def forward(x, w, **options):
    return right_forward(x, w[:, ::-1], **options)


def backward(dy, cache):
    dx, dw = right_backward(dy, cache)
    return dx, dw[:, ::-1]


def example(rng):"""

CHANGES = [
    mistake("mean_twice", D, "d = np.stack([x.mean(axis=1), x.mean(axis=1)], axis=1)",
            "Both maps are the mean: the second is the maximum over the channels, d = [mean_c x; max_c x].",
            "eq. (3), lesson 2"),
    mistake("sum_for_mean", D, "d = np.stack([x.sum(axis=1), maxima], axis=1)",
            "The channels are summed, not averaged: d = [mean_c x; max_c x].", "eq. (3), lesson 2"),
    mistake("no_sigmoid", S, "s = a",
            "The sigmoid is missing: the gate can be negative, and has no limit. s = σ(w ∗ d).", "eq. (3), lesson 2"),
    mistake("shortcut_added", "y = s * x", "y = s * x + x",
            "x is added to what was gated: y = s ⊙ x. The shortcut belongs to the network around it."),
    mistake("mean_over_channels_in_ds", "ds = (dy * x).sum(axis=1, keepdims=True)",
            "ds = (dy * x).mean(axis=1, keepdims=True)",
            "ds is a mean over the channels: one gate served them all, so their gradients add, ds = Σ_c dy ⊙ x.",
            "lesson 2"),
    mistake("x_forgotten_in_ds", "ds = (dy * x).sum(axis=1, keepdims=True)", "ds = dy.sum(axis=1, keepdims=True)",
            "The gate's gradient lacks x: y = s ⊙ x gives ds = Σ_c dy ⊙ x.", "lesson 2"),
    mistake("derivative_is_the_gate", DA, "da = ds * s",
            "The derivative of the sigmoid lacks its second factor: da = ds ⊙ s (1 - s).", "lesson 2"),
    mistake("sigmoid_not_differentiated", DA, "da = ds",
            "The gradient passes the sigmoid as if it were not there: da = ds ⊙ s (1 - s).", "lesson 2"),
    mistake("gate_as_constant", DX, "dx = s * dy",
            "The ways through the gate are forgotten: dx = s ⊙ dy, + dd₁ / C through the mean, + dd₂ where the "
            "maximum is.",
            "lesson 2"),
    mistake("only_through_the_gate", DX, "dx = dd[:, :1] / x.shape[1] + share(dd[:, 1], wins, axis=1)",
            "The direct way is forgotten: y = s ⊙ x gives dx = s ⊙ dy, and what comes through the gate on top.",
            "lesson 2"),
    mistake("maximum_as_constant", DX, "dx = s * dy + dd[:, :1] / x.shape[1]",
            "The way through the maximum is forgotten: in the largest channel of each pixel, dx += dd₂.", "lesson 2"),
    mistake("mean_as_constant", DX, "dx = s * dy + share(dd[:, 1], wins, axis=1)",
            "The way through the mean is forgotten: every channel had a share in it, dx += dd₁ / C.", "lesson 2"),
    mistake("channels_not_counted", DX, "dx = s * dy + dd[:, :1] + share(dd[:, 1], wins, axis=1)",
            "The 1/C of the mean is missing: dx += dd₁ / C.", "lesson 2"),
    mistake("maximum_to_all", DX, "dx = s * dy + dd[:, :1] / x.shape[1] + dd[:, 1:]",
            "The gradient of the maximum goes to all channels: it belongs to the largest alone.", "lesson 2"),
    mistake("maps_swapped_in_backward", DX, "dx = s * dy + dd[:, 1:] / x.shape[1] + share(dd[:, 0], wins, axis=1)",
            "The gradients of the two maps have changed places: dd₁ belongs to the mean, dd₂ to the maximum.",
            "lesson 2"),
    mistake("ties_ignored", "maxima, wins = largest(x, 1, ties)", 'maxima, wins = largest(x, 1, "first")',
            'The first of equally large channels takes the whole gradient, although ties="even" asks for equal parts.',
            "lesson 2"),
    convention("maximum_first", "def example(rng):", EXCHANGED,
               "The maximum is the first map and the mean the second, so the two kernels have changed places; "
               "the paper has [mean; max].", by="the authors' code"),
    convention("normalised", S, "s, _ = sigmoid.forward((a - a.mean()) / np.sqrt(((a - a.mean()) ** 2).mean() + 1e-5))",
               "A batch normalisation follows the convolution; the paper has none, s = σ(w ∗ d).",
               by="timm, the authors' code"),
    convention("ties_shared", "maxima, wins = largest(x, 1, ties)", 'maxima, wins = largest(x, 1, "even")',
               "Equally large channels share the gradient of the maximum where the first should take it: "
               "amax does so, max over an axis does not.", by="timm, torch.amax", see="lesson 2"),
]


def wide_kernel(rng):
    """more rows than columns, a kernel with more columns than rows, of which most lies outside"""
    return (1 + spread(rng, (2, 3, 6, 4)), rng.normal(size=(1, 2, 3, 7)) / 4), {}


def one_tap(rng):
    """a kernel of one number: each pixel by itself"""
    return (1 + spread(rng, (2, 4, 3, 4)), rng.normal(size=(1, 2, 1, 1))), {}


def saturated(rng):
    """gates fully open and fully shut: the derivative of the sigmoid"""
    return (1 + spread(rng, (2, 3, 4, 5)), 15 * rng.normal(size=(1, 2, 3, 3))), {}


def one_channel(rng):
    """one channel: mean and maximum are the same"""
    return (spread(rng, (2, 1, 4, 5)), rng.normal(size=(1, 2, 3, 3))), {}


def all_negative(rng):
    """pixels whose channels are all negative: a maximum that starts from 0"""
    return (spread(rng, (2, 3, 4, 5)) - 5, rng.normal(size=(1, 2, 3, 5)) / 4), {}


def zero_pixels_first(rng):
    """pixels that are zero, as after a ReLU: the first of the equal channels takes the gradient of the maximum"""
    return (_after_a_relu(rng), rng.normal(size=(1, 2, 3, 3))), {"ties": "first"}


def zero_pixels_even(rng):
    """pixels that are zero, as after a ReLU: equal channels share the gradient of the maximum"""
    return (_after_a_relu(rng), rng.normal(size=(1, 2, 3, 3))), {"ties": "even"}


def _after_a_relu(rng):
    x = np.maximum(spread(rng, (2, 3, 4, 5)), 0)
    x[:, :, 1] = 0
    return x


CASES = [wide_kernel, one_tap, saturated, one_channel, all_negative, zero_pixels_first, zero_pixels_even]

ALIASES = {"weight": "w", "conv": "w"}
