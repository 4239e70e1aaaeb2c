"""GELU against torch, timm and keras."""

import numpy as np
import pytest

from visattn.ops import gelu

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch")


@pytest.mark.parametrize("approximate", ["none", "tanh"])
@pytest.mark.parametrize("scale", [1e-6, 1, 10])
def test_torch(rng, agree, approximate, scale):
    agree(gelu, (rng.normal(0, scale, size=(3, 50)),), {"approximate": approximate},
          lambda x: torch.nn.functional.gelu(x, approximate=approximate))


def test_torch_loses_the_tail():
    x = torch.tensor([-9.0])
    assert torch.nn.functional.gelu(x) == 0
    assert gelu.forward(x.numpy())[0] < -1e-18


def test_timm(rng):
    layers = pytest.importorskip("timm.layers")
    x = rng.normal(size=(3, 5))
    for theirs, approximate in ((layers.GELU(), "none"), (layers.GELUTanh(), "tanh")):
        np.testing.assert_allclose(gelu.forward(x, approximate=approximate)[0], theirs(torch.tensor(x)).numpy(),
                                   rtol=1e-10)


def test_keras(rng):
    keras = pytest.importorskip("keras")
    x = rng.normal(size=(3, 5))
    for approximate in ("none", "tanh"):
        theirs = keras.ops.gelu(torch.tensor(x), approximate=approximate == "tanh")
        np.testing.assert_allclose(gelu.forward(x, approximate=approximate)[0], theirs.numpy(), rtol=1e-10)


def test_the_two_functions_of_keras_default_to_different_ones(rng):
    """keras.ops.gelu approximates unless told not to, keras.activations.gelu does not unless told to."""
    keras = pytest.importorskip("keras")
    x = rng.normal(size=(3, 5))
    rounded, exact = keras.ops.gelu(torch.tensor(x)).numpy(), keras.activations.gelu(torch.tensor(x)).numpy()
    np.testing.assert_allclose(gelu.forward(x, approximate="tanh")[0], rounded, rtol=1e-10)
    np.testing.assert_allclose(gelu.forward(x)[0], exact, rtol=1e-10)
