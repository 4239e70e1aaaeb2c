import numpy as np
import pytest
from strict import get, put

from visattn import gradcheck
from visattn.check.definitions.primitives import batchnorm as definition
from visattn.ops.primitives import batchnorm


def statistics(rng, C=3):
    return {"mean": rng.normal(size=C), "var": rng.uniform(0.5, 2, C)}


def test_by_hand():
    x = np.array([[[[1.0, 3]]], [[[5, 7]]]])                    # mean 4, variance (9 + 1 + 1 + 9) / 4 = 5
    y, cache = batchnorm.forward(x, np.array([2.0]), np.array([10.0]), eps=4.0)         # r = 1/3
    np.testing.assert_allclose(y.ravel(), [8, 10 - 2 / 3, 10 + 2 / 3, 12], rtol=1e-15)
    assert (cache.mean, cache.var) == (4, 5)
    dx, dg, db = batchnorm.backward(np.array([[[[0.0, 0]]], [[[0, 6]]]]), cache)
    assert db == 6
    np.testing.assert_allclose(dg, 6, rtol=1e-15)               # n = -1, -1/3, 1/3, 1
    np.testing.assert_allclose(dx.ravel(), [0, -2 / 3, -4 / 3, 2], atol=1e-15)          # 2/3 (dy - 3/2 - 3/2 n)


def test_by_hand_with_given_statistics():
    args = np.array([[[[1.0, 3]]]]), np.array([2.0]), np.array([10.0])
    y, cache = batchnorm.forward(*args, mean=np.array([2.0]), var=np.array([5.0]), eps=4.0)
    np.testing.assert_allclose(y.ravel(), [10 - 2 / 3, 10 + 2 / 3], rtol=1e-15)
    dx, dg, db = batchnorm.backward(np.array([[[[0.0, 6]]]]), cache)
    np.testing.assert_allclose(dx.ravel(), [0, 4], rtol=1e-15)
    np.testing.assert_allclose((dg, db), [[2], [6]], rtol=1e-15)


@pytest.mark.parametrize("eps", [1e-5, 0.0, 0.3])
@pytest.mark.parametrize("given", [False, True])
def test_options_mean_what_the_definition_says(rng, eps, given):
    args, _ = batchnorm.example(rng)
    options = {"eps": eps} | (statistics(rng) if given else {})
    y, _ = batchnorm.forward(*args, **options)
    np.testing.assert_allclose(y, definition.forward(*args, **options), rtol=1e-12, atol=1e-12)
    gradcheck.check(batchnorm, args, options, rng)


def test_a_normalised_channel_has_mean_0_and_variance_1(rng):
    x = 100 * rng.normal(size=(4, 3, 5, 6)) + 1000
    y, _ = batchnorm.forward(x, *batchnorm.init(rng, 3), eps=0.0)
    np.testing.assert_allclose(y.mean((0, 2, 3)), 0, atol=1e-13)
    np.testing.assert_allclose(y.var((0, 2, 3)), 1, rtol=1e-13)


def test_the_cache_holds_the_biased_variance(rng):
    (x, g, b), _ = batchnorm.example(rng)
    _, cache = batchnorm.forward(x, g, b)
    np.testing.assert_allclose(cache.mean, x.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(cache.var, x.var((0, 2, 3), ddof=0), rtol=1e-12)
    m = x.size // 3
    np.testing.assert_allclose(cache.var * m / (m - 1), x.var((0, 2, 3), ddof=1), rtol=1e-12)


def test_inference_with_the_statistics_of_the_batch_is_training(rng):
    args, _ = batchnorm.example(rng)
    y, cache = batchnorm.forward(*args)
    again, given = batchnorm.forward(*args, mean=cache.mean, var=cache.var)
    np.testing.assert_array_equal(again, y)
    assert not np.allclose(batchnorm.backward(y, cache)[0], batchnorm.backward(y, given)[0])    # but mean and var move


def test_training_ignores_the_scale_and_shift_of_a_channel(rng):
    (x, g, b), _ = batchnorm.example(rng)
    moved = np.array([2.0, 0.1, 30.0])[:, None, None] * x + np.array([5.0, -7.0, 0.0])[:, None, None]
    np.testing.assert_allclose(batchnorm.forward(moved, g, b, eps=0.0)[0], batchnorm.forward(x, g, b, eps=0.0)[0],
                               rtol=1e-9)


def test_the_gradient_can_change_neither_mean_nor_length(rng):
    """What would only shift or stretch a channel is taken out of dx."""
    (x, g, b), _ = batchnorm.example(rng)
    y, cache = batchnorm.forward(x, g, b, eps=0.0)
    dx, _, _ = batchnorm.backward(rng.normal(size=y.shape), cache)
    np.testing.assert_allclose(dx.sum((0, 2, 3)), 0, atol=1e-13)
    np.testing.assert_allclose((dx * cache.n).sum((0, 2, 3)), 0, atol=1e-13)


def test_examples_of_a_batch_see_each_other_in_training_only(rng):
    (x, g, b), _ = batchnorm.example(rng)
    other = x.copy()
    other[1] += rng.normal(size=other[1].shape)
    assert not np.allclose(batchnorm.forward(x, g, b)[0][0], batchnorm.forward(other, g, b)[0][0])
    given = statistics(rng)
    np.testing.assert_array_equal(batchnorm.forward(x, g, b, **given)[0][0],
                                  batchnorm.forward(other, g, b, **given)[0][0])


def test_channels_do_not_see_each_other(rng):
    (x, g, b), _ = batchnorm.example(rng)
    other = x.copy()
    other[:, 1] *= np.exp(x[:, 1])
    np.testing.assert_array_equal(batchnorm.forward(x, g, b)[0][:, ::2], batchnorm.forward(other, g, b)[0][:, ::2])


def test_a_constant_channel_gives_the_shift_and_passes_no_gradient(rng):
    x = np.full((2, 1, 3, 4), 0.1)
    for part in (x, x[:1, :, :1, :1]):                          # and so does a single pixel
        y, cache = batchnorm.forward(part, np.array([2.0]), np.array([7.0]))
        np.testing.assert_allclose(y, 7, rtol=1e-12)
        dx, _, _ = batchnorm.backward(np.ones_like(part), cache)
        np.testing.assert_allclose(dx, 0, atol=1e-9)


def test_a_large_mean_does_not_spoil_the_variance():
    """mean x² - μ² would lose every digit of it in float32."""
    x = (1e4 + np.arange(8.0, dtype=np.float32)).reshape(2, 1, 2, 2)
    _, cache = batchnorm.forward(x, np.ones(1, np.float32), np.zeros(1, np.float32))
    assert cache.var == 5.25


def test_inference_of_an_empty_batch(rng):
    x = np.zeros((0, 3, 4, 5))
    for options in ({}, statistics(rng)):
        y, cache = batchnorm.forward(x, *batchnorm.init(rng, 3), **options)
        grads = batchnorm.backward(y, cache)
        assert y.shape == grads[0].shape == x.shape
        assert not any(map(np.any, grads))
        assert definition.forward(x, *batchnorm.init(rng, 3), **options).shape == x.shape


def test_inference_runs_on_the_strict_double(rng):
    args, _ = batchnorm.example(rng)
    options = statistics(rng)
    y, cache = batchnorm.forward(*args, **options)
    y2, cache2 = batchnorm.forward(*put(args), **put(options))
    np.testing.assert_array_equal(get(y2), y)
    np.testing.assert_array_equal(get(batchnorm.backward(put(y), cache2)[0]), batchnorm.backward(y, cache)[0])


def test_refuses_a_mean_without_a_variance(rng):
    args, _ = batchnorm.example(rng)
    for name in ("mean", "var"):
        with pytest.raises(ValueError, match="var must be given together with mean, or neither"):
            batchnorm.forward(*args, **{name: np.ones(3)})
