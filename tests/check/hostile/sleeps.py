"""Never answers, and uses no processor time."""

import time


def forward(x):
    while True:
        time.sleep(3600)
