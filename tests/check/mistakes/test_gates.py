"""What is listed with the gates."""

import listed
import numpy as np
import pytest

from visattn import ops
from visattn.check import changes


@pytest.mark.parametrize("name", ["squeeze_excite", "channel_gate", "spatial_gate", "efficient_channel", "cbam"])
def test_a_mistake_of_the_sigmoid_is_one_of_every_gate(name):
    module = getattr(ops, name)
    for change in changes.own("visattn.ops.primitives.sigmoid"):
        if change.name in ("sign", "one_branch", "hard"):
            assert change in changes.changes_of(module)
            assert listed.moved(module, change) > listed.MOVED


@pytest.mark.parametrize("name", ["squeeze_excite", "efficient_channel"])
def test_a_forgotten_way_through_the_gate_is_the_same_at_every_pixel(name):
    """As its sentence, and lesson 2, say."""
    module = getattr(ops, name)
    change, = (c for c in changes.own(module.__name__) if c.name == "gate_as_constant")
    right, wrong = listed.results(module)["plain_0", "d0"], listed.results(module, change)["plain_0", "d0"]
    missing = right - wrong
    assert np.abs(missing).max() > 1e-3
    np.testing.assert_allclose(missing, np.broadcast_to(missing.mean((2, 3), keepdims=True), missing.shape), atol=1e-12)
