"""The logistic function against torch."""

import numpy as np
import pytest

from visattn.ops import sigmoid

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch")


@pytest.mark.parametrize("scale", [1, 30, 1000])
def test_torch(rng, agree, scale):
    agree(sigmoid, (rng.normal(0, scale, size=(3, 40)),), {}, torch.sigmoid)


def test_torch_as_exactly_in_the_tail():
    x = np.linspace(-700, -30, 68)
    np.testing.assert_allclose(sigmoid.forward(x)[0], torch.sigmoid(torch.tensor(x)).numpy(), rtol=1e-15)
