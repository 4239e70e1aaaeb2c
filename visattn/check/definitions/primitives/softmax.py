"""Softmax, one row at a time."""

import math

import numpy as np


def forward(x, *, axis=-1, mask=None):
    y = np.zeros(x.shape)
    mask = np.broadcast_to(True if mask is None else mask, x.shape)
    rows, allowed, out = (np.moveaxis(a, axis, -1) for a in (x, mask, y))
    for index in np.ndindex(rows.shape[:-1]):
        places = [s for s in range(rows.shape[-1]) if allowed[index][s]]
        for s in places:
            # 1 / Σ_t e^{x_t - x_s}: no maximum is needed
            out[index][s] = 1 / math.fsum(math.exp(rows[index][t] - rows[index][s]) for t in places)
    return y
