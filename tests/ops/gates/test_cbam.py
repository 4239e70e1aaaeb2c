import numpy as np
import pytest

from visattn import gradcheck
from visattn.check.definitions.gates import cbam as definition
from visattn.ops.gates import cbam, channel_gate, spatial_gate

LN3 = np.log(3)
TIES = ("first", "even")


def test_by_hand():
    """One pixel, channels (4, 1) → channel gates (¾, ¼) → (3, ¼): mean 13/8, maximum 3 → pixel gate ¾."""
    x = np.array([4.0, 1]).reshape(1, 2, 1, 1)
    w1, w2 = np.array([[1.0, -2]]), np.array([[LN3 / 4], [-LN3 / 4]])                # h = h′ = 2, b = ±ln 3
    w = np.array([0, LN3 / 3]).reshape(1, 2, 1, 1)
    y, cache = cbam.forward(x, w1, w2, w)
    np.testing.assert_allclose(cache.channel.s, [[3 / 4, 1 / 4]], rtol=1e-14)
    np.testing.assert_allclose(cache.spatial.s, [[[[3 / 4]]]], rtol=1e-14)
    np.testing.assert_allclose(y[0, :, 0, 0], [9 / 4, 3 / 16], rtol=1e-14)


def test_without_weights_both_gates_are_one_half(rng):
    (x, *weights), _ = cbam.example(rng)
    np.testing.assert_array_equal(cbam.forward(x, *(0 * w for w in weights))[0], x / 4)


def test_the_channels_come_first(rng):
    """What the pixels' gate reads is weighed by channel; the other way round it is another function."""
    (x, w1, w2, w), _ = cbam.example(rng)
    y, cache = cbam.forward(x, w1, w2, w)
    z, _ = channel_gate.forward(x, w1, w2)
    np.testing.assert_array_equal(cache.spatial.x, z)
    np.testing.assert_array_equal(y, spatial_gate.forward(z, w)[0])
    swapped, _ = channel_gate.forward(spatial_gate.forward(x, w)[0], w1, w2)
    assert np.abs(swapped - y).max() > 0.01


def test_gates_only_ever_weaken(rng):
    (x, *weights), _ = cbam.example(rng)
    y, _ = cbam.forward(x, *weights)
    assert (abs(y) < abs(x)).all()
    assert (y * x > 0).all()


def test_ties_reach_both_gates(rng):
    """After a ReLU, with one pixel and one channel closed."""
    (x, *weights), _ = cbam.example(rng)
    x = np.maximum(x, 0)
    x[0, 1], x[1, :, 2, 3] = 0, 0
    for ties in TIES:
        _, cache = cbam.forward(x, *weights, ties=ties)
        assert cache.channel.pool.wins[0, 1].sum() == {"first": 1, "even": 20}[ties]
        assert cache.spatial.wins[1, :, 2, 3].sum() == {"first": 1, "even": 6}[ties]


@pytest.mark.parametrize("ties", TIES)
def test_definition_and_laws_under_both_rules(rng, ties):
    args, _ = cbam.example(rng)
    np.testing.assert_allclose(cbam.forward(*args, ties=ties)[0], definition.forward(*args, ties=ties), rtol=1e-12)
    gradcheck.check(cbam, args, {"ties": ties}, rng)


def test_init_makes_the_weights_of_both(rng):
    assert [w.shape for w in cbam.init(rng, 32)] == [(2, 32), (32, 2), (1, 2, 7, 7)]
    assert [w.shape for w in cbam.init(rng, 6, r=2, kernel=3)] == [(3, 6), (6, 3), (1, 2, 3, 3)]


def test_refuses_a_kernel_without_a_middle(rng):
    (x, w1, w2, _), _ = cbam.example(rng)
    with pytest.raises(ValueError, match=r"cbam.forward: w must have an odd number of rows and columns"):
        cbam.forward(x, w1, w2, np.zeros((1, 2, 2, 3)))


@pytest.mark.parametrize("ties", TIES)
def test_empty_batch(rng, ties):
    (x, *weights), _ = cbam.example(rng)
    y, cache = cbam.forward(x[:0], *weights, ties=ties)
    dx, *rest = cbam.backward(y, cache)
    assert y.shape == dx.shape == (0, 6, 4, 5)
    assert not any(g.any() for g in rest)
