import numpy as np
import pytest

from visattn import gradcheck
from visattn.check.definitions.primitives import depthwise as definition
from visattn.ops.primitives import conv2d, depthwise

OPTIONS = [
    {},
    {"padding": 1},
    {"padding": (2, 0), "stride": (1, 3)},
    {"dilation": 2, "padding": (3, 1)},
    {"dilation": (1, 3), "stride": 2, "padding": [0, 2]},
    {"padding": (2, 1), "stride": 5},
]


def tensors(rng, bias=True):
    args = rng.normal(size=(2, 4, 6, 9)), rng.normal(size=(4, 3, 2)), rng.normal(size=4)
    return args if bias else args[:2]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_options_mean_what_the_definition_says(rng, options, bias):
    args = tensors(rng, bias)
    y, _ = depthwise.forward(*args, **options)
    np.testing.assert_allclose(y, definition.forward(*args, **options), rtol=1e-12, atol=1e-12)
    gradcheck.check(depthwise, args, options, rng)


def test_by_hand():
    x = np.array([[[[1.0, 2, 3]], [[4, 5, 6]]]])
    w = np.array([[[1.0, 10]], [[100, 0]]])
    y, cache = depthwise.forward(x, w, np.array([0.5, 0]))
    assert y.tolist() == [[[[21.5, 32.5]], [[400, 500]]]]
    dx, dw, db = depthwise.backward(np.array([[[[1.0, 2]], [[3, 4]]]]), cache)
    assert dx.tolist() == [[[[1, 12, 20]], [[300, 400, 0]]]]
    assert dw.tolist() == [[[5, 8]], [[32, 39]]]
    assert db.tolist() == [3, 7]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_is_a_convolution_with_as_many_groups_as_channels(rng, options):
    x, w, b = tensors(rng)
    y, cache = depthwise.forward(x, w, b, **options)
    same, full = conv2d.forward(x, w[:, None], b, **options, groups=4)
    np.testing.assert_allclose(y, same, rtol=1e-12, atol=1e-12)
    dy = rng.normal(size=y.shape)
    for one, two in zip(depthwise.backward(dy, cache), conv2d.backward(dy, full)):
        np.testing.assert_allclose(one, two.reshape(one.shape), rtol=1e-11, atol=1e-12)


def test_channels_do_not_see_each_other(rng):
    x, w, b = tensors(rng)
    y, cache = depthwise.forward(x, w, b)
    x[:, 2] += 1
    assert np.argwhere((depthwise.forward(x, w, b)[0] != y).any((0, 2, 3))).tolist() == [[2]]
    dy = np.zeros_like(y)
    dy[:, 1] = 1
    dx, dw, db = depthwise.backward(dy, cache)
    assert all(np.flatnonzero(d).tolist() == [1] for d in (abs(dx).sum((0, 2, 3)), abs(dw).sum((1, 2)), db))


def test_the_centre_tap_alone_is_the_image(rng):
    x = rng.normal(size=(2, 3, 4, 5))
    w = np.zeros((3, 3, 5))
    w[:, 1, 2] = 1
    np.testing.assert_array_equal(depthwise.forward(x, w, padding=(1, 2))[0], x)


def test_weights_are_he_normal(rng):
    p = depthwise.init(rng, 2000, kernel=(3, 5))
    assert p.w.shape == (2000, 3, 5)
    assert abs(p.w.std() / (2 / 15) ** 0.5 - 1) < 0.02
    assert not p.b.any()
    assert depthwise.init(rng, 4).w.shape == (4, 3, 3)


@pytest.mark.parametrize(("options", "said"), [
    ({"stride": (2, 0)}, r"stride must be at least 1; got \(2, 0\)"),
    ({"padding": 2}, "padding must be at least 0 and below 2, the extent of the kernel; got 2"),
    ({"dilation": (3, 1)}, "x must be as large, with its padding, as the kernel: 7; got 6"),
])
def test_refuses_what_makes_no_sense(rng, options, said):
    with pytest.raises(ValueError, match="depthwise.forward: " + said):
        depthwise.forward(*tensors(rng), **options)


def test_refuses_a_gradient_of_another_size(rng):
    y, cache = depthwise.forward(*tensors(rng))
    with pytest.raises(ValueError, match="dy must have 4 by 8 places; got shape"):
        depthwise.backward(y[:, :, 1:], cache)


def test_empty_batch(rng):
    x, w, b = tensors(rng)
    y, cache = depthwise.forward(x[:0], w, b, padding=1)
    assert y.shape == definition.forward(x[:0], w, b, padding=1).shape == (0, 4, 6, 10)
    dx, dw, db = depthwise.backward(y, cache)
    assert dx.shape == (0, 4, 6, 9)
    assert not dw.any()
    assert not db.any()
