"""Attention, one query head at a time; it looks up the key head of its group."""

import numpy as np

from visattn.check.definitions.pairs import attention


def forward(q, k, v, *, mask=None, causal=None, scale=None):
    N, Gq, T, _ = q.shape
    G, S, E = v.shape[1:]
    mask = np.broadcast_to(True if mask is None else mask, (N, Gq, T, S))
    o = np.zeros((N, Gq, T, E))
    for n in range(N):
        for h in range(Gq):
            g = h // (Gq // G)
            o[n, h] = attention.forward(q[n, h], k[n, g], v[n, g], mask=mask[n, h], causal=causal, scale=scale)
    return o
