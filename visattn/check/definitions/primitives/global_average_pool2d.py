"""The mean of each channel, one pixel at a time."""

import math

import numpy as np


def forward(x):
    N, C, H, W = x.shape
    y = np.zeros((N, C))
    for n, c in np.ndindex(N, C):
        y[n, c] = math.fsum(x[n, c, i, j] for i in range(H) for j in range(W)) / (H * W)
    return y
