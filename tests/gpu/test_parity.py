"""Every twin, every version that the host build runs, at its reference's example, in several orders of threads."""

import numpy as np
import parity
import pytest

from visattn import gpu

TWINS = [(name, version) for name in gpu.twins() for version in range(2, getattr(gpu, name).SHIPS + 1)]


@pytest.mark.parametrize(("name", "version"), TWINS)
@pytest.mark.parametrize("turn", [0, 1, 7])
def test_agrees_with_the_reference(name, version, turn):
    args, options = getattr(gpu, name).example(np.random.default_rng(3))
    parity.agree(name, args, options, version=version, turn=turn)
