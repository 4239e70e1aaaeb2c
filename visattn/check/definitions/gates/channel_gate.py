"""Eq. (2) of CBAM, one channel at a time; `ties` changes nothing here."""

import math

import numpy as np


def forward(x, w1, w2, *, ties="first"):
    N, C, H, W = x.shape
    y = np.zeros(x.shape)
    for n in range(N):
        pixels = [[x[n, c, i, j] for i in range(H) for j in range(W)] for c in range(C)]
        means, maxima = [sum(p) / (H * W) for p in pixels], [max(p) for p in pixels]
        for c in range(C):
            gate = 1 / (1 + math.exp(-mlp(means, w1, w2, c) - mlp(maxima, w1, w2, c)))
            for i in range(H):
                for j in range(W):
                    y[n, c, i, j] = gate * x[n, c, i, j]
    return y


def mlp(z, w1, w2, c):
    """The c-th output of W₂ δ(W₁ z)."""
    h = [max(0.0, sum(w1[m, k] * z[k] for k in range(len(z)))) for m in range(len(w1))]
    return sum(w2[c, m] * h[m] for m in range(len(h)))
