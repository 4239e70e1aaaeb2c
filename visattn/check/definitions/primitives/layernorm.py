"""Layer normalisation, one token at a time."""

import math

import numpy as np


def forward(x, g, b, *, eps=1e-5):
    y = np.zeros(x.shape)
    D = x.shape[-1]
    for token in np.ndindex(x.shape[:-1]):
        features = [float(v) for v in x[token]]
        mean = math.fsum(features) / D
        variance = math.fsum((v - mean) ** 2 for v in features) / D
        for d in range(D):
            y[token][d] = (features[d] - mean) / math.sqrt(variance + eps) * g[d] + b[d]
    return y
