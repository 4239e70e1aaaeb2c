"""One GRU step, one unit at a time."""

import math

import numpy as np


def forward(x, h, wx, wh, bx, bh):
    N, D = x.shape
    E = h.shape[1]
    h1 = np.zeros((N, E))
    for n in range(N):
        for e in range(E):
            rows = e, e + E, e + 2 * E
            a = [bx[row] + sum(wx[row, d] * x[n, d] for d in range(D)) for row in rows]
            u = [bh[row] + sum(wh[row, k] * h[n, k] for k in range(E)) for row in rows]
            reset, update = (1 / (1 + math.exp(-a[block] - u[block])) for block in (0, 1))
            candidate = math.tanh(a[2] + reset * u[2])
            h1[n, e] = candidate + update * (h[n, e] - candidate)
    return h1
