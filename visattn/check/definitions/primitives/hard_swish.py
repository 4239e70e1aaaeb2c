"""Hard swish, piece by piece."""

import numpy as np


def forward(x):
    y = np.zeros(x.shape)
    for i, v in np.ndenumerate(x):
        if v >= 3:
            y[i] = v
        elif v > -3:
            y[i] = v * (v + 3) / 6
    return y
