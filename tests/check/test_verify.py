"""`visattn verify` proves what it says, and can fail."""

from types import SimpleNamespace

import numpy as np
import pytest

from visattn import ops
from visattn.check import definitions, verify
from visattn.ops import sigmoid, squeeze_excite


def broken(op, **parts):
    """An operator with some parts replaced."""
    names = ("__name__", "forward", "backward", "example", "Cache")
    return SimpleNamespace(**{name: getattr(op, name) for name in names} | parts)


def test_what_is_right_passes():
    r = verify.verify_one(squeeze_excite, definitions.squeeze_excite)
    assert r.passed
    assert r.problems == ()
    assert (r.name, r.family) == ("squeeze_excite", "gates")
    assert 0 < r.forward_error < 1e-14
    assert 0 < r.gradient_error < 1e-8
    assert 0 < r.float32_error < r.float32_limit
    assert r.forward_us > 0
    assert r.backward_us > 0


def test_a_wrong_forward_fails_though_its_gradient_is_its_own():
    def forward(x):
        y, cache = sigmoid.forward(x)
        return y + 1e-6, cache

    r = verify.verify_one(broken(sigmoid, forward=forward), definitions.sigmoid)
    assert not r.passed
    assert r.forward_error > 1e-7
    assert r.gradient_error < verify.GRADIENT
    assert "definition" in r.problems[0]


def test_a_wrong_gradient_fails():
    def backward(dy, cache):
        return (dy * cache.y,)                          # σ' without its factor 1 - σ

    r = verify.verify_one(broken(sigmoid, backward=backward), definitions.sigmoid)
    assert not r.passed
    assert r.forward_error < verify.FORWARD
    assert "the gradient of x is not the derivative" in r.problems[0]


def test_a_gradient_that_misses_one_element_fails():
    def backward(dy, cache):
        dx, = sigmoid.backward(dy, cache)
        dx.flat[7] = 0
        return (dx,)

    assert not verify.verify_one(broken(sigmoid, backward=backward), definitions.sigmoid).passed


def test_a_backward_that_is_not_linear_fails():
    def backward(dy, cache):
        return (dy * cache.y * (1 - cache.y) + 1e-9 * dy ** 2,)

    r = verify.verify_one(broken(sigmoid, backward=backward), definitions.sigmoid)
    assert not r.passed
    assert "not linear" in r.problems[0]


def test_float32_that_loses_digits_fails_though_float64_is_right():
    def forward(x):
        shifted = x + 1e3 if x.dtype == np.float32 else x       # ten bits of x go, and come back as zeros
        return sigmoid.forward(shifted - 1e3 if x.dtype == np.float32 else x)

    r = verify.verify_one(broken(sigmoid, forward=forward), definitions.sigmoid)
    assert not r.passed
    assert r.float32_error > r.float32_limit
    assert "float32 loses too much" in r.problems[0]


def test_float32_may_lose_what_the_question_loses():
    """1000 x is as sensitive to x as it is large: the limit follows, without a number of its own."""
    steep = SimpleNamespace(
        __name__="visattn.ops.primitives.steep",
        forward=lambda x: (np.sin(1000 * x), x),
        backward=lambda dy, x: (1000 * np.cos(1000 * x) * dy,),
        example=lambda rng: ((rng.normal(size=(3, 4)),), {}))
    r = verify.verify_one(steep, SimpleNamespace(forward=lambda x: np.sin(1000 * x)))
    assert r.float32_error > 8
    assert r.float32_error < r.float32_limit


def test_a_backward_that_raises_is_a_failure_and_not_an_exception():
    def backward(dy, cache):
        raise RuntimeError("no such luck\nsecond line")

    r = verify.verify_one(broken(sigmoid, backward=backward), definitions.sigmoid)
    assert not r.passed
    assert r.problems == ("RuntimeError: no such luck",)
    assert r.gradient_error is None
    assert r.forward_us is None


def test_nan_is_not_right():
    def forward(x):
        y, cache = sigmoid.forward(x)
        return y * np.nan, cache

    r = verify.verify_one(broken(sigmoid, forward=forward), definitions.sigmoid)
    assert not r.passed
    assert r.forward_error == np.inf


def test_a_wrong_shape_is_not_right():
    r = verify.verify_one(broken(sigmoid, forward=lambda x: (sigmoid.forward(x)[0][:, :1], None)), definitions.sigmoid)
    assert not r.passed
    assert r.forward_error == np.inf


def test_an_operator_without_a_definition_fails_and_a_model_does_not_need_one():
    r = verify.verify_one(sigmoid)
    assert not r.passed
    assert r.forward_error is None
    assert verify.verify_one(broken(sigmoid, __name__="visattn.models.sigmoid")).passed


def test_everything_is_verified_once_and_by_its_name(monkeypatch):
    monkeypatch.setattr(verify, "verify_one", lambda op, definition: (op, definition))
    seen = []
    found = verify.verify(["sigmoid", "attention", "sigmoid"], seen.append)
    assert found == [(ops.sigmoid, definitions.sigmoid), (ops.attention, definitions.attention)]
    assert seen == ["sigmoid", "attention"]
    assert len(verify.verify()) >= len(dir(ops))


def test_an_unknown_name_is_said_with_its_neighbours():
    with pytest.raises(LookupError, match="no operator or model 'atention'; did you mean attention"):
        verify.verify(["atention"])


def test_results_in_words():
    one = verify.verify(["sigmoid"])
    assert verify.in_words(one).startswith("1 operator holds.")
    two = [*one, one[0]._replace(name="other", passed=False)]
    assert verify.in_words(two) == "1 of 2 does not hold: other."
