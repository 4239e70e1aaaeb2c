"""The rectified linear unit against torch, at its kink too."""

import numpy as np
import pytest

from visattn.ops import relu

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch")


def test_torch(rng, agree):
    agree(relu, (rng.normal(size=(3, 5)),), {}, torch.relu)


def test_torch_at_the_kink(agree):
    agree(relu, (np.array([0.0, -0.0, 5e-324]),), {}, torch.relu)
