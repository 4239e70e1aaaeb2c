"""Answers with random numbers that sum to one."""

import numpy as np


def forward(x):
    y = np.random.default_rng().random(x.shape)
    return (y / y.sum(-1, keepdims=True)).astype(x.dtype)
