"""Eq. (1) of the spatial transformer, one pixel at a time."""

import numpy as np


def forward(theta, *, size, align_corners):
    grid = np.zeros((len(theta), *size, 2))
    for n, i, j in np.ndindex(grid.shape[:3]):
        x, y = (centre(k, count, align_corners) for k, count in ((j, size[1]), (i, size[0])))
        for axis in range(2):
            grid[n, i, j, axis] = theta[n, axis, 0] * x + theta[n, axis, 1] * y + theta[n, axis, 2]
    return grid


def centre(k, count, align_corners):
    if not align_corners:
        return -1 + (k + 0.5) * 2 / count
    return -1 + k * 2 / (count - 1) if count > 1 else 0.0
