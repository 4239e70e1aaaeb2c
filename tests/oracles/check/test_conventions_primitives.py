"""The conventions listed with the primitives are those of the libraries that they are said to be of."""

import numpy as np
import pytest

from visattn import ops
from visattn.check import changes

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch")
F = torch.nn.functional


def changed(op, name):
    """The operator with one of its conventions."""
    convention, = (change for change in changes.own(op.__name__) if change.name == name)
    assert convention.kind == "convention"
    return changes.changed(op, convention)


def same(ours, theirs, rtol=1e-10, atol=1e-13):
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=rtol, atol=atol)


@pytest.fixture
def keras():
    return pytest.importorskip("keras")


# --- softmax, sigmoid, GELU, ReLU, hard swish

def masked(rng):
    mask = rng.random((2, 3, 5)) < 0.7
    mask[0, 1] = False
    return rng.normal(size=(2, 3, 5)), mask


@pytest.mark.parametrize(("name", "lowest"), [("masked_row_nan", -np.inf),
                                              ("masked_row_uniform", np.finfo(float).min)])
def test_rows_in_which_nothing_takes_part_where_the_scores_are_filled(rng, agree, name, lowest):
    """With -∞, or with the lowest finite number: the output and the gradient, which is 0 there."""
    x, mask = masked(rng)
    agree(changed(ops.softmax, name), (x,), {"mask": mask},
          lambda x: torch.softmax(x.masked_fill(~torch.tensor(mask), lowest), -1))
    y, _ = changed(ops.softmax, name).forward(x, mask=mask)
    np.testing.assert_equal(y[0, 1], np.full(5, np.nan if np.isinf(lowest) else 1 / 5))


def test_hard_sigmoid(rng):
    x = 4 * rng.normal(size=(3, 5))
    same(changed(ops.sigmoid, "hard").forward(x)[0], F.hardsigmoid(torch.tensor(x)))


def test_gelu_by_tanh_gradient_and_all(rng, agree):
    agree(changed(ops.gelu, "tanh"), (2 * rng.normal(size=(3, 5)),), {}, lambda x: F.gelu(x, approximate="tanh"))


def test_quick_gelu(rng):
    layers = pytest.importorskip("timm.layers")
    x = 2 * rng.normal(size=(3, 5))
    same(changed(ops.gelu, "quick").forward(x)[0], layers.quick_gelu(torch.tensor(x)))


def test_clamp_passes_a_gradient_at_zero(agree):
    agree(changed(ops.relu, "one_at_zero"), (np.array([-1.0, 0.0, 1.0]),), {}, lambda x: torch.clamp(x, min=0))


def test_timm_has_a_hard_swish_with_the_inner_slopes(agree):
    timm = pytest.importorskip("timm.layers.activations_me")
    agree(changed(ops.hard_swish, "inner_slopes"), (np.array([-4.0, -3.0, 1.0, 3.0, 4.0]),), {}, timm.hard_swish_me)


# --- normalisation

def test_layernorm_of_keras_has_a_larger_eps(rng, keras):
    """To float32, to which it rounds on the way."""
    (x, g, b), _ = ops.layernorm.example(rng)
    x = 0.1 * x
    layer = keras.layers.LayerNormalization(dtype="float64")
    layer.build(x.shape)
    layer.set_weights([g, b])
    same(changed(ops.layernorm, "eps_of_keras").forward(x, g, b)[0], layer(torch.tensor(x)), rtol=1e-5)


def test_layernorm_of_timm_has_a_smaller_eps(rng, agree):
    layers = pytest.importorskip("timm.layers")
    (x, g, b), _ = ops.layernorm.example(rng)
    layer = layers.LayerNorm(len(g))
    agree(changed(ops.layernorm, "eps_of_timm"), (0.01 * x, g, b), {},
          lambda x, g, b: torch.func.functional_call(layer, {"weight": g, "bias": b}, (x,)))


def test_batchnorm_of_keras_has_a_larger_eps(rng, keras):
    (x, g, b), _ = ops.batchnorm.example(rng)
    x = 0.1 * x
    layer = keras.layers.BatchNormalization(axis=1, dtype="float64")
    layer.build(x.shape)
    layer.gamma.assign(g)
    layer.beta.assign(b)
    same(changed(ops.batchnorm, "eps_of_keras").forward(x, g, b)[0], layer(x, training=True), rtol=1e-5, atol=1e-6)


# --- windows

def test_scipy_turns_the_kernel_around(rng):
    signal = pytest.importorskip("scipy.signal")
    x, w = rng.normal(size=(1, 1, 5, 6)), rng.normal(size=(1, 1, 2, 3))
    turned = signal.convolve2d(x[0, 0], w[0, 0], mode="valid")
    np.testing.assert_allclose(changed(ops.conv2d, "kernel_turned_around").forward(x, w)[0][0, 0], turned)
    np.testing.assert_allclose(changed(ops.depthwise, "kernel_turned_around").forward(x, w[0])[0][0, 0], turned)


@pytest.mark.parametrize(("size", "kernel", "stride", "padding"), [((6, 8), 3, 2, 1), ((7, 8), (2, 3), 2, (1, 1)),
                                                                   ((5, 6), (3, 5), (2, 3), (1, 2))])
def test_keras_pads_more_below_and_to_the_right(rng, keras, size, kernel, stride, padding):
    """To float32, in which it convolves on its torch backend."""
    x, w = rng.normal(size=(2, 3, *size)), rng.normal(size=(4, 3, *np.broadcast_to(kernel, 2)))
    layer = keras.layers.Conv2D(4, kernel, stride, padding="same", data_format="channels_first", use_bias=False)
    layer.build(x.shape)
    layer.set_weights([w.transpose(2, 3, 1, 0)])
    y, _ = changed(ops.conv2d, "same_padding_of_keras").forward(x, w, stride=stride, padding=padding)
    theirs = layer(torch.tensor(x, dtype=torch.float32))
    same(y, theirs, rtol=1e-4, atol=1e-5)
    same_sides, _ = ops.conv2d.forward(x, w, stride=stride, padding=padding)
    assert np.abs(same_sides - y).max() > 0.1


def test_keras_counts_the_pixels_of_the_image_alone(rng, keras):
    x = rng.normal(size=(2, 3, 4, 5))
    layer = keras.layers.AveragePooling2D(3, 1, padding="same", data_format="channels_first", dtype="float64")
    y, _ = changed(ops.average_pool2d, "padding_not_counted").forward(x, kernel=3, stride=1, padding=1)
    same(y, layer(torch.tensor(x)))


def ties(rng):
    x = rng.integers(0, 2, size=(2, 3, 4, 6)) * 1.0
    x[0, 0] = 0
    return x


def test_pooling_in_torch_gives_the_gradient_to_the_first(rng, agree):
    agree(changed(ops.max_pool2d, "ties_first"), (ties(rng),), {"kernel": 2, "ties": "even"},
          lambda x: F.max_pool2d(x, 2))
    agree(changed(ops.global_max_pool2d, "ties_first"), (ties(rng),), {"ties": "even"},
          lambda x: F.adaptive_max_pool2d(x, 1)[..., 0, 0])


def test_amax_shares_it(rng, agree):
    def windows(x):
        return x.unfold(2, 2, 2).unfold(3, 2, 2).amax((-2, -1))

    agree(changed(ops.max_pool2d, "ties_even"), (ties(rng),), {"kernel": 2}, windows)
    agree(changed(ops.global_max_pool2d, "ties_even"), (ties(rng),), {}, lambda x: x.amax((2, 3)))


# --- tables and losses

@pytest.mark.parametrize(("name", "options"), [("averaged_by_frequency", {"scale_grad_by_freq": True}),
                                               ("row_of_padding", {"padding_idx": 0})])
def test_options_of_an_embedding_in_torch(rng, agree, name, options):
    ids = np.array([[0, 5, 3], [3, 0, 3]])
    agree(changed(ops.embedding, name), (rng.normal(size=(6, 4)),), {"ids": ids},
          lambda w: F.embedding(torch.tensor(ids), w, **options))


def test_keras_clips_probabilities(rng, keras):
    x, labels = 20 * rng.normal(size=(4, 3)), np.array([0, 2, 1, 0])
    p = torch.softmax(torch.tensor(x), 1)
    loss = keras.losses.SparseCategoricalCrossentropy(dtype="float64")(torch.tensor(labels), p)
    y, _ = changed(ops.cross_entropy, "clipped").forward(x, labels=labels)
    same(y, loss, rtol=1e-6)
    assert abs(y - ops.cross_entropy.forward(x, labels=labels)[0]) > 0.1


# --- recurrent steps

def keras_gru(keras, args, reset_after, order):
    """Keras's step with these weights as its own, block for block in this order; in float32 on its torch backend."""
    x, h, wx, wh, bx, bh = args
    cell = keras.layers.GRUCell(h.shape[1], reset_after=reset_after, dtype="float64")
    cell.build(x.shape)
    bias = np.stack([bx[order], bh[order]]) if reset_after else bx[order]
    cell.set_weights([wx[order].T, wh[order].T, bias])
    return cell(torch.tensor(x), [torch.tensor(h)])[0]


def test_keras_has_the_blocks_of_a_gru_in_another_order(rng, keras):
    args, _ = ops.gru_cell.example(rng)
    y, _ = changed(ops.gru_cell, "blocks_z_r_n").forward(*args)
    same(y, keras_gru(keras, args, True, np.arange(15)), rtol=1e-4, atol=1e-5)


def test_keras_can_reset_before_the_product(rng, keras):
    args, _ = ops.gru_cell.example(rng)
    args = *args[:5], 0 * args[5]                               # it has one bias then
    y, _ = changed(ops.gru_cell, "reset_before").forward(*args)
    same(y, keras_gru(keras, args, False, np.r_[5:10, 0:5, 10:15]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "order"), [("blocks_i_f_o_g", "ifog"), ("blocks_i_o_f_g", "iofg"),
                                             ("blocks_i_g_f_o", "igfo")])
def test_orders_of_the_blocks_of_an_lstm_are_what_their_names_say(rng, name, order):
    (x, h, c, *weights), _ = ops.lstm_cell.example(rng)
    ifgo = [np.concatenate([np.split(w, 4)[order.index(gate)] for gate in "ifgo"]) for w in weights]
    theirs = torch.lstm_cell(torch.tensor(x), tuple(map(torch.tensor, (h, c))), *map(torch.tensor, ifgo))
    for one, two in zip(changed(ops.lstm_cell, name).forward(x, h, c, *weights)[0], theirs):
        same(one, two)
