"""One look of Show, Attend and Tell, one place at a time."""

import math

import numpy as np


def forward(a, h, wa, wh, v, b, wb, bb):
    N, P, D = a.shape
    E, M = h.shape[1], len(v)
    z = np.zeros((N, D))
    for n in range(N):
        e = [sum(v[m] * math.tanh(sum(wa[m, d] * a[n, i, d] for d in range(D))
                                  + sum(wh[m, j] * h[n, j] for j in range(E)) + b[m]) for m in range(M))
             for i in range(P)]
        alpha = [1 / math.fsum(math.exp(e[k] - e[i]) for k in range(P)) for i in range(P)]
        for d in range(D):
            g = d if len(wb) == D else 0
            beta = 1 / (1 + math.exp(-bb[g] - sum(wb[g, j] * h[n, j] for j in range(E))))
            z[n, d] = beta * sum(alpha[i] * a[n, i, d] for i in range(P))
    return z
