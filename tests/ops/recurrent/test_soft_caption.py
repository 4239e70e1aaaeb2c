"""What is true of one look of Show, Attend and Tell in particular."""

import math

import numpy as np
import pytest

from visattn import gradcheck
from visattn.check.definitions.recurrent import soft_caption as definition
from visattn.ops import additive, soft_caption


def example(rng, gates=1):
    a, h, *p = soft_caption.example(rng)[0]
    return a, h, *p[:4], rng.normal(size=(gates, 4)), rng.normal(size=gates)


def test_by_hand():
    """One feature, two places: energies 0 and log 3, so α = ¼, ¾; gate σ(log 4) = ⅘ of the mean 7."""
    one, x = np.ones((1, 1)), math.atanh(0.5) / 2
    a, h = np.array([[[-x], [x]]]), np.array([[x]])
    z, cache = soft_caption.forward(a, h, one, one, np.array([math.log(9)]), np.zeros(1), 0 * one,
                                    np.array([math.log(4)]))
    np.testing.assert_allclose(cache.alpha, [[0.25, 0.75]], rtol=1e-15)
    np.testing.assert_allclose(cache.beta, [[0.8]], rtol=1e-15)
    np.testing.assert_allclose(z, [[0.8 * x / 2]], rtol=1e-15)


@pytest.mark.parametrize("gates", [1, 3])
def test_one_gate_and_a_gate_for_each_feature(rng, gates):
    args = example(rng, gates)
    np.testing.assert_allclose(soft_caption.forward(*args)[0], definition.forward(*args), rtol=1e-11, atol=1e-14)
    gradcheck.check(soft_caption, args, rng=rng)


def test_equal_gates_are_one_gate(rng):
    *args, wb, bb = example(rng)
    z, cache = soft_caption.forward(*args, wb, bb)
    each, each_cache = soft_caption.forward(*args, np.repeat(wb, 3, 0), np.repeat(bb, 3))
    np.testing.assert_allclose(each, z, rtol=1e-14)
    dwb, dbb = soft_caption.backward(np.cos(z), cache)[-2:]
    dwbs, dbbs = soft_caption.backward(np.cos(z), each_cache)[-2:]
    np.testing.assert_allclose(dwbs.sum(0, keepdims=True), dwb, rtol=1e-12)
    np.testing.assert_allclose(dbbs.sum(0, keepdims=True), dbb, rtol=1e-12)


def test_under_an_open_gate_it_is_additive_attention(rng):
    a, h, wa, wh, v, b, wb, bb = example(rng)
    z, cache = soft_caption.forward(a, h, wa, wh, v, b, 0 * wb, bb + 1000)
    o, look = additive.forward(h[:, None], a, a, wh, wa, v, b)
    np.testing.assert_array_equal(z, o[:, 0])
    np.testing.assert_array_equal(cache.alpha, look.p[:, 0])


def test_under_a_shut_gate_nothing_is_seen(rng):
    a, h, wa, wh, v, b, wb, bb = example(rng)
    z, cache = soft_caption.forward(a, h, wa, wh, v, b, 0 * wb, bb - 1000)
    assert not z.any()
    assert not any(g.any() for g in soft_caption.backward(np.ones_like(z), cache))


def test_the_weights_sum_to_one_over_the_places_and_lie_inside(rng):
    args = example(rng)
    _, cache = soft_caption.forward(*args)
    assert cache.alpha.shape == (2, 6)
    np.testing.assert_allclose(cache.alpha.sum(1), 1, rtol=1e-14)
    assert (args[0].min(1) <= cache.seen).all()
    assert (cache.seen <= args[0].max(1)).all()


def test_weights_follow_the_places(rng):
    a, h, *p = example(rng)
    z, cache = soft_caption.forward(a, h, *p)
    order = rng.permutation(6)
    moved, moved_cache = soft_caption.forward(a[:, order], h, *p)
    np.testing.assert_allclose(moved, z, rtol=1e-12)
    np.testing.assert_allclose(moved_cache.alpha, cache.alpha[:, order], rtol=1e-12)


def test_a_number_added_to_every_energy_is_not_seen(rng):
    """Doubling a unit that is saturated everywhere does that: so no bias follows v."""
    a, h, wa, wh, v, b, wb, bb = example(rng)
    b = b.copy()
    b[0] = 100.0
    z, _ = soft_caption.forward(a, h, wa, wh, v, b, wb, bb)
    v = v.copy()
    v[0] += 5
    np.testing.assert_allclose(soft_caption.forward(a, h, wa, wh, v, b, wb, bb)[0], z, rtol=1e-12)


def test_images_do_not_see_each_other(rng):
    a, h, *p = example(rng)
    np.testing.assert_allclose(soft_caption.forward(a[1:], h[1:], *p)[0], soft_caption.forward(a, h, *p)[0][1:],
                               rtol=1e-13)


def test_no_images_no_gradient(rng):
    a, h, *p = example(rng)
    z, cache = soft_caption.forward(a[:0], h[:0], *p)
    assert z.shape == (0, 3)
    grads = soft_caption.backward(z, cache)
    assert [g.shape for g in grads] == [(0, 6, 3), (0, 4), *(w.shape for w in p)]
    assert not any(g.any() for g in grads)


@pytest.mark.parametrize("gates", [1, 3])
def test_starts_with_half_open_gates(rng, gates):
    p = soft_caption.init(rng, 3, 4, 5, gates)
    _, cache = soft_caption.forward(rng.normal(size=(2, 6, 3)), np.zeros((2, 4)), *p)
    np.testing.assert_array_equal(cache.beta, np.full((2, gates), 0.5))


@pytest.mark.parametrize(("rows", "biases", "words"), [
    (2, 2, "wb must be .*axis D is 2"), (3, 1, "bb must have as many elements as wb has rows, 3; got 1"),
    (1, 3, "bb must have as many elements as wb has rows, 1; got 3")])
def test_refuses_a_number_of_gates_between(rng, rows, biases, words):
    with pytest.raises(ValueError, match=words):
        soft_caption.forward(*example(rng)[:6], np.zeros((rows, 4)), np.zeros(biases))
