"""What goes wrong in efficient channel attention.

How many taps there are is no mistake that the operator can make: they are given.
"""

import numpy as np

from visattn.check.changes import convention, equal, mistake

PAD = ("return np.lib.stride_tricks.sliding_window_view(np.pad(z, ((0, 0), (K // 2, K // 2))), K, axis=1)")
S = "s, _ = sigmoid.forward(u @ w)"
DA = "da = ds * s * (1 - s)"
DX = "dx = s[:, :, None, None] * dy + dz[:, :, None, None] / HW"

CHANGES = [
    mistake("sum_for_mean", "z = x.mean(axis=(2, 3))", "z = x.sum(axis=(2, 3))",
            "The pixels are summed, not averaged: z = mean_hw x."),
    mistake("taps_turned_around", S, "s, _ = sigmoid.forward(u @ w[::-1])",
            "The taps are turned around, as in the convolution of mathematics: s_c = σ(Σ_k w_k z_{c + k - (K - 1) / "
            "2})."),
    mistake("padded_in_front", PAD, PAD.replace("(K // 2, K // 2)", "(K - 1, 0)"),
            "All zeros stand before the first channel: (K - 1) / 2 of them belong on either side, "
            "and the middle tap to the channel itself."),
    mistake("border_repeated", PAD, PAD.replace("(K // 2, K // 2))", '(K // 2, K // 2)), mode="edge"'),
            "The first and the last channel are repeated beyond the border, where zeros belong."),
    mistake("no_sigmoid", S, "s = u @ w",
            "The sigmoid is missing: the gate can be negative, and has no limit."),
    mistake("softmax_for_sigmoid", S, "e = np.exp(u @ w - (u @ w).max(axis=1, keepdims=True))\n"
            "s = e / e.sum(axis=1, keepdims=True)",
            "The gates of an image sum to 1: a softmax over the channels stands where a sigmoid should, "
            "which opens each gate by itself."),
    mistake("mean_over_pixels_in_ds", "ds = (dy * x).sum(axis=(2, 3))", "ds = (dy * x).mean(axis=(2, 3))",
            "ds is a mean over the pixels: one gate served them all, so their gradients add, ds = Σ_hw dy ⊙ x."),
    mistake("derivative_is_the_gate", DA, "da = ds * s",
            "The derivative of the sigmoid lacks its second factor: da = ds ⊙ s (1 - s)."),
    mistake("sigmoid_not_differentiated", DA, "da = ds",
            "The gradient passes the sigmoid as if it were not there: da = ds ⊙ s (1 - s)."),
    mistake("taps_not_turned_in_backward", "dz = _windows(da, len(w)) @ w[::-1]", "dz = _windows(da, len(w)) @ w",
            "The taps are not turned around on the way back: dz_c = Σ_k w_k da_{c - k + (K - 1) / 2}, since channel "
            "c was "
            "the left neighbour of some gates and the right one of others."),
    mistake("gate_as_constant", DX, "dx = s[:, :, None, None] * dy",
            "The way through the gate is forgotten: x was gated, and the gate was made from x, dx = s ⊙ dy + dz / HW."),
    mistake("only_through_the_gate", DX, "dx = np.zeros_like(x) + dz[:, :, None, None] / HW",
            "The direct way is forgotten: y = s ⊙ x gives dx = s ⊙ dy, and dz / HW comes on top."),
    mistake("pixels_not_counted", DX, "dx = s[:, :, None, None] * dy + dz[:, :, None, None]",
            "The 1/HW of the mean is missing: each pixel had a share of 1/HW in z, dx = s ⊙ dy + dz / HW."),
    convention("circular", PAD, PAD.replace("(K // 2, K // 2))", '(K // 2, K // 2)), mode="wrap"'),
               "The first channel is the neighbour of the last; the paper has zeros beyond both.",
               by="timm.layers.CecaModule"),
    equal("columns_then_rows", "z = x.mean(axis=(2, 3))", "z = x.mean(axis=3).mean(axis=2)"),
]


def five_taps(rng):
    """taps that reach over several channels, and over both ends; more rows than columns"""
    return (rng.normal(1, 1, size=(2, 6, 5, 3)), rng.normal(size=5)), {}


def more_taps_than_channels(rng):
    """most taps lie beyond the first and the last channel"""
    return (rng.normal(1, 1, size=(2, 4, 3, 4)), rng.normal(size=7)), {}


def one_tap(rng):
    """one tap: each channel by itself"""
    return (rng.normal(size=(2, 5, 3, 4)), np.array([1.25])), {}


def saturated(rng):
    """gates fully open and fully shut: the derivative of the sigmoid"""
    return (rng.normal(1, 1, size=(2, 6, 3, 4)), 30 * rng.normal(size=3)), {}


def one_channel(rng):
    """one channel, all but the middle tap beyond it"""
    return (rng.normal(1, 1, size=(2, 1, 3, 4)), rng.normal(size=3)), {}


CASES = [five_taps, more_taps_than_channels, one_tap, saturated, one_channel]

ALIASES = {"weight": "w", "conv": "w"}
