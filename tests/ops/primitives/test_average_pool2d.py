import numpy as np
import pytest

from visattn import gradcheck
from visattn.check.definitions.primitives import average_pool2d as definition
from visattn.ops.primitives import average_pool2d, depthwise, global_average_pool2d

OPTIONS = [
    {"kernel": 2},
    {"kernel": 3, "stride": 1, "padding": 1},
    {"kernel": (3, 2), "stride": [2, 1], "padding": (2, 0)},
    {"kernel": (1, 4), "padding": (0, 3)},
    {"kernel": 2, "stride": 4},
    {"kernel": (6, 9)},
]


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_options_mean_what_the_definition_says(rng, options, counted):
    x, options = rng.normal(size=(2, 3, 6, 9)), {**options, "count_include_pad": counted}
    y, _ = average_pool2d.forward(x, **options)
    np.testing.assert_allclose(y, definition.forward(x, **options), rtol=1e-12, atol=1e-14)
    gradcheck.check(average_pool2d, (x,), options, rng)


def test_by_hand():
    x = np.array([[[[1.0, 2, 8, 3], [4, 5, 7, 6]]]])
    y, cache = average_pool2d.forward(x, kernel=2)
    assert y.tolist() == [[[[3, 6]]]]
    assert average_pool2d.backward(np.array([[[[4.0, 8]]]]), cache)[0].tolist() == [[[[1, 1, 2, 2], [1, 1, 2, 2]]]]


@pytest.mark.parametrize(("counted", "y", "dx"), [(True, [4, 8, 7], [4, 8, 6]), (False, [6, 8, 10.5], [5, 11, 8])])
def test_by_hand_at_the_border(counted, y, dx):
    """Three windows: padding and two pixels, all three, two and padding."""
    options = {"kernel": (1, 3), "stride": 1, "padding": (0, 1), "count_include_pad": counted}
    out, cache = average_pool2d.forward(np.array([[[[3.0, 9, 12]]]]), **options)
    assert out.tolist() == [[[y]]]
    assert average_pool2d.backward(np.array([[[[6.0, 6, 12]]]]), cache)[0].tolist() == [[[dx]]]


def test_a_flat_image_stays_flat_where_the_padding_is_not_counted():
    x = np.full((1, 2, 5, 7), 3.0)
    options = {"kernel": (3, 4), "stride": 1, "padding": (2, 3)}
    assert np.all(average_pool2d.forward(x, **options, count_include_pad=False)[0] == 3)
    assert average_pool2d.forward(x, **options)[0][0, 0, 0, 0] == 3 / 12


def test_is_a_depthwise_convolution_with_equal_weights(rng):
    x = rng.normal(size=(2, 3, 6, 7))
    y, _ = average_pool2d.forward(x, kernel=(3, 2), stride=2, padding=1)
    same, _ = depthwise.forward(x, np.full((3, 3, 2), 1 / 6), stride=2, padding=1)
    np.testing.assert_allclose(y, same, rtol=1e-12, atol=1e-14)


def test_one_window_over_the_image_is_global_pooling(rng):
    x = rng.normal(size=(2, 3, 4, 5))
    y, _ = average_pool2d.forward(x, kernel=(4, 5))
    np.testing.assert_allclose(y[:, :, 0, 0], global_average_pool2d.forward(x)[0], rtol=1e-12, atol=1e-15)


def test_empty_batch():
    x = np.zeros((0, 3, 4, 5))
    y, cache = average_pool2d.forward(x, kernel=2)
    assert y.shape == definition.forward(x, kernel=2).shape == (0, 3, 2, 2)
    assert average_pool2d.backward(y, cache)[0].shape == x.shape


@pytest.mark.parametrize(("options", "said"), [
    ({"kernel": (2, 0)}, r"kernel must be at least 1; got \(2, 0\)"),
    ({"kernel": 2, "stride": -1}, "stride must be at least 1; got -1"),
    ({"kernel": 2, "padding": 2}, "padding must be at least 0 and below 2, the extent of the kernel; got 2"),
    ({"kernel": (2, 7)}, "x must be as large, with its padding, as the kernel: 7; got 6"),
])
def test_refuses_what_makes_no_sense(options, said):
    with pytest.raises(ValueError, match="average_pool2d.forward: " + said):
        average_pool2d.forward(np.ones((1, 2, 4, 6)), **options)
