"""Embedding as the product of one-hot rows with the table."""

import numpy as np


def forward(w, *, ids):
    V, D = w.shape
    y = np.zeros((*ids.shape, D))
    for t in np.ndindex(ids.shape):
        for d in range(D):
            y[t][d] = sum(w[v, d] for v in range(V) if v == ids[t])
    return y
