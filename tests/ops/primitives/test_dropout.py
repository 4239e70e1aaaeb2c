"""What is true of dropout in particular."""

from itertools import product

import numpy as np
import pytest

from visattn import gradcheck
from visattn.check.definitions.primitives import dropout as definition
from visattn.ops import dropout


def test_by_hand():
    y, cache = dropout.forward(np.array([1.0, 2.0, 3.0]), mask=np.array([True, False, True]), rate=0.75)
    assert y.tolist() == [4, 0, 12]
    assert dropout.backward(np.array([1.0, 1.0, -1.0]), cache)[0].tolist() == [4, 0, -4]


def test_the_mean_over_all_masks_is_the_input():
    """Summed exactly over the eight masks with their probabilities, the rate being the chance to be dropped."""
    x, rate = np.array([1.0, -2.0, 3.0]), 0.25
    mean = sum(np.prod(np.where(mask, 1 - rate, rate)) * dropout.forward(x, mask=np.array(mask), rate=rate)[0]
               for mask in product([True, False], repeat=3))
    np.testing.assert_allclose(mean, x, rtol=1e-15)


def test_rate_zero_keeps_the_input(rng):
    x = rng.normal(size=(2, 3))
    np.testing.assert_array_equal(dropout.forward(x, mask=np.ones((2, 3), bool), rate=0)[0], x)


def test_the_same_mask_gives_the_same_answer(rng):
    (x,), options = dropout.example(rng)
    np.testing.assert_array_equal(dropout.forward(x, **options)[0], dropout.forward(x, **options)[0])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_dropped_leaves_no_trace(value):
    mask = np.array([False, True])
    y, cache = dropout.forward(np.array([value, 1.0]), mask=mask, rate=0.5)
    assert y.tolist() == [0, 2]
    assert dropout.backward(np.array([value, 1.0]), cache)[0].tolist() == [0, 2]


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 3, 1, 1), (2, 1, 1, 1), (4, 5), ()])
@pytest.mark.parametrize("rate", [0.0, 0.9])
def test_whole_channels_and_whole_examples(rng, shape, rate):
    x, mask = rng.normal(size=(2, 3, 4, 5)), np.asarray(rng.random(shape) < 0.5)
    np.testing.assert_allclose(dropout.forward(x, mask=mask, rate=rate)[0], definition.forward(x, mask=mask, rate=rate),
                               rtol=1e-15)
    gradcheck.check(dropout, (x,), {"mask": mask, "rate": rate}, rng)


def test_nothing_in_nothing_out():
    y, cache = dropout.forward(np.zeros((0, 3)), mask=np.zeros((0, 3), bool), rate=0.5)
    assert y.shape == dropout.backward(y, cache)[0].shape == (0, 3)


@pytest.mark.parametrize("rate", [-0.1, 1.0, np.nan])
def test_refuses_a_rate_that_leaves_nothing(rate):
    with pytest.raises(ValueError, match="rate must be at least 0 and below 1"):
        dropout.forward(np.ones(3), mask=np.ones(3, bool), rate=rate)


def test_refuses_a_mask_of_numbers():
    with pytest.raises(TypeError, match="mask must be a boolean array"):
        dropout.forward(np.ones(3), mask=np.ones(3), rate=0.5)
