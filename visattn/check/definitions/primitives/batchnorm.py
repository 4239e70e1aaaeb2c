"""Batch normalisation, one channel at a time."""

import math

import numpy as np


def forward(x, g, b, *, mean=None, var=None, eps=1e-5):
    y = np.zeros(x.shape)
    N, C, H, W = x.shape
    for c in range(C):
        pixels = [float(x[n, c, i, j]) for n in range(N) for i in range(H) for j in range(W)]
        if not pixels:
            continue
        centre = math.fsum(pixels) / len(pixels) if mean is None else float(mean[c])
        spread = math.fsum((p - centre) ** 2 for p in pixels) / len(pixels) if var is None else float(var[c])
        for n, i, j in np.ndindex(N, H, W):
            y[n, c, i, j] = g[c] * (x[n, c, i, j] - centre) / math.sqrt(spread + eps) + b[c]
    return y
