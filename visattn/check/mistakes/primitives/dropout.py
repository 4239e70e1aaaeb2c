"""What goes wrong in dropout.

A second mask, drawn in backward, equals no known answer; what gives it away is that two runs differ.
"""

import numpy as np

from visattn.check.changes import mistake

Y = "y = np.where(mask, x / (1 - rate), 0)"
DX = "return (np.where(mask, dy / (1 - rate), 0),)"

CHANGES = [
    mistake("not_scaled", Y, "y = np.where(mask, x, 0)",
            "What is kept is not scaled, so the mean shrinks: y = m ⊙ x / (1 - rate)."),
    mistake("divided_by_the_rate", Y, "y = np.where(mask, x / rate, 0)",
            "What is kept is divided by the rate: it is the probability of being kept that counts, "
            "y = m ⊙ x / (1 - rate)."),
    mistake("multiplied", Y, "y = np.where(mask, x * (1 - rate), 0)",
            "What is kept is multiplied by 1 - rate: in training it is divided by it, y = m ⊙ x / (1 - rate)."),
    mistake("divided_by_what_was_kept", Y, "y = np.where(mask, x / np.maximum(mask.mean(dtype=x.dtype), 0.01), 0)",
            "The scale is the share that this mask happens to keep: it is the probability, y = m ⊙ x / (1 - rate)."),
    mistake("mask_inverted", Y, "y = np.where(mask, 0, x / (1 - rate))",
            "What should be kept is dropped, and the other way around: True means kept."),
    mistake("not_applied", Y, "y = x * 1.0",
            "Nothing is dropped: the mask is there and not used, y = m ⊙ x / (1 - rate)."),
    mistake("gradient_not_masked", DX, "return (dy / (1 - rate),)",
            "The gradient passes what was dropped: the same mask holds in backward, dx = m ⊙ dy / (1 - rate)."),
    mistake("gradient_not_scaled", DX, "return (np.where(mask, dy, 0),)",
            "The gradient is not scaled: the same scale holds in backward, dx = m ⊙ dy / (1 - rate)."),
    mistake("gradient_times_the_rate", DX, "return (np.where(mask, dy * rate, 0),)",
            "The gradient is multiplied by the rate: dx = m ⊙ dy / (1 - rate)."),
    mistake("gradient_masked_inversely", DX, "return (np.where(mask, 0, dy / (1 - rate)),)",
            "The gradient goes to what was dropped: the same mask holds in backward, dx = m ⊙ dy / (1 - rate)."),
]


def nothing_dropped(rng):
    """rate 0: nothing happens"""
    return (rng.normal(size=(3, 4)),), {"mask": np.ones((3, 4), bool), "rate": 0.0}


def most_dropped(rng):
    """a high rate, whose complement is far from it"""
    return (rng.normal(size=(4, 10)),), {"mask": rng.random(size=(4, 10)) >= 0.875, "rate": 0.875}


def whole_channels(rng):
    """a mask that is broadcast over the pixels of a channel"""
    mask = np.array([[True, False, True], [False, True, True]])[:, :, None, None]
    return (rng.normal(size=(2, 3, 2, 4)),), {"mask": mask, "rate": 0.25}


def all_dropped(rng):
    """a mask that keeps nothing"""
    return (rng.normal(size=(3, 4)),), {"mask": np.zeros((3, 4), bool), "rate": 0.5}


CASES = [nothing_dropped, most_dropped, whole_channels, all_dropped]

ALIASES = {"p": "rate"}
