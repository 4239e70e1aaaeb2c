"""Eqs. (3)-(5) of the spatial transformer, one point and one pixel at a time."""

import math

import numpy as np


def forward(x, grid, *, mode="bilinear", padding="zeros", align_corners):
    (N, C, H, W), (Ho, Wo) = x.shape, grid.shape[1:3]
    y = np.zeros((N, C, Ho, Wo))
    for n, c, i, j in np.ndindex(y.shape):
        column = place(float(grid[n, i, j, 0]), W, padding, align_corners)
        row = place(float(grid[n, i, j, 1]), H, padding, align_corners)
        y[n, c, i, j] = sum(weight(row, h, mode) * weight(column, w, mode) * x[n, c, h, w]
                            for h in range(H) for w in range(W))
    return y


def place(g, size, padding, align_corners):
    """[-1, 1] to pixels; a point outside is bounced back until it is inside, or moved to the border."""
    first, last = (0, size - 1) if align_corners else (-0.5, size - 0.5)
    u = first + (g + 1) / 2 * (last - first)
    if padding == "reflection" and last > first:
        while u < first or u > last:
            u = 2 * first - u if u < first else 2 * last - u
    if padding != "zeros" and not math.isnan(u):
        u = min(max(u, 0), size - 1)
    return u


def weight(u, m, mode):
    """Of pixel m, seen from u."""
    if mode == "bilinear" or math.isnan(u):
        return u if math.isnan(u) else max(0.0, 1 - abs(u - m))
    return float(round(u) == m)
