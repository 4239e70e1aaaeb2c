"""What is true of cross-entropy in particular."""

import math

import numpy as np
import pytest

from visattn import gradcheck
from visattn.check.definitions.primitives import cross_entropy as definition
from visattn.ops import cross_entropy

X = np.log([[1.0, 2.0, 5.0], [1.0, 1.0, 2.0]])          # p = 1/8, 2/8, 5/8 and 1/4, 1/4, 2/4
LABELS = np.array([1, 2])


def test_by_hand():
    y, cache = cross_entropy.forward(X, labels=LABELS)
    np.testing.assert_allclose(y, (math.log(4) + math.log(2)) / 2, rtol=1e-15)
    dx, = cross_entropy.backward(16.0, cache)
    np.testing.assert_allclose(dx, [[1, -6, 5], [2, 2, -4]], rtol=1e-14)


def test_smoothed_by_hand():
    """ε = 0.3: t is 0.1, but 0.8 at the label."""
    y, cache = cross_entropy.forward(X[:1], labels=LABELS[:1], label_smoothing=0.3)
    np.testing.assert_allclose(y, 0.1 * math.log(8) + 0.8 * math.log(4) + 0.1 * math.log(8 / 5), rtol=1e-15)
    dx, = cross_entropy.backward(1.0, cache)
    np.testing.assert_allclose(dx, [[0.125 - 0.1, 0.25 - 0.8, 0.625 - 0.1]], rtol=1e-14)


def test_knowing_nothing_costs_log_C():
    y, _ = cross_entropy.forward(np.zeros((4, 10)), labels=np.arange(4))
    np.testing.assert_allclose(y, math.log(10), rtol=1e-15)


def test_total_smoothing_forgets_the_labels(rng):
    x = rng.normal(size=(4, 3))
    losses = [cross_entropy.forward(x, labels=labels, label_smoothing=1.0)[0] for labels in
              (np.array([0, 1, 2, 0]), np.array([2, 2, 2, 2]))]
    np.testing.assert_allclose(*losses, rtol=1e-14)


def test_every_row_of_the_gradient_sums_to_zero(rng):
    x = rng.normal(size=(4, 3))
    for smoothing in (0.0, 0.4):
        _, cache = cross_entropy.forward(x, labels=np.array([0, 1, 2, 0]), label_smoothing=smoothing)
        np.testing.assert_allclose(cross_entropy.backward(1.0, cache)[0].sum(1), 0, atol=1e-16)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize(("N", "C"), [(1, 5), (3, 1), (4, 6)])
@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8])
def test_every_smoothing_size_and_kind_of_label(rng, smoothing, N, C, dtype):
    x, labels = rng.normal(0, 2, size=(N, C)), rng.integers(C, size=N).astype(dtype)
    options = {"labels": labels, "label_smoothing": smoothing}
    np.testing.assert_allclose(cross_entropy.forward(x, **options)[0], definition.forward(x, **options), rtol=1e-12,
                               atol=1e-15)
    if C > 1:
        gradcheck.check(cross_entropy, (x,), options, rng)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_surely_wrong_is_finite_and_has_a_gradient(dtype):
    """The logarithm of a softmax would be -∞, and its gradient 0 · ∞."""
    y, cache = cross_entropy.forward(np.array([[1000, 0]], dtype), labels=np.array([1]))
    assert y == 1000
    assert cross_entropy.backward(1.0, cache)[0].tolist() == [[1, -1]]


def test_a_class_that_is_ruled_out():
    """A score of -∞ costs nothing while it is not the label, and everything when it is."""
    x = np.array([[0.0, -np.inf, 0.0]])
    y, cache = cross_entropy.forward(x, labels=np.array([0]))
    np.testing.assert_allclose(y, math.log(2))
    assert cross_entropy.backward(1.0, cache)[0].tolist() == [[-0.5, 0, 0.5]]
    assert cross_entropy.forward(x, labels=np.array([1]))[0] == np.inf


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_an_empty_batch_costs_nothing(smoothing):
    y, cache = cross_entropy.forward(np.zeros((0, 3)), labels=np.zeros(0, int), label_smoothing=smoothing)
    assert y == 0
    assert cross_entropy.backward(1.0, cache)[0].shape == (0, 3)


@pytest.mark.parametrize(("labels", "value"), [([0, 3], 3), ([-1, 7], -1), ([1, 255], 255)])
def test_refuses_a_label_that_is_no_class(labels, value):
    """torch's ignore_index and NumPy's counting from the end would both take -1 for something."""
    rule = rf"labels must be at least 0 and below the number of classes, 3; got \[{value}\]"
    with pytest.raises(ValueError, match=rule):
        cross_entropy.forward(X, labels=np.array(labels))


def test_refuses_labels_that_are_not_integers():
    with pytest.raises(TypeError, match="labels must be an integer array"):
        cross_entropy.forward(X, labels=np.array([1.0, 2.0]))


@pytest.mark.parametrize("smoothing", [-0.1, 1.1, np.nan])
def test_refuses_a_smoothing_that_is_no_share(smoothing):
    with pytest.raises(ValueError, match=r"label_smoothing must lie in \[0, 1\]"):
        cross_entropy.forward(X, labels=LABELS, label_smoothing=smoothing)
