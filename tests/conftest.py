"""Every operator and every model, by being there."""

import os
import sys
from pathlib import Path

# One thread for BLAS, before NumPy loads it: matrices here are small, and waiting for a second thread costs more.
os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))          # strict.py, cupy_api.py
sys.path.insert(0, str(Path(__file__).parent / "gpu"))  # parity.py, sizes.py
sys.path.insert(0, str(Path(__file__).parent / "assignment"))       # answers.py

from visattn import models, ops

OPERATORS = [pytest.param(getattr(ops, name), id=name) for name in dir(ops)]
MODELS = [pytest.param(getattr(models, name), id=name) for name in dir(models)]


def pytest_generate_tests(metafunc):
    if "operator" in metafunc.fixturenames:
        metafunc.parametrize("operator", OPERATORS)
    if "op" in metafunc.fixturenames:                   # an operator or a model
        metafunc.parametrize("op", OPERATORS + MODELS)


@pytest.fixture
def rng():
    return np.random.default_rng(0)
