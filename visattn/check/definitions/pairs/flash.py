"""Attention and the logarithm of its normaliser, one query and one key at a time; there are no tiles."""

import math

import numpy as np


def forward(q, k, v, bias=None, *, mask=None, causal=None, scale=None, tile=None):
    *B, Gq, T, D = q.shape
    G, S, E = v.shape[-3:]
    bias = np.broadcast_to(0.0 if bias is None else bias, (*B, Gq, T, S))
    mask = np.broadcast_to(True if mask is None else mask, (*B, Gq, T, S))
    o, lse = np.zeros((*B, Gq, T, E)), np.full((*B, Gq, T), -math.inf)
    for b in np.ndindex(*B):
        for h in range(Gq):
            kg, vg = k[b][h * G // Gq], v[b][h * G // Gq]
            for t in range(T):
                last = {None: S, "top_left": t, "bottom_right": t + S - T}[causal]
                scores = {}
                for s in range(S):
                    if mask[b][h, t, s] and s <= last and bias[b][h, t, s] != -math.inf:
                        dot = math.fsum(float(q[b][h, t, i]) * float(kg[s, i]) for i in range(D))
                        scores[s] = dot * (1 / math.sqrt(D) if scale is None else scale) + bias[b][h, t, s]
                if scores:
                    top = max(scores.values())
                    lse[b][h, t] = top + math.log(math.fsum(math.exp(a - top) for a in scores.values()))
                    for e in range(E):
                        o[b][h, t, e] = sum(math.exp(a - lse[b][h, t]) * vg[s, e] for s, a in scores.items())
    return o, lse
