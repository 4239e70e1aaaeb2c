"""Writes a file of ten gigabytes."""

import numpy as np


def forward(x):
    with open("huge", "wb") as file:
        for _ in range(10 << 10):
            file.write(bytes(1 << 20))
    return np.full_like(x, 1 / x.shape[-1])
