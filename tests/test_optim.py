import math

import numpy as np
import pytest

from visattn import optim, tree

P = {"w": np.array([1.0, -2.0]), "b": (np.array(3.0),)}
G = {"w": np.array([0.5, 0.25]), "b": (np.array(-1.0),)}
STEPS = {
    "sgd": lambda p, g, s: optim.sgd(p, g, s, lr=0.1),
    "momentum": lambda p, g, s: optim.momentum(p, g, s, lr=0.1),
    "adam": lambda p, g, s: optim.adam(p, g, s, lr=0.1),
    "adamw": lambda p, g, s: optim.adamw(p, g, s, lr=0.1, decay=0.5),
}
each = pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)


def test_sgd_by_hand():
    p, _ = optim.sgd(P, G, lr=0.1)
    assert p["w"] == pytest.approx([0.95, -2.025])
    assert p["b"][0] == pytest.approx(3.1)


def test_momentum_by_hand():
    """One gradient g twice: the velocities are g and 1.9 g."""
    p, u = optim.momentum(P, G, lr=0.1)
    p, u = optim.momentum(p, G, u, lr=0.1)
    assert u["w"] == pytest.approx([0.95, 0.475])
    assert p["b"][0] == pytest.approx(3 + 0.1 * 2.9)


def test_first_adam_step_is_the_learning_rate_whatever_the_gradient():
    p, state = optim.adam(P, G, lr=0.1)
    assert p["w"] == pytest.approx([0.9, -2.1])
    assert p["b"][0] == pytest.approx(3.1)
    assert int(state.t) == 1


def test_adamw_decays_the_weights_and_not_the_moments():
    plain, one = optim.adam(P, G, lr=0.1)
    p, two = optim.adamw(P, G, lr=0.1, decay=0.5)
    assert p["w"] == pytest.approx(plain["w"] - 0.05 * P["w"])
    assert np.array_equal(one.m["w"], two.m["w"])
    assert np.array_equal(one.v["w"], two.v["w"])


@each
def test_nothing_given_is_written(step):
    p, g = (tree.freeze(tree.map(np.copy, t)) for t in (P, G))
    _, state = step(p, g, None)
    again, later = step(p, g, None if state is None else tree.freeze(tree.map(np.copy, state)))
    assert [a.shape for a in tree.leaves(again)] == [a.shape for a in tree.leaves(p)]
    assert (state is None) == (later is None)


@each
def test_keeps_float32(step):
    p, g = tree.cast(P, np.float32), tree.cast(G, np.float32)
    p, state = step(p, g, None)
    p, state = step(p, g, state)
    assert {a.dtype for a in tree.leaves((p, state))} <= {np.dtype("f4"), np.dtype("i8")}
    assert {a.dtype for a in tree.leaves(p)} == {np.dtype("f4")}


@each
def test_walks_down_a_bowl(step):
    p, state = {"w": np.array([1.0, -2.0])}, None
    for _ in range(300):
        p, state = step(p, {"w": p["w"] * np.array([1.0, 3.0])}, state)
    assert np.abs(p["w"]).max() < 0.1


def test_cosine_by_hand():
    rates = [optim.cosine(s, 10, peak=2.0, warmup=2) for s in range(10)]
    assert rates[:3] == [1.0, 2.0, 2.0]
    assert rates[6] == pytest.approx(1.0)                # half of the way from step 2 to step 10
    assert rates[9] == pytest.approx(1 + math.cos(math.pi * 7 / 8))
    assert rates[2:] == sorted(rates[2:], reverse=True)


def test_cosine_takes_any_length():
    assert optim.cosine(0, 1, peak=1.0) == 1.0
    assert optim.cosine(0, 1, peak=1.0, warmup=1) == 1.0


def test_clip_by_hand():
    """A 3-4-5 triangle across two arrays."""
    g, norm = optim.clip((np.array([3.0]), {"b": np.array([4.0])}), 1.0)
    assert norm == 5
    assert g[0] == pytest.approx([0.6])
    assert g[1]["b"] == pytest.approx([0.8])
    same, norm = optim.clip(g, 1.0 + 1e-12)
    assert same is g
    assert norm == pytest.approx(1)
