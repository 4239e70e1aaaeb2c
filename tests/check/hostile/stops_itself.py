"""Stops its process, to be waited for in vain."""

import os
import signal
import time

import numpy as np


def forward(x):
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(3600)
    return np.full_like(x, 1 / x.shape[-1])
