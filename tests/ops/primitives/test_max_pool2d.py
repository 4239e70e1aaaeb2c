import numpy as np
import pytest
from strict import get, put

from visattn import gradcheck
from visattn.check.definitions.primitives import max_pool2d as definition
from visattn.ops.primitives import global_max_pool2d, max_pool2d

TIES = ("first", "even")
OPTIONS = [
    {"kernel": 2},
    {"kernel": 3, "stride": 1, "padding": 1},
    {"kernel": (3, 2), "stride": [2, 1], "padding": (2, 0)},
    {"kernel": (1, 4), "padding": (0, 3)},
    {"kernel": 2, "stride": 4},
    {"kernel": (6, 9)},
]


def gradient(x, dy, **options):
    return max_pool2d.backward(np.array(dy), max_pool2d.forward(np.array(x), **options)[1])[0].tolist()


@pytest.mark.parametrize("ties", TIES)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_options_mean_what_the_definition_says(rng, options, ties):
    x = rng.normal(size=(2, 3, 6, 9))
    y, _ = max_pool2d.forward(x, **options, ties=ties)
    np.testing.assert_array_equal(y, definition.forward(x, **options, ties=ties))
    gradcheck.check(max_pool2d, (x,), {**options, "ties": ties}, rng)


@pytest.mark.parametrize("ties", TIES)
def test_by_hand(ties):
    x = [[[[1.0, 2, 8, 3], [4, 3, 7, 6]]]]
    assert max_pool2d.forward(np.array(x), kernel=2)[0].tolist() == [[[[4, 8]]]]
    assert gradient(x, [[[[10.0, 20]]]], kernel=2, ties=ties) == [[[[0, 0, 20, 0], [10, 0, 0, 0]]]]


@pytest.mark.parametrize("ties", TIES)
def test_a_pixel_adds_up_all_the_windows_that_it_wins(ties):
    x = [[[[1.0, 9, 2, 3]]]]
    assert max_pool2d.forward(np.array(x), kernel=(1, 2), stride=1)[0].tolist() == [[[[9, 9, 3]]]]
    assert gradient(x, [[[[10.0, 20, 40]]]], kernel=(1, 2), stride=1, ties=ties) == [[[[0, 30, 0, 40]]]]


def test_the_first_of_several_winners_takes_all_or_all_share():
    x = [[[[0.0, 3, 3], [3, 2, 3]]]]
    assert gradient(x, [[[[8.0]]]], kernel=(2, 3)) == [[[[0, 8, 0], [0, 0, 0]]]]
    assert gradient(x, [[[[8.0]]]], kernel=(2, 3), ties="first") == [[[[0, 8, 0], [0, 0, 0]]]]
    assert gradient(x, [[[[8.0]]]], kernel=(2, 3), ties="even") == [[[[0, 2, 2], [2, 0, 2]]]]


def test_a_window_of_zeros_is_one_tie():
    x = np.zeros((1, 1, 2, 2))
    assert gradient(x, [[[[8.0]]]], kernel=2, ties="first") == [[[[8, 0], [0, 0]]]]
    assert gradient(x, [[[[8.0]]]], kernel=2, ties="even") == [[[[2, 2], [2, 2]]]]


def test_the_padding_never_wins():
    """Not against negative pixels, and not against -∞ either."""
    for low in (-5.0, -np.inf):
        x = np.full((1, 1, 1, 2), low)
        assert max_pool2d.forward(x, kernel=3, padding=1)[0].tolist() == [[[[low]]]]
        assert gradient(x, [[[[8.0]]]], kernel=3, padding=1, ties="first") == [[[[8, 0]]]]
        assert gradient(x, [[[[8.0]]]], kernel=3, padding=1, ties="even") == [[[[4, 4]]]]


@pytest.mark.parametrize("ties", TIES)
def test_nan_wins_in_its_windows_alone(ties):
    x = [[[[9.0, np.nan, 7, 8]]]]
    np.testing.assert_array_equal(max_pool2d.forward(np.array(x), kernel=(1, 2))[0], [[[[np.nan, 8]]]])
    assert gradient(x, [[[[5.0, 6]]]], kernel=(1, 2), ties=ties) == [[[[0, 5, 0, 6]]]]


@pytest.mark.parametrize("ties", TIES)
def test_the_gradient_is_shared_out_whole(rng, ties):
    x = rng.integers(0, 3, (2, 3, 6, 7)).astype(float)
    y, cache = max_pool2d.forward(x, kernel=3, stride=2, padding=1, ties=ties)
    dy = rng.normal(size=y.shape)
    dx, = max_pool2d.backward(dy, cache)
    np.testing.assert_allclose(dx.sum((2, 3)), dy.sum((2, 3)), rtol=1e-11)


@pytest.mark.parametrize("ties", TIES)
def test_one_window_over_the_image_is_global_pooling(rng, ties):
    x = rng.integers(0, 4, (2, 3, 4, 5)).astype(float)
    y, cache = max_pool2d.forward(x, kernel=(4, 5), ties=ties)
    same, whole = global_max_pool2d.forward(x, ties=ties)
    np.testing.assert_array_equal(y[:, :, 0, 0], same)
    np.testing.assert_array_equal(max_pool2d.backward(y, cache)[0], global_max_pool2d.backward(same, whole)[0])


def test_a_window_of_one_pixel_is_the_image(rng):
    x = rng.normal(size=(2, 3, 4, 5))
    y, cache = max_pool2d.forward(x, kernel=1)
    np.testing.assert_array_equal(y, x)
    assert not np.shares_memory(y, x)
    np.testing.assert_array_equal(max_pool2d.backward(x, cache)[0], x)


@pytest.mark.parametrize("ties", TIES)
def test_empty_batch(ties):
    x = np.zeros((0, 3, 4, 5))
    y, cache = max_pool2d.forward(x, kernel=2, ties=ties)
    assert y.shape == definition.forward(x, kernel=2).shape == (0, 3, 2, 2)
    assert max_pool2d.backward(y, cache)[0].shape == x.shape


def test_even_runs_on_the_strict_double(rng):
    x = rng.integers(0, 4, (2, 3, 4, 5)).astype(float)
    y, cache = max_pool2d.forward(put(x), kernel=2, ties="even")
    dx, = max_pool2d.backward(y, cache)
    assert get(dx).tolist() == gradient(x, get(y), kernel=2, ties="even")


@pytest.mark.parametrize(("options", "said"), [
    ({"kernel": 0}, "kernel must be at least 1; got 0"),
    ({"kernel": 2, "stride": 0}, "stride must be at least 1; got 0"),
    ({"kernel": (3, 2), "padding": 2}, "padding must be at least 0 and below 2, the extent of the kernel; got 2"),
    ({"kernel": 5}, "x must be as large, with its padding, as the kernel: 5; got 4"),
    ({"kernel": 2, "ties": "last"}, "ties must be one of 'first', 'even'; got 'last'"),
])
def test_refuses_what_makes_no_sense(options, said):
    with pytest.raises(ValueError, match="max_pool2d.forward: " + said):
        max_pool2d.forward(np.ones((1, 2, 4, 6)), **options)
