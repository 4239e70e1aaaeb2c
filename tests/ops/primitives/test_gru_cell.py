"""What is true of the GRU step in particular."""

import math

import numpy as np
import pytest

from visattn import gradcheck
from visattn.check.definitions.primitives import gru_cell as definition
from visattn.ops import gru_cell

OPEN, SHUT = 1000.0, -1000.0


def test_by_hand():
    """One unit: r = ¾, z = ¼, u_n = 2 · 1 + 2 = 4, n = tanh(½ + ¾ · 4)."""
    one = np.ones((1, 1))
    h, cache = gru_cell.forward(one, 2 * one, np.array([[math.log(3)], [0.0], [0.5]]), np.array([[0.0], [0.0], [1.0]]),
                                np.zeros(3), np.array([0, -math.log(3), 2]))
    np.testing.assert_allclose([cache.r, cache.z], [[[3 / 4]], [[1 / 4]]], rtol=1e-15)
    np.testing.assert_allclose(h, [[0.75 * math.tanh(3.5) + 0.5]], rtol=1e-15)


def gated(rng, r, z):
    """The example with its reset and update gates held where r and z say."""
    (x, h, wx, wh, bx, bh), _ = gru_cell.example(rng)
    E = h.shape[1]
    wx, wh, bx, bh = wx.copy(), wh.copy(), bx.copy(), 0 * bh
    wx[:2 * E] = wh[:2 * E] = 0
    bx[:2 * E] = [r] * E + [z] * E
    return x, h, wx, wh, bx, bh


def test_an_open_update_gate_keeps_the_state(rng):
    args = gated(rng, 0.0, OPEN)
    y, cache = gru_cell.forward(*args)
    np.testing.assert_array_equal(y, args[1])
    dx, dh, *dp = gru_cell.backward(np.ones_like(y), cache)
    np.testing.assert_array_equal(dh, 1)                # so gradients cross many steps unharmed
    assert not dx.any()
    assert not any(g.any() for g in dp)


def test_a_shut_reset_gate_hides_the_state_from_the_candidate(rng):
    x, h, *p = gated(rng, SHUT, SHUT)
    y, cache = gru_cell.forward(x, h, *p)
    np.testing.assert_array_equal(gru_cell.forward(x, 5 * h, *p)[0], y)
    assert not gru_cell.backward(np.ones_like(y), cache)[1].any()


def test_reset_comes_after_the_product_and_silences_the_bias_too(rng):
    """Resetting h first, as in the paper, would leave b_h in the candidate."""
    x, h, wx, wh, bx, bh = gated(rng, SHUT, SHUT)
    bh[-5:] = 7
    np.testing.assert_array_equal(gru_cell.forward(x, h, wx, wh, bx, bh)[0],
                                  gru_cell.forward(x, h, wx, wh, bx, 0 * bh)[0])


def test_the_new_state_lies_between_the_old_one_and_the_candidate(rng):
    args, _ = gru_cell.example(rng)
    y, cache = gru_cell.forward(*args)
    low, high = np.minimum(args[1], cache.n), np.maximum(args[1], cache.n)
    assert ((low <= y) & (y <= high)).all()


def test_examples_do_not_see_each_other(rng):
    (x, h, *p), _ = gru_cell.example(rng)
    np.testing.assert_allclose(gru_cell.forward(x[1:], h[1:], *p)[0], gru_cell.forward(x, h, *p)[0][1:], rtol=1e-13)


@pytest.mark.parametrize(("N", "D", "E"), [(1, 1, 1), (3, 5, 2), (2, 2, 7)])
def test_every_size(rng, N, D, E):
    args = [rng.normal(size=s) for s in [(N, D), (N, E), (3 * E, D), (3 * E, E), (3 * E,), (3 * E,)]]
    np.testing.assert_allclose(gru_cell.forward(*args)[0], definition.forward(*args), rtol=1e-11, atol=1e-14)
    gradcheck.check(gru_cell, args, rng=rng)


def test_no_examples_no_gradient(rng):
    (x, h, *p), _ = gru_cell.example(rng)
    y, cache = gru_cell.forward(x[:0], h[:0], *p)
    grads = gru_cell.backward(y, cache)
    assert [g.shape for g in grads] == [(0, 3), (0, 5), *(a.shape for a in p)]
    assert not any(g.any() for g in grads)
