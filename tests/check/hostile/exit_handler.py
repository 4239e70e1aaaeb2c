"""Leaves a handler that hangs when Python exits, and an audit hook that hangs when anything is opened."""

import atexit
import sys
import time

import numpy as np


def hang(*args):
    while True:
        time.sleep(3600)


def forward(x):
    atexit.register(hang)
    sys.addaudithook(lambda event, args: hang() if event == "open" else None)
    return np.full_like(x, 1 / x.shape[-1])
