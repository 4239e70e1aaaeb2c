"""Eqs. (1)-(6) of the non-local block, one pair of positions at a time."""

import math

import numpy as np


def forward(x, w_g, w_z, w_theta=None, w_phi=None, w_f=None, *, form):
    N, C, H, W = x.shape
    M = len(w_g)
    z = np.zeros(x.shape)
    positions = [(i, j) for i in range(H) for j in range(W)]

    def embed(w, n):
        return {s: [sum(w[m, c] * x[n, c][s] for c in range(C)) for m in range(len(w))] for s in positions}

    def dot(a, b):
        return sum(u * v for u, v in zip(a, b))

    for n in range(N):
        pixel = {s: [x[n, c][s] for c in range(C)] for s in positions}
        theta, phi = (pixel, pixel) if form == "gaussian" else (embed(w_theta, n), embed(w_phi, n))
        g = embed(w_g, n)
        for i in positions:
            if form in ("gaussian", "embedded_gaussian"):
                top = max(dot(theta[i], phi[j]) for j in positions)
                f = {j: math.exp(dot(theta[i], phi[j]) - top) for j in positions}
                total = sum(f.values())
            elif form == "dot_product":
                f, total = {j: dot(theta[i], phi[j]) for j in positions}, H * W
            else:
                f, total = {j: max(0.0, dot(w_f, theta[i] + phi[j])) for j in positions}, H * W
            y = [sum(f[j] * g[j][m] for j in positions) / total for m in range(M)]
            for c in range(C):
                z[n, c][i] = sum(w_z[c, m] * y[m] for m in range(M)) + x[n, c][i]
    return z
