"""What goes wrong in CBAM: how its two gates are put together.  What goes wrong in a gate stands with that gate."""

import numpy as np

from visattn.check.changes import mistake
from visattn.check.mistakes.gates.squeeze_excite import weights
from visattn.check.mistakes.primitives.global_max_pool2d import spread

CHANNEL = "z, channel = channel_gate.forward(x, w1, w2, ties=ties)"
SPATIAL = "y, spatial = spatial_gate.forward(z, w, ties=ties)"

CHANGES = [
    mistake("where_before_what", CHANNEL + "\n" + SPATIAL,
            "z, spatial = spatial_gate.forward(x, w, ties=ties)\n"
            "y, channel = channel_gate.forward(z, w1, w2, ties=ties)",
            "The gate per pixel comes before the gate per channel: z = M_c(x) ⊙ x, and then y = M_s(z) ⊙ z.",
            "eqs. (2) and (3), lesson 2"),
    mistake("side_by_side", SPATIAL,
            "_, spatial = spatial_gate.forward(x, w, ties=ties)\ny = spatial.s * z",
            "The gate per pixel is computed from x: it sees what the first gate has left, y = M_s(z) ⊙ z.",
            "eq. (3), lesson 2"),
    mistake("gates_added", SPATIAL,
            "_, spatial = spatial_gate.forward(x, w, ties=ties)\ny = z + spatial.s * x",
            "Both gates are applied to x and the results added: the second gates what the first has left, "
            "y = M_s(z) ⊙ z.", "eq. (3), lesson 2"),
    mistake("shortcut_added", "return y, Cache(x, channel, spatial)", "return y + x, Cache(x, channel, spatial)",
            "x is added at the end: the shortcut belongs to the residual network around CBAM, which adds none itself."),
    mistake("spatial_gate_skipped_in_backward", "dx, dw1, dw2 = channel_gate.backward(dz, cache.channel)",
            "dx, dw1, dw2 = channel_gate.backward(dy, cache.channel)",
            "The gradient of the output goes straight into the channel gate: it passes the spatial gate first, "
            "which turns dy into dz.", "lesson 2"),
    mistake("channel_gate_skipped_in_backward", "return dx, dw1, dw2, dw", "return dz, dw1, dw2, dw",
            "dx is what comes back from the spatial gate: dz still has to pass the channel gate.", "lesson 2"),
]


def more_rows(rng):
    """more rows than columns, a kernel with more columns than rows"""
    return (1 + spread(rng, (2, 4, 5, 3)), *weights(rng, 3, 4), rng.normal(size=(1, 2, 3, 5)) / 4), {}


def opposite_branches(rng):
    """means below 0, maxima above: the two branches open different numbers behind the ReLU"""
    w1, w2 = weights(rng, 4, 4)
    w1 = abs(w1) * np.array([1, -1, 1, -1])[:, None]
    return (spread(rng, (3, 4, 3, 4)) - 1, w1, w2, rng.normal(size=(1, 2, 1, 3))), {}


def shut(rng):
    """gates nearly shut: what remains, and how it is differentiated"""
    w1, w2 = weights(rng, 2, 4)
    return (1 + spread(rng, (2, 4, 3, 4)), abs(w1), -8 * abs(w2), -2 * rng.random(size=(1, 2, 3, 3))), {}


def after_a_relu_first(rng):
    """zero channels and zero pixels: the first of equal elements takes the gradient of the maximum"""
    return _after_a_relu(rng), {"ties": "first"}


def after_a_relu_even(rng):
    """zero channels and zero pixels: equal elements share the gradient of the maximum"""
    return _after_a_relu(rng), {"ties": "even"}


def _after_a_relu(rng):
    x = np.maximum(spread(rng, (2, 4, 3, 4)), 0)
    x[0, 1] = x[:, :, 1] = 0
    return x, *weights(rng, 3, 4), rng.normal(size=(1, 2, 3, 3))


CASES = [more_rows, opposite_branches, shut, after_a_relu_first, after_a_relu_even]

ALIASES = {"fc1": "w1", "fc2": "w2", "conv": "w"}
