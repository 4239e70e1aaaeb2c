"""Networks that were trained on digits read them the same on the kernels."""

import numpy as np
import pytest

from visattn import gpu
from visattn.tasks import classify

KINDS = {"vit": ("vit", "none"), "cnn with squeeze_excite": ("cnn", "squeeze_excite"),
         "cnn with cbam": ("cnn", "cbam"), "stn": ("stn", "none")}


@pytest.fixture(scope="module")
def digits():
    return classify.load_data("digits").test


@pytest.fixture(scope="module", params=KINDS.values(), ids=KINDS)
def trained(request):
    model, gate = request.param
    return classify.train(model, gate=gate, epochs=2).trained


def test_same_predictions_in_the_host_build(trained, digits):
    x = digits.x[:60].astype(np.float32)
    wanted, _ = classify.forward(trained, x)
    with gpu.use("host"):
        found, _ = classify.forward(trained, x, F=gpu)
    assert found.dtype == np.float32
    assert len(set(wanted.argmax(-1))) > 5                       # they read digits, not always the same one
    np.testing.assert_array_equal(found.argmax(-1), wanted.argmax(-1))


def test_same_predictions_in_the_simulator(trained, digits):
    x = digits.x[:1].astype(np.float32)
    wanted, _ = classify.forward(trained, x)
    with gpu.use("simulator"):
        found, _ = classify.forward(trained, x, F=gpu)
    np.testing.assert_array_equal(found.argmax(-1), wanted.argmax(-1))
