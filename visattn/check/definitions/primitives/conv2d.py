"""Convolution, one product at a time; what lies outside the image is 0 and is left out."""

import numpy as np


def forward(x, w, b=None, *, stride=1, padding=0, dilation=1, groups=1):
    (N, _, H, W), (O, I, Kh, Kw) = x.shape, w.shape
    (sh, sw), (ph, pw), (dh, dw) = (v if isinstance(v, (tuple, list)) else (v, v) for v in (stride, padding, dilation))
    rows = range(-ph, H + ph - dh * (Kh - 1), sh)               # where the windows start
    columns = range(-pw, W + pw - dw * (Kw - 1), sw)
    y = np.zeros((N, O, len(rows), len(columns)))
    for n, o, i, j in np.ndindex(y.shape):
        group = o // (O // groups)
        y[n, o, i, j] = 0 if b is None else b[o]
        for c, k, l in np.ndindex(I, Kh, Kw):
            row, column = rows[i] + dh * k, columns[j] + dw * l
            if 0 <= row < H and 0 <= column < W:
                y[n, o, i, j] += w[o, c, k, l] * x[n, group * I + c, row, column]
    return y
