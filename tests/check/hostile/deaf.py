"""Never answers, and ignores every signal that can be ignored."""

import contextlib
import signal
import time


def forward(x):
    for number in signal.valid_signals():
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    while True:
        with contextlib.suppress(BaseException):
            time.sleep(3600)
