import numpy as np
import pytest

from visattn.ops.primitives import batchnorm

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers


@pytest.mark.parametrize("eps", [1e-5, 0.1])
@pytest.mark.parametrize("training", [True, False])
def test_torch(rng, training, eps):
    args, _ = batchnorm.example(rng)
    given = {} if training else {"mean": rng.normal(size=3), "var": rng.uniform(0.5, 2, 3)}
    y, cache = batchnorm.forward(*args, **given, eps=eps)
    dy = rng.normal(size=y.shape)

    x, g, b = theirs = [torch.tensor(a, requires_grad=True) for a in args]
    mean, var = (torch.tensor(given[k]) if given else None for k in ("mean", "var"))
    expected = torch.nn.functional.batch_norm(x, mean, var, g, b, training=training, eps=eps)
    np.testing.assert_allclose(y, expected.detach(), rtol=1e-10, atol=1e-12)
    for got, wanted in zip(batchnorm.backward(dy, cache), torch.autograd.grad(expected, theirs, torch.tensor(dy))):
        np.testing.assert_allclose(got, wanted, rtol=1e-10, atol=1e-12)


def test_torch_normalises_by_the_biased_variance_and_keeps_the_unbiased(rng):
    (x, g, b), _ = batchnorm.example(rng)
    layer = torch.nn.BatchNorm2d(3, momentum=0.1)
    layer(torch.tensor(x))
    _, cache = batchnorm.forward(x, g, b)
    m = x.size // 3
    np.testing.assert_allclose(layer.running_mean, 0.1 * cache.mean, rtol=1e-10)
    np.testing.assert_allclose(layer.running_var, 0.9 + 0.1 * cache.var * m / (m - 1), rtol=1e-10)


def test_torch_refuses_a_channel_of_one_pixel():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        torch.nn.BatchNorm2d(3)(torch.ones(1, 3, 1, 1))


def test_keras_keeps_the_biased_variance(rng):
    keras = pytest.importorskip("keras")
    (x, g, b), _ = batchnorm.example(rng)
    layer = keras.layers.BatchNormalization(axis=1, momentum=0.9, epsilon=1e-5, dtype="float64")
    layer(x, training=True)
    _, cache = batchnorm.forward(x, g, b)
    np.testing.assert_allclose(layer.moving_variance.value.detach(), 0.9 + 0.1 * cache.var, rtol=1e-5)    # of float32
