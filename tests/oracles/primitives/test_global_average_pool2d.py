import numpy as np
import pytest

from visattn.ops.primitives import global_average_pool2d

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers


def test_torch(rng):
    x = rng.normal(size=(3, 4, 5, 6))
    y, cache = global_average_pool2d.forward(x)
    dy = rng.normal(size=y.shape)
    theirs = torch.tensor(x, requires_grad=True)
    expected = torch.nn.functional.adaptive_avg_pool2d(theirs, 1)[:, :, 0, 0]
    np.testing.assert_allclose(y, expected.detach(), rtol=1e-10)
    wanted, = torch.autograd.grad(expected, theirs, torch.tensor(dy))
    np.testing.assert_allclose(global_average_pool2d.backward(dy, cache)[0], wanted, rtol=1e-10)
