"""Claims an output of 2⁴⁰ numbers that takes eight bytes."""

import numpy as np


def forward(x):
    return np.broadcast_to(x.dtype.type(0.5), (2**40,))
