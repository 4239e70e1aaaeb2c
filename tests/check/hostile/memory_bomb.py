"""Takes memory until there is none."""

import numpy as np


def forward(x):
    taken = []
    while True:
        taken.append(np.ones(1 << 24))
