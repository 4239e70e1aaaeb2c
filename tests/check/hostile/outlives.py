"""Leaves a process behind, in a session of its own, that writes when everybody has gone."""

import os
import time
from pathlib import Path

import numpy as np


def forward(x):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.closerange(0, 64)
            marker = Path(__file__).parent / "outlived"
            while True:
                time.sleep(0.05)
                try:
                    marker.write_text("it lives")
                except OSError:
                    continue
        os._exit(0)
    return np.full_like(x, 1 / x.shape[-1])
