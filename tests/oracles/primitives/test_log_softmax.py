"""Log softmax against torch."""

import pytest

from visattn.ops import log_softmax

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch")


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("scale", [1, 1000])
def test_torch(rng, agree, axis, scale):
    agree(log_softmax, (rng.normal(0, scale, size=(2, 3, 5)),), {"axis": axis}, lambda x: torch.log_softmax(x, axis))
