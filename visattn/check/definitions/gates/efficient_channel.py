"""Efficient channel attention, one channel and one neighbour at a time."""

import math

import numpy as np


def forward(x, w):
    N, C, H, W = x.shape
    y = np.zeros(x.shape)
    for n in range(N):
        z = [sum(x[n, c, i, j] for i in range(H) for j in range(W)) / (H * W) for c in range(C)]
        for c in range(C):
            near = range(c - (len(w) - 1) // 2, c + (len(w) - 1) // 2 + 1)
            gate = 1 / (1 + math.exp(-sum(w_k * z[b] for w_k, b in zip(w, near) if 0 <= b < C)))
            for i in range(H):
                for j in range(W):
                    y[n, c, i, j] = gate * x[n, c, i, j]
    return y
