"""Embedding against torch and keras."""

import numpy as np
import pytest

from visattn.ops import embedding

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch")


@pytest.mark.parametrize("shape", [(4,), (2, 3), (2, 3, 20)])
def test_torch(rng, agree, shape):
    ids = rng.integers(6, size=shape)
    agree(embedding, (rng.normal(size=(6, 4)),), {"ids": ids},
          lambda w: torch.nn.functional.embedding(torch.tensor(ids), w))


def test_keras(rng):
    keras = pytest.importorskip("keras")
    (w,), options = embedding.example(rng)
    layer = keras.layers.Embedding(*w.shape, dtype="float64")
    layer.build()
    layer.set_weights([w])
    np.testing.assert_array_equal(embedding.forward(w, **options)[0],
                                  layer(torch.tensor(options["ids"])).detach().numpy())
