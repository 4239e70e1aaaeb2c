"""The linear map against torch and keras."""

import numpy as np
import pytest

from visattn.ops import linear

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch")


@pytest.mark.parametrize("lead", [(), (4,), (2, 3)])
@pytest.mark.parametrize("biased", [True, False])
def test_torch(rng, agree, lead, biased):
    args = rng.normal(size=(*lead, 5)), rng.normal(size=(4, 5)), rng.normal(size=4)
    agree(linear, args[:2 + biased], {}, torch.nn.functional.linear)


def test_keras_has_the_transposed_kernel(rng):
    """And multiplies matrices in float32 on its torch backend, whatever their dtype: hence the tolerance."""
    keras = pytest.importorskip("keras")
    x, w, b = linear.example(rng)[0]
    layer = keras.layers.Dense(4, dtype="float64")
    layer.build(x.shape)
    layer.set_weights([w.T, b])
    np.testing.assert_allclose(linear.forward(x, w, b)[0], layer(torch.tensor(x)).detach().numpy(), rtol=1e-5,
                               atol=1e-6)
