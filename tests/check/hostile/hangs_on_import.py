"""Is never loaded."""

import time

while True:
    time.sleep(3600)


def forward(x):
    return x
