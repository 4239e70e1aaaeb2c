"""Dropout, one number at a time."""

import numpy as np


def forward(x, *, mask, rate):
    y = np.zeros(x.shape)
    mask = np.broadcast_to(mask, x.shape)
    for i in np.ndindex(x.shape):
        if mask[i]:
            y[i] = x[i] / (1 - rate)
    return y
