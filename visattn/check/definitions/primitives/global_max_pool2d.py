"""The largest pixel of each channel; `ties` says where the gradient goes, and changes nothing here."""

import numpy as np


def forward(x, *, ties="first"):
    N, C, H, W = x.shape
    y = np.zeros((N, C))
    for n, c in np.ndindex(N, C):
        y[n, c] = max(x[n, c, i, j] for i in range(H) for j in range(W))
    return y
