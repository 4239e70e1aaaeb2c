import numpy as np
import pytest

from visattn import gradcheck
from visattn.check.definitions.primitives import conv2d as definition
from visattn.ops.primitives import conv2d, linear

OPTIONS = [
    {},
    {"padding": 1},
    {"padding": (2, 0), "stride": (1, 3)},
    {"dilation": 2, "padding": (3, 1)},
    {"dilation": (1, 3), "stride": 2, "padding": (0, 2)},
    {"groups": 2, "padding": 1},
    {"groups": 4, "stride": [2, 1]},
    {"padding": (2, 1), "stride": 5},
]


def tensors(rng, groups=1, bias=True):
    x, w = rng.normal(size=(2, 4, 6, 9)), rng.normal(size=(8, 4 // groups, 3, 2))
    return (x, w, rng.normal(size=8)) if bias else (x, w)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_options_mean_what_the_definition_says(rng, options, bias):
    args = tensors(rng, options.get("groups", 1), bias)
    y, _ = conv2d.forward(*args, **options)
    np.testing.assert_allclose(y, definition.forward(*args, **options), rtol=1e-12, atol=1e-12)
    gradcheck.check(conv2d, args, options, rng)


def test_by_hand():
    x = np.array([[[[1.0, 2, 3], [4, 5, 6]]]])
    w = np.array([[[[1.0, 10], [100, 1000]]]])
    y, cache = conv2d.forward(x, w, np.array([0.5]))
    assert y.tolist() == [[[[5421.5, 6532.5]]]]                 # 1 + 20 + 400 + 5000: the kernel is not turned around
    dx, dw, db = conv2d.backward(np.array([[[[1.0, 2]]]]), cache)
    assert dx.tolist() == [[[[1, 12, 20], [100, 1200, 2000]]]]  # the middle column is in both windows
    assert dw.tolist() == [[[[5, 8], [14, 17]]]]                # 1·1 + 2·2 ...
    assert db.tolist() == [3]


def test_by_hand_at_the_border():
    x, w = np.array([[[[1.0, 2], [3, 4]]]]), np.ones((1, 1, 3, 3))
    y, cache = conv2d.forward(x, w, padding=1)
    assert y.tolist() == [[[[10, 10], [10, 10]]]]               # every window sees the whole image
    dx, dw = conv2d.backward(np.ones((1, 1, 2, 2)), cache)
    assert dx.tolist() == [[[[4, 4], [4, 4]]]]
    assert dw.tolist() == [[[[1, 3, 2], [4, 10, 6], [3, 7, 4]]]]        # the corner tap sees one pixel: 1


def test_moves_with_the_image(rng):
    """Away from the border, a shifted image gives the shifted features."""
    x, w = rng.normal(size=(1, 2, 9, 8)), rng.normal(size=(3, 2, 3, 3))
    y, _ = conv2d.forward(x, w)
    shifted, _ = conv2d.forward(np.roll(x, (1, 2), (2, 3)), w)
    np.testing.assert_allclose(shifted[:, :, 1:, 2:], y[:, :, :-1, :-2], atol=1e-13)


def test_sees_nothing_outside_its_window(rng):
    x, w = rng.normal(size=(2, 3, 8, 7)), rng.normal(size=(4, 3, 3, 2))
    y, _ = conv2d.forward(x, w, stride=2)
    x[1, :, 2, 3] += 1                                          # in windows of rows 0, 1 and of column 1
    changed = conv2d.forward(x, w, stride=2)[0] != y
    assert np.argwhere(changed.any(1)).tolist() == [[1, 0, 1], [1, 1, 1]]


def test_groups_do_not_see_each_other(rng):
    x, w, b = tensors(rng, groups=2)
    y, cache = conv2d.forward(x, w, b, groups=2, padding=1)
    for part, half in ((slice(0, 2), slice(0, 4)), (slice(2, 4), slice(4, 8))):
        alone, _ = conv2d.forward(x[:, part], w[half], b[half], padding=1)
        np.testing.assert_allclose(y[:, half], alone, atol=1e-12)
    dy = rng.normal(size=y.shape)
    dy[:, 4:] = 0
    dx, dw, _ = conv2d.backward(dy, cache)
    assert np.any(dx[:, :2])
    assert not np.any(dx[:, 2:])
    assert not np.any(dw[4:])


def test_a_kernel_of_one_pixel_is_a_linear_map_of_the_channels(rng):
    x, w, b = rng.normal(size=(2, 3, 4, 5)), rng.normal(size=(6, 3, 1, 1)), rng.normal(size=6)
    y, _ = conv2d.forward(x, w, b)
    same, _ = linear.forward(x.transpose(0, 2, 3, 1), w[:, :, 0, 0], b)
    np.testing.assert_allclose(y, same.transpose(0, 3, 1, 2), rtol=1e-12)


def test_a_stride_of_the_kernel_cuts_patches(rng):
    """The patch embedding of a vision transformer."""
    x, w = rng.normal(size=(2, 3, 6, 8)), rng.normal(size=(5, 3, 3, 4))
    y, _ = conv2d.forward(x, w, stride=(3, 4))
    patches = x.reshape(2, 3, 2, 3, 2, 4).transpose(0, 2, 4, 1, 3, 5).reshape(2, 4, 36)
    np.testing.assert_allclose(y.reshape(2, 5, 4).swapaxes(1, 2), patches @ w.reshape(5, 36).T, rtol=1e-11)


def test_output_and_gradient_lie_in_memory_like_any_image(rng):
    y, cache = conv2d.forward(*tensors(rng), padding=1)
    assert y.flags.c_contiguous
    assert conv2d.backward(np.asfortranarray(y), cache)[0].flags.c_contiguous


def test_empty_batch(rng):
    x, w, b = tensors(rng, groups=2)
    y, cache = conv2d.forward(x[:0], w, b, groups=2, padding=1)
    assert y.shape == definition.forward(x[:0], w, b, groups=2, padding=1).shape == (0, 8, 6, 10)
    dx, dw, db = conv2d.backward(y, cache)
    assert dx.shape == (0, 4, 6, 9)
    assert not dw.any()
    assert not db.any()


@pytest.mark.parametrize(("options", "said"), [
    ({"stride": 0}, "stride must be at least 1; got 0"),
    ({"dilation": (1, 0)}, r"dilation must be at least 1; got \(1, 0\)"),
    ({"padding": -1}, "padding must be at least 0 and below 3, the extent of the kernel; got -1"),
    ({"padding": 2}, "padding must be at least 0 and below 2, the extent of the kernel; got 2"),
    ({"dilation": 4}, "x must be as large, with its padding, as the kernel: 9; got 6"),
    ({"groups": 3}, "groups must divide the 8 output channels; got 3"),
    ({"groups": 0}, "groups must divide the 8 output channels; got 0"),
    ({"groups": 2}, "w must have C / groups = 4 / 2 input channels; got 4"),
])
def test_refuses_what_makes_no_sense(rng, options, said):
    with pytest.raises(ValueError, match="conv2d.forward: " + said):
        conv2d.forward(*tensors(rng), **options)


def test_refuses_a_gradient_of_another_size(rng):
    y, cache = conv2d.forward(*tensors(rng))
    with pytest.raises(ValueError, match="dy must have 4 by 8 places; got shape"):
        conv2d.backward(y[:, :, :, 1:], cache)


def test_weights_are_he_normal(rng):
    p = conv2d.init(rng, 64, 96, kernel=(3, 5), groups=2)
    assert p.w.shape == (96, 32, 3, 5)
    assert abs(p.w.std() / (2 / (32 * 3 * 5)) ** 0.5 - 1) < 0.01
    assert not p.b.any()
    assert conv2d.init(rng, 5, 4).w.shape == (4, 5, 3, 3)
    with pytest.raises(ValueError, match="groups must divide the 64 input channels; got 3"):
        conv2d.init(rng, 64, 96, groups=3)


def test_the_blocks_of_a_batch_do_not_show(rng, monkeypatch):
    """Images are worked on in blocks, for speed: one at a time, two, or all at once, the answers are the same."""
    x, w, b = rng.normal(size=(5, 4, 6, 7)), rng.normal(size=(6, 2, 3, 2)), rng.normal(size=6)
    dy, answers = rng.normal(size=(5, 6, 4, 6)), []
    for block in (1, 2 * x[0].size * 6, 1 << 21):
        monkeypatch.setattr(conv2d, "BLOCK", block)
        y, cache = conv2d.forward(x, w, b, groups=2)
        answers.append((len(conv2d.blocks(x, cache.windows)), y, *conv2d.backward(dy, cache)))
    (one, *alone), (two, *pairs), (all_, *together) = answers
    assert (one, two, all_) == (5, 3, 1)
    for got in (alone, pairs):
        for a, expected in zip(got, together, strict=True):
            np.testing.assert_allclose(a, expected, rtol=1e-12, atol=1e-12)
