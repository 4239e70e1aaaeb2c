"""Cross-entropy against torch, timm and keras."""

import numpy as np
import pytest

from visattn.ops import cross_entropy

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch")


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("scale", [1, 300])
def test_torch(rng, agree, smoothing, scale):
    labels = rng.integers(5, size=7)
    agree(cross_entropy, (rng.normal(0, scale, size=(7, 5)),), {"labels": labels, "label_smoothing": smoothing},
          lambda x: torch.nn.functional.cross_entropy(x, torch.tensor(labels), label_smoothing=smoothing))


def test_timm(rng, agree):
    loss = pytest.importorskip("timm.loss")
    labels = rng.integers(5, size=7)
    agree(cross_entropy, (rng.normal(size=(7, 5)),), {"labels": labels, "label_smoothing": 0.2},
          lambda x: loss.LabelSmoothingCrossEntropy(0.2)(x, torch.tensor(labels)))


def test_keras(rng):
    keras = pytest.importorskip("keras")
    x, labels = rng.normal(size=(7, 5)), rng.integers(5, size=7)
    for smoothing in (0.0, 0.2):
        loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing, dtype="float64")
        theirs = loss(torch.tensor(np.eye(5)[labels]), torch.tensor(x)).item()
        np.testing.assert_allclose(cross_entropy.forward(x, labels=labels, label_smoothing=smoothing)[0], theirs,
                                   rtol=1e-6)


def test_torch_makes_nan_of_an_empty_batch():
    x, labels = torch.zeros(0, 3), torch.zeros(0, dtype=torch.long)
    assert torch.nn.functional.cross_entropy(x, labels).isnan()
    assert cross_entropy.forward(x.numpy(), labels=labels.numpy())[0] == 0


def test_torch_leaves_out_label_minus_100_where_we_refuse():
    x = torch.zeros(2, 3)
    assert torch.nn.functional.cross_entropy(x, torch.tensor([0, -100])) == np.log(3)
    with pytest.raises(ValueError, match="labels must be at least 0"):
        cross_entropy.forward(x.numpy(), labels=np.array([0, -100]))
