"""Each law goes red when it is broken."""

import numpy as np
import pytest

from visattn import gradcheck, tree
from visattn.gradcheck import Pair

RNG = np.random.default_rng(0)
X, W = RNG.normal(size=(3, 4)), RNG.normal(size=(4, 2))


def forward(x, w):
    return x @ w, (x, w)


def backward(dy, cache):
    x, w = cache
    return dy @ w.T, x.T @ dy


def broken(backward, forward=forward, args=(X, W)):
    """The message of the failed check."""
    with pytest.raises(AssertionError) as failure:
        gradcheck.check(Pair(forward, backward), args)
    return str(failure.value)


def test_a_right_pair_passes():
    gradcheck.check(Pair(forward, backward), (X, W))


def test_a_wrong_factor_is_named_with_its_argument_and_its_value():
    message = broken(lambda dy, c: (backward(dy, c)[0], 3 * backward(dy, c)[1]))
    assert "gradient of w" in message
    assert "3 times the derivative" in message


def test_one_wrong_element_is_shown_where_it_is():
    def wrong(dy, cache):
        dx, dw = backward(dy, cache)
        dx[1, 2] += 0.5
        return dx, dw

    message = broken(wrong)
    assert "x[1, 2]" in message
    assert "1 of 12 elements differ" in message


def test_a_missing_gradient_is_counted():
    assert "2 arguments but 1 gradients" in broken(lambda dy, c: backward(dy, c)[:1])


def test_a_list_is_not_a_tuple_of_gradients():
    assert "returns a tuple" in broken(lambda dy, c: list(backward(dy, c)))


def test_a_gradient_of_another_shape_is_named():
    assert "gradient of x has another shape" in broken(lambda dy, c: (backward(dy, c)[0][:1], backward(dy, c)[1]))


def test_writing_to_an_argument_raises_at_that_line():
    def writes(x, w):
        x *= 1
        return forward(x, w)

    with pytest.raises(ValueError, match="read-only"):
        gradcheck.check(Pair(writes, backward), (X, W))


def test_writing_to_dy_raises_at_that_line():
    def writes(dy, cache):
        dy *= 1
        return backward(dy, cache)

    with pytest.raises(ValueError, match="read-only"):
        gradcheck.check(Pair(forward, writes), (X, W))


def test_writing_to_the_cache_is_seen_at_the_second_call():
    def keeps(x, w):
        return x @ w, [x, w, np.ones(())]

    def writes(dy, cache):
        x, w, counter = cache
        counter *= 2
        return counter / 2 * dy @ w.T, x.T @ dy

    assert "writes to what it is given" in broken(writes, keeps)


def test_a_backward_that_is_not_linear_in_dy_is_seen():
    first = []

    def bends(dy, cache):
        first.append(np.abs(dy).max())
        scale = 1 if np.abs(dy).max() == first[0] else 1.01             # right for the first dy, and for no other
        dx, dw = backward(dy, cache)
        return scale * dx, scale * dw

    assert "not linear" in broken(bends)


def test_float64_that_leaks_into_float32_is_seen():
    assert "float64" in broken(backward, lambda x, w: (x @ w * np.float64(1), (x, w)))
    assert "gradients of dtype float64" in broken(lambda dy, c: tuple(g * np.ones(1) for g in backward(dy, c)))


def test_float64_that_hides_in_the_cache_is_seen():
    def keeps(x, w):
        return x @ w, (x, w, {"wide": np.zeros(3)})

    assert "cache of dtype" in broken(lambda dy, c: backward(dy, c[:2]), keeps)


def test_arguments_stay_writeable_after_a_check():
    x, w = X.copy(), W.copy()
    gradcheck.check(Pair(forward, backward), (x, w))
    assert x.flags.writeable
    assert w.flags.writeable


def test_trees_are_arguments_too():
    def affine(x, p):
        return x @ p["w"] + p["b"], (x, p)

    def affine_backward(dy, cache):
        x, p = cache
        return dy @ p["w"].T, {"w": x.T @ dy, "b": dy.sum(0)}

    p = {"w": W, "b": np.ones(2)}
    gradcheck.check(Pair(affine, affine_backward), (X, p))
    wrong = lambda dy, c: (lambda g: (g[0], {"w": g[1]["w"], "b": 2 * g[1]["b"]}))(affine_backward(dy, c))  # noqa: E731
    assert "p.b[0]" in broken(wrong, affine, (X, p))


def test_the_numeric_gradient_is_the_gradient():
    dy = RNG.normal(size=(3, 2))
    numeric = gradcheck.numeric_gradient(Pair(forward, backward), (X, W), {}, dy, 1)
    np.testing.assert_allclose(numeric, X.T @ dy, rtol=1e-8)


def test_trees_keep_their_kind():
    t = {"a": (np.ones(2), [np.zeros(1), None])}
    doubled = tree.map(lambda a: 2 * a, t)
    assert doubled["a"][0].tolist() == [2, 2]
    assert doubled["a"][1][1] is None
    assert [name for name, _ in tree.named_leaves(t)] == ["a.0", "a.1.0"]
    with pytest.raises(TypeError, match="made of tuples"):
        tree.leaves({"a": "text"})
    with pytest.raises(ValueError, match="zip"):
        tree.map(lambda a, b: a + b, [np.ones(1)], [np.ones(1), np.ones(1)])


def test_float32_arguments_are_refused_by_name():
    with pytest.raises(TypeError, match=r"w is float32, and finite differences need float64: pass w\.astype"):
        gradcheck.check(Pair(forward, backward), (X, W.astype(np.float32)))


def test_integers_and_numbers_are_refused():
    with pytest.raises(TypeError, match="x is int64"):
        gradcheck.check(Pair(forward, backward), (X.astype(int), W))
    with pytest.raises(TypeError, match="a tree is made of"):
        gradcheck.check(Pair(forward, backward), (1.0, W))


def test_a_forward_without_a_cache_is_told_so():
    with pytest.raises(TypeError, match=r"forward must return the pair \(y, cache\); got ndarray"):
        gradcheck.check(Pair(lambda x, w: (x @ w)[:2], backward), (X, W))
