"""One LSTM step, one unit at a time."""

import math

import numpy as np


def forward(x, h, c, wx, wh, bx, bh):
    N, D = x.shape
    E = h.shape[1]
    h1, c1 = np.zeros((N, E)), np.zeros((N, E))
    for n in range(N):
        for e in range(E):
            z = [bx[row] + bh[row] + sum(wx[row, d] * x[n, d] for d in range(D))
                 + sum(wh[row, k] * h[n, k] for k in range(E)) for row in range(e, 4 * E, E)]
            i, f, o = (1 / (1 + math.exp(-z[block])) for block in (0, 1, 3))
            c1[n, e] = f * c[n, e] + i * math.tanh(z[2])
            h1[n, e] = o * math.tanh(c1[n, e])
    return h1, c1
