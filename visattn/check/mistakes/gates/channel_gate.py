"""What goes wrong in CBAM's channel gate.

That two networks read the two vectors is not among it: whoever builds two has more weights than the operator.
"""

import numpy as np

from visattn.check.changes import equal, mistake
from visattn.check.mistakes.gates.squeeze_excite import weights
from visattn.check.mistakes.primitives.global_max_pool2d import spread

Z = "z = np.stack([x.mean(axis=(2, 3)), maxima], axis=1)"
S = "s, _ = sigmoid.forward((h @ w2.T).sum(axis=1))"
DB = "db = ds * s * (1 - s)"
DX = "dx += s[:, :, None, None] * dy + dz[:, 0, :, None, None] / HW"

CHANGES = [
    mistake("mean_twice", Z, "z = np.stack([x.mean(axis=(2, 3)), x.mean(axis=(2, 3))], axis=1)",
            "The mean is used twice, and the maximum never: s = σ(W₂ δ(W₁ z) + W₂ δ(W₁ z′)) with z′ = max_hw x.",
            "eq. (2), lesson 2"),
    mistake("sum_for_mean", Z, "z = np.stack([x.sum(axis=(2, 3)), maxima], axis=1)",
            "The pixels are summed, not averaged: z = mean_hw x.", "eq. (2), lesson 2"),
    mistake("no_relu", "h = np.maximum(z @ w1.T, 0)", "h = z @ w1.T",
            "The ReLU between the two matrices is missing: s = σ(W₂ δ(W₁ z) + W₂ δ(W₁ z′)).", "eq. (2), lesson 2"),
    mistake("added_before_the_network", "h = np.maximum(z @ w1.T, 0)",
            "h = np.repeat(np.maximum(z.sum(axis=1, keepdims=True) @ w1.T, 0) / 2, 2, axis=1)",
            "Mean and maximum are added first, and pass the network together: each passes it by itself, "
            "W₂ δ(W₁ z) + W₂ δ(W₁ z′), which a ReLU tells apart.", "eq. (2), lesson 2"),
    mistake("no_network", S, "s, _ = sigmoid.forward(z.sum(axis=1))",
            "Mean and maximum go straight into the sigmoid: the network between is missing, "
            "s = σ(W₂ δ(W₁ z) + W₂ δ(W₁ z′)).", "eq. (2), lesson 2"),
    mistake("sigmoid_of_each", S, "s = sigmoid.forward(h @ w2.T)[0].sum(axis=1)",
            "Each branch has a sigmoid of its own, and the gates, which are added, lie between 0 and 2: "
            "add first, s = σ(W₂ δ(W₁ z) + W₂ δ(W₁ z′)).", "eq. (2), lesson 2"),
    mistake("branches_averaged", S, "s, _ = sigmoid.forward((h @ w2.T).mean(axis=1))",
            "The two branches are averaged: they are added, s = σ(W₂ δ(W₁ z) + W₂ δ(W₁ z′)).", "eq. (2), lesson 2"),
    mistake("no_sigmoid", S, "s = (h @ w2.T).sum(axis=1)",
            "The sigmoid is missing: the gate can be negative, and has no limit.", "eq. (2), lesson 2"),
    mistake("mean_over_pixels_in_ds", "ds = (dy * x).sum(axis=(2, 3))", "ds = (dy * x).mean(axis=(2, 3))",
            "ds is a mean over the pixels: one gate served them all, so their gradients add, ds = Σ_hw dy ⊙ x.",
            "lesson 2"),
    mistake("derivative_is_the_gate", DB, "db = ds * s",
            "The derivative of the sigmoid lacks its second factor: db = ds ⊙ s (1 - s).", "lesson 2"),
    mistake("sigmoid_not_differentiated", DB, "db = ds",
            "The gradient passes the sigmoid as if it were not there: db = ds ⊙ s (1 - s).", "lesson 2"),
    mistake("dw2_of_the_mean_alone", "dw2 = db.T @ h.sum(axis=1)", "dw2 = db.T @ h[:, 0]",
            "dW₂ has the branch of the mean alone: one network served both, so its gradients add, dW₂ = dbᵀ (h + h′).",
            "lesson 2"),
    mistake("dw1_of_the_mean_alone", 'dw1 = np.einsum("nkm,nkc->mc", da, z)', "dw1 = da[:, 0].T @ z[:, 0]",
            "dW₁ has the branch of the mean alone: one network served both, so its gradients add, "
            "dW₁ = daᵀ z + da′ᵀ z′.", "lesson 2"),
    mistake("one_relu_mask_for_both", "da = (db @ w2)[:, None] * (h > 0)", "da = (db @ w2)[:, None] * (h[:, :1] > 0)"
            " * np.ones_like(h)",
            "The branch of the maximum gets the ReLU's mask of the mean: da = dh ⊙ [h > 0], each with its own mask.",
            "lesson 2"),
    mistake("relu_not_differentiated", "da = (db @ w2)[:, None] * (h > 0)",
            "da = (db @ w2)[:, None] * np.ones_like(h)",
            "The ReLU is missing in backward: only where h > 0 does anything come back, da = dh ⊙ [h > 0].",
            "lesson 2"),
    mistake("maximum_as_constant", "dx, = global_max_pool2d.backward(dz[:, 1], pool)", "dx = np.zeros_like(x)",
            "The way through the maximum is forgotten: where the largest pixel is, dx += dz′.", "lesson 2"),
    mistake("mean_as_constant", DX, "dx += s[:, :, None, None] * dy",
            "The way through the mean is forgotten: every pixel had a share in it, dx += dz / HW.", "lesson 2"),
    mistake("gate_as_constant",
            "dx, = global_max_pool2d.backward(dz[:, 1], pool)\nHW = x.shape[2] * x.shape[3]\n" + DX,
            "dx = s[:, :, None, None] * dy",
            "Both ways through the gate are forgotten: dx = s ⊙ dy, + dz / HW through the mean, + dz′ where the "
            "maximum is.",
            "lesson 2"),
    mistake("only_through_the_gate", DX, "dx += dz[:, 0, :, None, None] / HW",
            "The direct way is forgotten: y = s ⊙ x gives dx = s ⊙ dy, and what comes through the gate on top.",
            "lesson 2"),
    mistake("pixels_not_counted", DX, "dx += s[:, :, None, None] * dy + dz[:, 0, :, None, None]",
            "The 1/HW of the mean is missing: dx += dz / HW.", "lesson 2"),
    equal("columns_then_rows", Z, "z = np.stack([x.mean(axis=3).mean(axis=2), maxima], axis=1)"),
]


def more_rows(rng):
    """more rows than columns, off zero on average: sums for means, and H for W"""
    return (1 + spread(rng, (2, 4, 5, 3)), *weights(rng, 3, 4)), {}


def opposite_branches(rng):
    """means below 0, maxima above: the two branches open different numbers behind the ReLU"""
    x = spread(rng, (3, 4, 3, 4)) - 1
    w1, w2 = weights(rng, 4, 4)
    return (x, abs(w1) * np.array([1, -1, 1, -1])[:, None], w2), {}


def saturated(rng):
    """gates fully open and fully shut: the derivative of the sigmoid"""
    w1, w2 = weights(rng, 3, 5)
    return (1 + spread(rng, (2, 5, 3, 4)), w1, 30 * w2), {}


def all_negative(rng):
    """channels whose largest pixel is negative: a maximum that starts from 0"""
    return (spread(rng, (2, 4, 3, 4)) - 5, *weights(rng, 3, 4)), {}


def zero_channels_first(rng):
    """channels of zeros, as after a ReLU: the first of the equal pixels takes the gradient of the maximum"""
    return (_after_a_relu(rng), *weights(rng, 3, 4)), {"ties": "first"}


def zero_channels_even(rng):
    """channels of zeros, as after a ReLU: equal pixels share the gradient of the maximum"""
    return (_after_a_relu(rng), *weights(rng, 3, 4)), {"ties": "even"}


def _after_a_relu(rng):
    x = np.maximum(spread(rng, (2, 4, 3, 4)), 0)
    x[0, 1] = x[1, 3] = 0
    return x


CASES = [more_rows, opposite_branches, saturated, all_negative, zero_channels_first, zero_channels_even]

ALIASES = {"fc1": "w1", "fc2": "w2"}
