"""What is true of the LSTM step in particular."""

import math

import numpy as np
import pytest

from visattn import gradcheck
from visattn.check.definitions.primitives import lstm_cell as definition
from visattn.ops import lstm_cell

OPEN, SHUT = 1000.0, -1000.0


def step(rng, N=2, D=3, E=4, **blocks):
    """An LSTM step whose gates are what their biases say: weights 0, `blocks` i, f, g, o."""
    x, h, c = rng.normal(size=(N, D)), rng.normal(size=(N, E)), rng.normal(size=(N, E))
    bx = np.concatenate([np.full(E, blocks.get(name, 0.0)) for name in "ifgo"])
    return x, h, c, np.zeros((4 * E, D)), np.zeros((4 * E, E)), bx, np.zeros(4 * E)


def test_by_hand():
    """One unit: z = (log 3, 0, ½, -log 3), so i = ¾, f = ½, o = ¼."""
    one, weights = np.ones((1, 1)), np.array([[math.log(3)], [0.0], [0.25], [0.0]])
    (h, c), cache = lstm_cell.forward(one, one, 4 * one, weights, np.zeros((4, 1)), np.array([0, 0, 0.25, 0]),
                                      np.array([0, 0, 0, -math.log(3)]))
    np.testing.assert_allclose([cache.i, cache.f, cache.o], [[[3 / 4]], [[1 / 2]], [[1 / 4]]], rtol=1e-15)
    np.testing.assert_allclose(c, [[2 + 0.75 * math.tanh(0.5)]], rtol=1e-15)
    np.testing.assert_allclose(h, [[math.tanh(2 + 0.75 * math.tanh(0.5)) / 4]], rtol=1e-15)


def test_an_open_forget_gate_and_a_shut_input_gate_keep_the_memory(rng):
    args = step(rng, i=SHUT, f=OPEN, o=OPEN)
    (h, c), cache = lstm_cell.forward(*args)
    np.testing.assert_array_equal(c, args[2])
    np.testing.assert_array_equal(h, np.tanh(c))
    _, _, dc, *_ = lstm_cell.backward((np.zeros((2, 4)), np.ones((2, 4))), cache)
    np.testing.assert_array_equal(dc, 1)                # so gradients cross many steps unharmed


def test_a_shut_forget_gate_forgets(rng):
    (_, c), cache = lstm_cell.forward(*step(rng, i=OPEN, f=SHUT, g=OPEN))
    np.testing.assert_array_equal(c, 1)
    assert not lstm_cell.backward((np.ones((2, 4)), np.ones((2, 4))), cache)[2].any()


def test_a_shut_output_gate_shows_nothing_and_keeps_everything(rng):
    args = step(rng, i=SHUT, f=OPEN, o=SHUT)
    (h, c), _ = lstm_cell.forward(*args)
    assert not h.any()
    np.testing.assert_array_equal(c, args[2])


def test_only_the_sum_of_the_biases_matters(rng):
    *args, bx, bh = lstm_cell.example(rng)[0]
    (h, c), cache = lstm_cell.forward(*args, bx, bh)
    (h2, c2), _ = lstm_cell.forward(*args, bx + bh, 0 * bh)
    np.testing.assert_allclose((h2, c2), (h, c), rtol=1e-12)
    *_, dbx, dbh = lstm_cell.backward((np.cos(h), np.sin(c)), cache)
    np.testing.assert_array_equal(dbx, dbh)


def test_examples_do_not_see_each_other(rng):
    (x, h, c, *p), _ = lstm_cell.example(rng)
    both, _ = lstm_cell.forward(x, h, c, *p)
    one, _ = lstm_cell.forward(x[1:], h[1:], c[1:], *p)
    np.testing.assert_allclose(np.array(both)[:, 1:], one, rtol=1e-13)


def test_shows_less_than_one(rng):
    (h, _), _ = lstm_cell.forward(*(10 * a for a in lstm_cell.example(rng)[0]))
    assert abs(h).max() <= 1


@pytest.mark.parametrize(("N", "D", "E"), [(1, 1, 1), (3, 5, 2), (2, 2, 7)])
def test_every_size(rng, N, D, E):
    args = [rng.normal(size=s) for s in [(N, D), (N, E), (N, E), (4 * E, D), (4 * E, E), (4 * E,), (4 * E,)]]
    np.testing.assert_allclose(lstm_cell.forward(*args)[0], definition.forward(*args), rtol=1e-11, atol=1e-14)
    gradcheck.check(lstm_cell, args, rng=rng)


def test_no_examples_no_gradient(rng):
    x, h, c, *p = step(rng, N=0)
    y, cache = lstm_cell.forward(x, h, c, *p)
    grads = lstm_cell.backward(y, cache)
    assert [g.shape for g in grads] == [a.shape for a in (x, h, c, *p)]
    assert not any(g.any() for g in grads)


def test_starts_by_remembering(rng):
    p = lstm_cell.init(rng, 3, 4)
    assert (p.bx + p.bh).tolist() == 4 * [0] + 4 * [1] + 8 * [0]
    assert [w.shape for w in p] == [(16, 3), (16, 4), (16,), (16,)]
    assert max(abs(p.wx).max(), abs(p.wh).max()) <= 0.5
