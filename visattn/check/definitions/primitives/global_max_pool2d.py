"""The largest pixel of each channel; `ties` says where the gradient goes, and changes nothing here."""

import math

import numpy as np


def forward(x, *, ties="first"):
    N, C, H, W = x.shape
    y = np.zeros((N, C))
    for n, c in np.ndindex(N, C):
        pixels = [float(x[n, c, i, j]) for i in range(H) for j in range(W)]
        y[n, c] = math.nan if any(map(math.isnan, pixels)) else max(pixels)
    return y
