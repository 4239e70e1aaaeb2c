"""Layer normalisation against torch and keras."""

import numpy as np
import pytest

from visattn.ops import layernorm

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch")


@pytest.mark.parametrize("eps", [1e-5, 1e-6, 0.1])
def test_torch(rng, agree, eps):
    args, _ = layernorm.example(rng)
    agree(layernorm, args, {"eps": eps}, lambda x, g, b: torch.nn.functional.layer_norm(x, (5,), g, b, eps))


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
