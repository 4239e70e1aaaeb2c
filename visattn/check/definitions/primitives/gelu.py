"""GELU, one number at a time."""

import math

import numpy as np


def forward(x, *, approximate="none"):
    y = np.zeros(x.shape)
    for i, v in np.ndenumerate(x):
        v = float(v)
        if approximate == "tanh":
            y[i] = v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v * v * v))) / 2
        else:
            y[i] = v * math.erfc(-v / math.sqrt(2)) / 2
    return y
