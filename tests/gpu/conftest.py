"""The kernels, proved without a device: `make proofs`.  Needs g++ and the `proofs` extra."""

import importlib.util
import os
from pathlib import Path

import pytest

if os.environ.get("VISATTN_GPU") != "cuda":
    os.environ.setdefault("NUMBA_ENABLE_CUDASIM", "1")      # before anything imports Numba

# What cannot be imported is not collected; `make proofs` then fails for want of tests.
if any(importlib.util.find_spec(name) is None for name in ("ml_dtypes", "numba", "numba.cuda")):
    collect_ignore_glob = ["test_*.py", "*/test_*.py"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.proofs)
