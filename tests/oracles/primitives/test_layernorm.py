"""Layer normalisation against torch and keras."""

import numpy as np
import pytest

from visattn.ops import layernorm

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch")


@pytest.mark.parametrize("eps", [1e-5, 1e-6, 0.1])
def test_torch(rng, eps):
    args = layernorm.example(rng)[0]
    y, cache = layernorm.forward(*args, eps=eps)
    dy = rng.normal(size=y.shape)
    theirs = [torch.tensor(a, requires_grad=True) for a in args]
    out = torch.nn.functional.layer_norm(theirs[0], (5,), theirs[1], theirs[2], eps)
    out.backward(torch.tensor(dy))
    np.testing.assert_allclose(y, out.detach(), rtol=1e-10)
    for ours, their in zip(layernorm.backward(dy, cache), theirs):
        np.testing.assert_allclose(ours, their.grad, rtol=1e-10, atol=1e-13)


def test_keras_defaults_to_another_eps(rng):
    """And rounds to float32 on the way, whatever its dtype: hence the tolerance."""
    keras = pytest.importorskip("keras")
    x, g, b = layernorm.example(rng)[0]
    x = 0.1 * x
    layer = keras.layers.LayerNormalization(dtype="float64")
    layer.build(x.shape)
    layer.set_weights([g, b])
    out = layer(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(layernorm.forward(x, g, b, eps=1e-3)[0], out, rtol=1e-5)
    assert abs(layernorm.forward(x, g, b)[0] - out).max() > 0.01
