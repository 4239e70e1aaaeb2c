"""Parts of an attention joined, one query at a time."""

import math

import numpy as np


def forward(o, lse):
    *B, K, T, E = o.shape
    joined, total = np.zeros((*B, T, E)), np.full((*B, T), -math.inf)
    for b in np.ndindex(*B):
        for t in range(T):
            parts = [i for i in range(K) if lse[b][i, t] != -math.inf]
            if parts:
                top = max(lse[b][i, t] for i in parts)
                total[b][t] = top + math.log(math.fsum(math.exp(lse[b][i, t] - top) for i in parts))
            for e in range(E):
                joined[b][t, e] = sum(math.exp(lse[b][i, t] - total[b][t]) * o[b][i, t, e] for i in parts)
    return joined, total
