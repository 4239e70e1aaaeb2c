"""Hard swish against torch, timm and keras, and what they do at its kinks."""

import numpy as np
import pytest

from visattn.ops import hard_swish

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch")


def test_torch(rng, agree):
    agree(hard_swish, (rng.normal(0, 3, size=(3, 50)),), {}, torch.nn.functional.hardswish)


def test_torch_at_the_kinks(agree):
    agree(hard_swish, (np.array([-3.0, 3.0]),), {}, torch.nn.functional.hardswish)


def test_timm(rng, agree):
    layers = pytest.importorskip("timm.layers")
    agree(hard_swish, (rng.normal(0, 3, size=(3, 50)),), {}, layers.HardSwish())


def test_keras(rng):
    keras = pytest.importorskip("keras")
    x = rng.normal(0, 3, size=(3, 50))
    np.testing.assert_allclose(hard_swish.forward(x)[0], keras.ops.hard_swish(torch.tensor(x)).numpy(), rtol=1e-10)
