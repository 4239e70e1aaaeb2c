"""What is true of layer normalisation in particular."""

import numpy as np
import pytest

from visattn import gradcheck
from visattn.check.definitions.primitives import layernorm as definition
from visattn.ops import layernorm

G, B = np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.0, 0.0, 10.0, 0.0])


def test_by_hand():
    """Mean 3, variance 5 = (9 + 1 + 1 + 9) / 4, and ε = 4 makes the root 3."""
    y, cache = layernorm.forward(np.array([[0.0, 2.0, 4.0, 6.0]]), G, B, eps=4.0)
    np.testing.assert_allclose(cache.rstd, [[1 / 3]], rtol=1e-15)
    np.testing.assert_allclose(cache.n, [[-1, -1 / 3, 1 / 3, 1]], rtol=1e-15)
    np.testing.assert_allclose(y, [[-1, -2 / 3, 11, 4]], rtol=1e-15)


def test_gradients_by_hand():
    """n = (-1, 1), g = 1, dy = (1, 0): dn has mean ½ and Σ dn ⊙ n / 2 = -½, so dx = (1 - ½ - ½, 0 - ½ + ½) = 0."""
    one, zero = np.ones(2), np.zeros(2)
    _, cache = layernorm.forward(np.array([[1.0, 3.0]]), one, zero, eps=0.0)
    dx, dg, db = layernorm.backward(np.array([[1.0, 0.0]]), cache)
    assert (dx.tolist(), dg.tolist(), db.tolist()) == ([[0, 0]], [-1, 0], [1, 0])


def test_each_token_has_mean_0_and_variance_1(rng):
    x = rng.normal(3, 7, size=(2, 3, 50))
    n = layernorm.forward(x, np.ones(50), np.zeros(50), eps=0.0)[1].n
    np.testing.assert_allclose(n.mean(-1), 0, atol=1e-15)
    np.testing.assert_allclose(n.var(-1), 1, rtol=1e-14)


def test_ignores_the_offset_and_the_scale_of_a_token(rng):
    (x, g, b), _ = layernorm.example(rng)
    y, _ = layernorm.forward(x, g, b, eps=0.0)
    offset, scale = rng.normal(size=(2, 3, 1)), rng.uniform(0.5, 2, size=(2, 3, 1))
    np.testing.assert_allclose(layernorm.forward(scale * x + offset, g, b, eps=0.0)[0], y, rtol=1e-12, atol=1e-12)


def test_gradient_moves_neither_the_mean_nor_the_length(rng):
    (x, g, b), _ = layernorm.example(rng)
    y, cache = layernorm.forward(x, g, b, eps=0.0)
    dx, _, _ = layernorm.backward(np.cos(y), cache)
    np.testing.assert_allclose(dx.sum(-1), 0, atol=1e-13)
    np.testing.assert_allclose((dx * cache.n).sum(-1), 0, atol=1e-13)


def test_tokens_do_not_see_each_other(rng):
    (x, g, b), _ = layernorm.example(rng)
    y, _ = layernorm.forward(x, g, b)
    x = x.copy()
    x[1, 2] = np.nan
    z, _ = layernorm.forward(x, g, b)
    assert np.isnan(z[1, 2]).all()
    z[1, 2] = y[1, 2]
    np.testing.assert_array_equal(z, y)


def test_a_far_offset_costs_only_its_own_rounding():
    """mean x² - mean² x would have lost every digit: x² is 1e16, the variance ⅔."""
    x = np.array([[1e8 - 1, 1e8, 1e8 + 1]])
    n = layernorm.forward(x, np.ones(3), np.zeros(3), eps=0.0)[1].n
    np.testing.assert_allclose(n, [[-(1.5 ** 0.5), 0, 1.5 ** 0.5]], rtol=1e-15)


def test_equal_features_give_the_shift():
    (_, g, b), _ = layernorm.example(np.random.default_rng(0))
    y, cache = layernorm.forward(np.full((2, 5), 7.0), g, b)
    np.testing.assert_array_equal(y, [b, b])
    dx, dg, _ = layernorm.backward(np.ones((2, 5)), cache)
    assert np.isfinite(dx).all()
    assert not dg.any()


@pytest.mark.parametrize("eps", [0.0, 1e-6, 0.5])
@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 1, 3, 4)])
def test_every_eps_and_every_number_of_axes(rng, eps, shape):
    args = rng.normal(size=shape), rng.normal(size=4), rng.normal(size=4)
    np.testing.assert_allclose(layernorm.forward(*args, eps=eps)[0], definition.forward(*args, eps=eps), rtol=1e-12)
    gradcheck.check(layernorm, args, {"eps": eps}, rng)


def test_one_feature_is_its_own_mean():
    y, cache = layernorm.forward(np.array([[3.0], [-5.0]]), np.array([2.0]), np.array([7.0]))
    assert y.tolist() == [[7], [7]]
    assert layernorm.backward(np.ones((2, 1)), cache)[0].tolist() == [[0], [0]]


def test_no_tokens_no_gradient():
    y, cache = layernorm.forward(np.zeros((0, 4)), G, B)
    dx, dg, db = layernorm.backward(y, cache)
    assert dx.shape == (0, 4)
    assert (dg.tolist(), db.tolist()) == ([0] * 4, [0] * 4)


@pytest.mark.parametrize("eps", [-1e-5, np.nan, np.inf])
def test_refuses_an_eps_that_is_no_small_number(eps):
    with pytest.raises(ValueError, match="eps must be at least 0 and finite"):
        layernorm.forward(np.ones((2, 4)), G, B, eps=eps)
