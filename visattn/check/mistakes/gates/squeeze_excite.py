"""What goes wrong in squeeze-and-excitation."""

import numpy as np

from visattn.check.changes import equal, mistake

DB = "db = ds * s * (1 - s)"
DX = "dx = s[:, :, None, None] * dy + dz[:, :, None, None] / HW"

CHANGES = [
    mistake("sum_for_mean", "z = x.mean(axis=(2, 3))", "z = x.sum(axis=(2, 3))",
            "The pixels are summed, not averaged: the gate then depends on the size of the image. z = mean_hw x.",
            "eq. (2), lesson 2"),
    mistake("maximum_for_mean", "z = x.mean(axis=(2, 3))", "z = x.max(axis=(2, 3))",
            "The squeeze takes the largest pixel: it is the mean, z = mean_hw x.", "eq. (2), lesson 2"),
    mistake("no_relu", "h = np.maximum(z @ w1.T, 0)", "h = z @ w1.T",
            "The ReLU between the two matrices is missing, and without it they are one: s = σ(W₂ δ(W₁ z)).",
            "eq. (3), lesson 2"),
    mistake("no_sigmoid", "s, _ = sigmoid.forward(h @ w2.T)", "s = h @ w2.T",
            "The sigmoid is missing: the gate can be negative, and has no limit. s = σ(W₂ δ(W₁ z)).",
            "eq. (3), lesson 2"),
    mistake("softmax_for_sigmoid", "s, _ = sigmoid.forward(h @ w2.T)",
            "e = np.exp(h @ w2.T - (h @ w2.T).max(axis=1, keepdims=True))\ns = e / e.sum(axis=1, keepdims=True)",
            "The gates of an image sum to 1: a softmax over the channels stands where a sigmoid should, "
            "which opens each gate by itself.", "eq. (3), lesson 2"),
    mistake("shortcut_added", "y = s[:, :, None, None] * x", "y = s[:, :, None, None] * x + x",
            "x is added to what was gated: y = s ⊙ x. The shortcut belongs to the network around it.", "eq. (4)"),
    mistake("mean_over_pixels_in_ds", "ds = (dy * x).sum(axis=(2, 3))", "ds = (dy * x).mean(axis=(2, 3))",
            "ds is a mean over the pixels: one gate served them all, so their gradients add, ds = Σ_hw dy ⊙ x.",
            "lesson 2"),
    mistake("x_forgotten_in_ds", "ds = (dy * x).sum(axis=(2, 3))", "ds = dy.sum(axis=(2, 3))",
            "The gate's gradient lacks x: y = s ⊙ x gives ds = Σ_hw dy ⊙ x.", "lesson 2"),
    mistake("derivative_is_the_gate", DB, "db = ds * s",
            "The derivative of the sigmoid lacks its second factor: σ' = s (1 - s), so db = ds ⊙ s (1 - s).",
            "lesson 2"),
    mistake("sigmoid_not_differentiated", DB, "db = ds",
            "The gradient passes the sigmoid as if it were not there: db = ds ⊙ s (1 - s).", "lesson 2"),
    mistake("relu_not_differentiated", "da = (db @ w2) * (h > 0)", "da = db @ w2",
            "The ReLU is missing in backward: only where h > 0 does anything come back, da = dh ⊙ [h > 0].",
            "lesson 2"),
    mistake("relu_of_the_gradient", "da = (db @ w2) * (h > 0)", "da = np.maximum(db @ w2, 0)",
            "The ReLU is applied to the gradient: what counts is the sign of what it saw, da = dh ⊙ [h > 0].",
            "lesson 2"),
    mistake("gate_as_constant", DX, "dx = s[:, :, None, None] * dy",
            "The way through the gate is forgotten: x was gated, and the gate was made from x, dx = s ⊙ dy + dz / HW. "
            "What is missing is the same at every pixel of a channel.", "lesson 2"),
    mistake("only_through_the_gate", DX, "dx = np.zeros_like(x) + dz[:, :, None, None] / HW",
            "The direct way is forgotten: y = s ⊙ x gives dx = s ⊙ dy, and dz / HW comes on top.", "lesson 2"),
    mistake("pixels_not_counted", DX, "dx = s[:, :, None, None] * dy + dz[:, :, None, None]",
            "The 1/HW of the mean is missing: each pixel had a share of 1/HW in z, dx = s ⊙ dy + dz / HW.", "lesson 2"),
    mistake("rows_taken_for_pixels", "HW = x.shape[2] * x.shape[3]", "HW = x.shape[2] ** 2",
            "The number of pixels is taken as H², which is right for square images only: it is H · W."),
    equal("columns_then_rows", "z = x.mean(axis=(2, 3))", "z = x.mean(axis=3).mean(axis=2)"),
]


def weights(rng, M, C):
    """W₁ (M, C) and W₂ (C, M) of a network between the channels."""
    return rng.normal(size=(M, C)) / C ** 0.5, rng.normal(size=(C, M)) / M ** 0.5


def more_rows(rng):
    """more rows than columns, off zero on average: sums for means, and H for W"""
    return (rng.normal(1, 1, size=(2, 6, 5, 3)), *weights(rng, 3, 6)), {}


def saturated(rng):
    """gates fully open and fully shut: the derivative of the sigmoid"""
    w1, w2 = weights(rng, 3, 6)
    return (rng.normal(1, 1, size=(2, 6, 4, 3)), w1, 40 * w2), {}


def nothing_behind_the_relu(rng):
    """a hidden vector of zeros: every gate is ½, and no gradient comes back through them"""
    w1, w2 = weights(rng, 2, 4)
    return (1 + rng.random(size=(2, 4, 3, 4)), -abs(w1), w2), {}


def one_channel(rng):
    """one channel, one number between"""
    return (rng.normal(1, 1, size=(3, 1, 2, 4)), np.ones((1, 1)), -np.ones((1, 1))), {}


def one_pixel(rng):
    """images of one pixel, and no fewer numbers between than channels"""
    return (rng.normal(size=(3, 5, 1, 1)), *weights(rng, 5, 5)), {}


CASES = [more_rows, saturated, nothing_behind_the_relu, one_channel, one_pixel]

ALIASES = {"fc1": "w1", "fc2": "w2"}
