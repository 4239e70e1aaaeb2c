import numpy as np
import pytest
from strict import get, put

from visattn import gradcheck
from visattn.check.definitions.primitives import global_max_pool2d as definition
from visattn.ops.primitives import global_max_pool2d

TIES = ("first", "even")


def gradient(x, dy, **options):
    return global_max_pool2d.backward(np.array(dy), global_max_pool2d.forward(np.array(x), **options)[1])[0].tolist()


@pytest.mark.parametrize("ties", TIES)
def test_by_hand(ties):
    x = [[[[1.0, 2, 3], [9, 5, 4]], [[-3, -2, -7], [-4, -5, -6]]]]
    assert global_max_pool2d.forward(np.array(x), ties=ties)[0].tolist() == [[9, -2]]
    assert gradient(x, [[5.0, 7]], ties=ties) == [[[[0, 0, 0], [5, 0, 0]], [[0, 7, 0], [0, 0, 0]]]]


def test_the_first_of_several_winners_takes_all_or_all_share():
    x = [[[[0.0, 3, 1], [3, 2, 3]]]]
    assert gradient(x, [[6.0]]) == gradient(x, [[6.0]], ties="first") == [[[[0, 6, 0], [0, 0, 0]]]]
    assert gradient(x, [[6.0]], ties="even") == [[[[0, 2, 0], [2, 0, 2]]]]


def test_a_channel_of_zeros_is_one_tie():
    x = np.maximum(-np.ones((1, 1, 2, 2)), 0)
    assert gradient(x, [[8.0]], ties="first") == [[[[8, 0], [0, 0]]]]
    assert gradient(x, [[8.0]], ties="even") == [[[[2, 2], [2, 2]]]]


def test_zeros_of_both_signs_tie():
    assert gradient([[[[-0.0, 0.0]]]], [[2.0]], ties="first") == [[[[2, 0]]]]
    assert gradient([[[[-0.0, 0.0]]]], [[2.0]], ties="even") == [[[[1, 1]]]]


def test_a_channel_of_minus_infinity_has_a_winner():
    x = np.full((1, 1, 1, 2), -np.inf)
    assert gradient(x, [[2.0]], ties="first") == [[[[2, 0]]]]
    assert gradient(x, [[2.0]], ties="even") == [[[[1, 1]]]]


@pytest.mark.parametrize("ties", TIES)
def test_nan_wins_in_its_channel_alone(ties):
    x = np.array([[[[1.0, np.nan], [7, 0]], [[1, 2], [3, 4]]]])
    y, _ = global_max_pool2d.forward(x, ties=ties)
    np.testing.assert_array_equal(y, [[np.nan, 4]])
    assert gradient(x, [[5.0, 6]], ties=ties) == [[[[0, 5], [0, 0]], [[0, 0], [0, 6]]]]


@pytest.mark.parametrize("ties", TIES)
def test_laws_and_definition_under_both_rules(rng, ties):
    (x,), _ = global_max_pool2d.example(rng)
    gradcheck.check(global_max_pool2d, (x,), {"ties": ties}, rng)
    np.testing.assert_array_equal(global_max_pool2d.forward(x, ties=ties)[0], definition.forward(x, ties=ties))


@pytest.mark.parametrize("ties", TIES)
def test_the_gradient_is_shared_out_whole(rng, ties):
    x = rng.integers(0, 3, (3, 4, 4, 5)).astype(float)
    y, cache = global_max_pool2d.forward(x, ties=ties)
    dy = rng.normal(size=y.shape)
    dx, = global_max_pool2d.backward(dy, cache)
    np.testing.assert_allclose(dx.sum((2, 3)), dy, rtol=1e-12)
    assert np.all((dx == 0) | (x == y[:, :, None, None]))


@pytest.mark.parametrize("ties", TIES)
def test_empty_batch(ties):
    x = np.zeros((0, 3, 4, 5))
    y, cache = global_max_pool2d.forward(x, ties=ties)
    assert y.shape == definition.forward(x, ties=ties).shape == (0, 3)
    assert global_max_pool2d.backward(y, cache)[0].shape == x.shape


def test_first_runs_on_the_strict_double(rng):
    (x,), _ = global_max_pool2d.example(rng)
    y, cache = global_max_pool2d.forward(put(x))
    dx, = global_max_pool2d.backward(y, cache)
    np.testing.assert_array_equal(get(dx), gradient(x, get(y)))


def test_refuses_another_rule(rng):
    with pytest.raises(ValueError, match=r"ties must be one of 'first', 'even'; got 'last'"):
        global_max_pool2d.forward(np.ones((1, 1, 2, 2)), ties="last")
