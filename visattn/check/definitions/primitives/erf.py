"""erf, one number at a time."""

import math

import numpy as np


def forward(x):
    return np.array([math.erf(v) for v in x.ravel().tolist()]).reshape(x.shape)
