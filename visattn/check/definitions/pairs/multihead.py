"""Multi-head attention, one head, one query and one key at a time."""

import math

import numpy as np


def forward(x, context, w_q, w_k, w_v, w_o, b_q=None, b_v=None, b_o=None, *, heads, mask=None, causal=None):
    N, T, S = len(x), x.shape[1], context.shape[1]
    D, E, O = len(w_q) // heads, len(w_v) // heads, len(w_o)
    mask = np.broadcast_to(True if mask is None else mask, (N, heads, T, S))
    y = np.zeros((N, T, O))
    for n in range(N):
        for t in range(T):
            last = {None: S, "top_left": t, "bottom_right": t + S - T}[causal]
            found = []                                          # what the heads found, side by side
            for g in range(heads):
                query = [project(x[n, t], w_q, b_q, g * D + i) for i in range(D)]
                scores = {}
                for s in range(S):
                    if mask[n, g, t, s] and s <= last:
                        key = [project(context[n, s], w_k, None, g * D + i) for i in range(D)]
                        scores[s] = math.fsum(a * b for a, b in zip(query, key)) / math.sqrt(D)
                top = max(scores.values(), default=0)
                total = math.fsum(math.exp(a - top) for a in scores.values())
                for e in range(E):
                    found.append(sum(math.exp(a - top) / total * project(context[n, s], w_v, b_v, g * E + e)
                                     for s, a in scores.items()))
            for o in range(O):
                y[n, t, o] = project(found, w_o, b_o, o)
    return y


def project(features, w, b, row):
    return math.fsum(float(w[row, i]) * float(features[i]) for i in range(len(features))) + (0 if b is None else b[row])
