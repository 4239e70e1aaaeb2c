"""Attention, one query and one key at a time."""

import math

import numpy as np


def forward(q, k, v, bias=None, *, mask=None, causal=None, scale=None, softcap=None):
    *B, T, D = q.shape
    S, E = v.shape[-2:]
    bias = np.broadcast_to(0.0 if bias is None else bias, (*B, T, S))
    mask = np.broadcast_to(True if mask is None else mask, (*B, T, S))
    o = np.zeros((*B, T, E))
    for b in np.ndindex(*B):
        for t in range(T):
            last = {None: S, "top_left": t, "bottom_right": t + S - T}[causal]
            weights = {}
            for s in range(S):
                if mask[b][t, s] and s <= last and bias[b][t, s] != -math.inf:
                    score = math.fsum(float(q[b][t, i]) * float(k[b][s, i]) for i in range(D))
                    score *= 1 / math.sqrt(D) if scale is None else scale
                    if softcap is not None:
                        score = softcap * math.tanh(score / softcap)
                    weights[s] = score + bias[b][t, s]
            top = max(weights.values(), default=0)
            total = math.fsum(math.exp(w - top) for w in weights.values())
            for e in range(E):
                o[b][t, e] = sum(math.exp(w - top) / total * v[b][s, e] for s, w in weights.items())
    return o
