"""Softmax against torch."""

import numpy as np
import pytest

from visattn.ops import softmax

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch")


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("scale", [1, 1000])
def test_torch(rng, agree, axis, scale):
    agree(softmax, (rng.normal(0, scale, size=(2, 3, 5)),), {"axis": axis}, lambda x: torch.softmax(x, axis))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_torch_with_minus_infinity_where_it_is_masked(rng, agree, axis):
    mask = rng.random((2, 3, 5)) < 0.6
    mask[0, 0] = mask[:, 0, 0] = mask[0, :, 0] = True
    mask |= ~mask.any(axis, keepdims=True)
    agree(softmax, (rng.normal(size=(2, 3, 5)),), {"axis": axis, "mask": mask},
          lambda x: torch.softmax(x.masked_fill(~torch.tensor(mask), -torch.inf), axis))


def test_safe_softmax_of_torch_is_zero_too_where_nothing_is_left(rng, agree):
    """torch.softmax is NaN there."""
    mask = rng.random((3, 5)) < 0.6
    mask[1] = False
    x = rng.normal(size=(3, 5))
    hidden = torch.tensor(x).masked_fill(~torch.tensor(mask), -torch.inf)
    np.testing.assert_allclose(softmax.forward(x, mask=mask)[0], torch._safe_softmax(hidden, -1).numpy(), rtol=1e-12)
    assert torch.softmax(hidden, -1)[1].isnan().all()
