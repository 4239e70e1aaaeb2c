"""Eqs. (5)-(6) of additive attention, one query and one key at a time."""

import math

import numpy as np


def forward(q, k, v, wa, ua, va, b=None, *, mask=None):
    *B, T, D = q.shape
    S, C = k.shape[-2:]
    mask = np.broadcast_to(True if mask is None else mask, (*B, T, S))
    o = np.zeros((*B, T, v.shape[-1]))
    for n in np.ndindex(*B):
        for t in range(T):
            energies = {}
            for s in range(S):
                if mask[n][t, s]:
                    energies[s] = 0.0
                    for m in range(len(va)):
                        z = sum(wa[m, d] * q[n][t, d] for d in range(D)) + sum(ua[m, c] * k[n][s, c] for c in range(C))
                        energies[s] += va[m] * math.tanh(z if b is None else z + b[m])
            for s in energies:
                weight = 1 / math.fsum(math.exp(e - energies[s]) for e in energies.values())
                for i in range(v.shape[-1]):
                    o[n][t, i] += weight * v[n][s, i]
    return o
