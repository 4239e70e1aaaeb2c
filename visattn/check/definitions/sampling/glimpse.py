"""The retina of the recurrent attention model, one pixel of a patch at a time: the mean of what lies under it."""

import math

import numpy as np


def forward(x, loc, *, size, patches=1, factor=2):
    N, C, H, W = x.shape
    y = np.zeros((N, patches, C, size, size))
    for n, k, c, i, j in np.ndindex(y.shape):
        s = factor ** k
        left = (loc[n, 0] + 1) / 2 * W - size * s / 2           # of the patch; a pixel's own left is its column
        top = (loc[n, 1] + 1) / 2 * H - size * s / 2
        y[n, k, c, i, j] = sum(between(x[n, c], top + i * s + a, left + j * s + b)
                               for a in range(s) for b in range(s)) / s**2
    return y


def between(image, top, left):
    """What a pixel-sized window sees: its overlap with four pixels weighs them."""
    value = 0.0
    for h in (math.floor(top), math.floor(top) + 1):
        for w in (math.floor(left), math.floor(left) + 1):
            if 0 <= h < image.shape[0] and 0 <= w < image.shape[1]:
                value += (1 - abs(top - h)) * (1 - abs(left - w)) * image[h, w]
    return value
