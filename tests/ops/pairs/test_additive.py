"""What is true of additive attention in particular."""

import math

import numpy as np
import pytest

from visattn import gradcheck, tree
from visattn.check.definitions.pairs import additive as definition
from visattn.ops import additive


def without_mask(rng):
    """The example's arguments."""
    return additive.example(rng)[0]


def test_by_hand():
    """Energies va · tanh(q + k): k = -q gives 0, and k = q = artanh ½ / 2 gives log 9 · ½ = log 3: weights ¼ and ¾."""
    one, x = np.ones((1, 1)), math.atanh(0.5) / 2
    o, cache = additive.forward(np.array([[x]]), np.array([[-x], [x]]), np.array([[4.0, 0.0], [8.0, -4.0]]), one, one,
                                np.array([math.log(9)]))
    np.testing.assert_allclose(cache.p, [[0.25, 0.75]], rtol=1e-15)
    np.testing.assert_allclose(o, [[7, -3]], rtol=1e-15)


def test_the_order_of_keys_does_not_matter(rng):
    q, k, v, *p = without_mask(rng)
    o, _ = additive.forward(q, k, v, *p)
    turned, _ = additive.forward(q, k[:, ::-1], v[:, ::-1], *p)
    np.testing.assert_allclose(turned, o, rtol=1e-12)


def test_queries_do_not_see_each_other(rng):
    q, k, v, *p = without_mask(rng)
    o, _ = additive.forward(q, k, v, *p)
    np.testing.assert_allclose(additive.forward(q[:, 1:], k, v, *p)[0], o[:, 1:], rtol=1e-12)


def test_examples_do_not_see_each_other(rng):
    q, k, v, *p = without_mask(rng)
    o, _ = additive.forward(q, k, v, *p)
    np.testing.assert_allclose(additive.forward(q[1:], k[1:], v[1:], *p)[0], o[1:], rtol=1e-12)


def test_every_row_of_the_alignment_sums_to_one(rng):
    _, cache = additive.forward(*without_mask(rng))
    np.testing.assert_allclose(cache.p.sum(-1), 1, rtol=1e-14)


def test_no_vector_no_preference(rng):
    q, k, v, wa, ua, va, b = without_mask(rng)
    o, _ = additive.forward(q, k, v, wa, ua, 0 * va, b)
    np.testing.assert_allclose(o, np.broadcast_to(v.mean(1, keepdims=True), o.shape), rtol=1e-13)


def test_energies_are_bounded_by_the_vector(rng):
    """|e| ≤ Σ |va|, whatever the queries: no scale is needed, unlike for a dot product."""
    q, k, v, wa, ua, va, b = without_mask(rng)
    _, cache = additive.forward(1e6 * q, k, v, wa, ua, va, b)
    assert (np.log(cache.p.max(-1) / cache.p.min(-1)) <= 2 * abs(va).sum()).all()


def test_no_bias_is_a_bias_of_zero(rng):
    *args, b = without_mask(rng)
    o, cache = additive.forward(*args)
    biased, biased_cache = additive.forward(*args, 0 * b)
    np.testing.assert_array_equal(o, biased)
    assert len(additive.backward(o, cache)) == 6
    np.testing.assert_array_equal(additive.backward(o, cache)[0], additive.backward(o, biased_cache)[0])


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
@pytest.mark.parametrize("shape", [None, (4, 5), (1, 5), (4, 1)])
def test_every_option(rng, lead, biased, shape):
    T, S, D, C, M, E = 4, 5, 2, 3, 6, 7
    args = [rng.normal(size=s) for s in [(*lead, T, D), (*lead, S, C), (*lead, S, E), (M, D), (M, C), (M,)]]
    args += [rng.normal(size=M)] if biased else []
    options = {} if shape is None else {"mask": rng.random(shape) < 0.6}
    np.testing.assert_allclose(additive.forward(*args, **options)[0], definition.forward(*args, **options), rtol=1e-11,
                               atol=1e-13)
    gradcheck.check(additive, args, options, rng)


def test_masking_nothing_is_no_mask(rng):
    args = without_mask(rng)
    o, cache = additive.forward(*args)
    masked, masked_cache = additive.forward(*args, mask=np.ones((3, 4), bool))
    np.testing.assert_allclose(masked, o, rtol=1e-14)
    for a, b in zip(additive.backward(o, cache), additive.backward(o, masked_cache)):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


def test_masking_a_key_is_leaving_it_out(rng):
    q, k, v, *p = without_mask(rng)
    masked, _ = additive.forward(q, k, v, *p, mask=np.array([[True, False, True, True]]))
    keep = [0, 2, 3]
    np.testing.assert_allclose(masked, additive.forward(q, k[:, keep], v[:, keep], *p)[0], rtol=1e-13)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_a_query_with_no_key_gives_zeros_and_passes_exactly_zero_gradient(rng, value):
    """In one example, and nothing of the others moves: what masked queries, keys and values hold is not read."""
    args = without_mask(rng)
    mask = np.ones((2, 3, 4), bool)
    mask[0, 1] = False                                  # a query with no key,
    mask[1, :, 2] = False                               # a key with no query
    do = rng.normal(size=(2, 3, 8))
    o, cache = additive.forward(*args, mask=mask)
    grads = additive.backward(do, cache)
    spoiled = [a.copy() for a in args]
    spoiled[0][0, 1] = spoiled[1][1, 2] = spoiled[2][1, 2] = value
    bad_do = do.copy()
    bad_do[0, 1] = value
    with np.errstate(all="ignore"):                     # 0 · ∞ is computed, and not selected
        bad, bad_cache = additive.forward(*spoiled, mask=mask)
        bad_grads = additive.backward(bad_do, bad_cache)
    np.testing.assert_allclose(bad, o, rtol=1e-12, atol=1e-14)
    for g, clean in zip(bad_grads, grads):
        np.testing.assert_allclose(g, clean, rtol=1e-12, atol=1e-14)
    assert not bad[0, 1].any()
    assert not bad_grads[0][0, 1].any()
    assert not bad_grads[1][1, 2].any()
    assert not bad_grads[2][1, 2].any()


def test_a_key_that_is_not_a_number_reaches_only_the_queries_that_see_it(rng):
    q, k, v, *p = without_mask(rng)
    mask = np.ones((3, 4), bool)
    mask[0, 1] = False
    o, _ = additive.forward(q, k, v, *p, mask=mask)
    k = k.copy()
    k[:, 1] = np.nan
    bad, cache = additive.forward(q, k, v, *p, mask=mask)
    np.testing.assert_allclose(bad[:, 0], o[:, 0], rtol=1e-12)
    assert np.isnan(bad[:, 1:]).all()
    dq, *_ = additive.backward(np.ones_like(bad), cache)
    assert np.isfinite(dq[:, 0]).all()


@pytest.mark.parametrize(("N", "T", "S"), [(0, 3, 4), (2, 0, 4), (2, 3, 0)])
@pytest.mark.parametrize("masked", [True, False])
def test_nothing_to_ask_or_to_look_at(N, T, S, masked):
    q, k, v = np.ones((N, T, 5)), np.ones((N, S, 6)), np.ones((N, S, 8))
    p = additive.init(np.random.default_rng(0), 5, 6, 7)
    o, cache = additive.forward(q, k, v, *p[:3], mask=np.ones((T, S), bool) if masked else None)
    assert o.shape == (N, T, 8)
    assert not o.any()
    grads = additive.backward(np.ones_like(o), cache)
    assert [g.shape for g in grads] == [a.shape for a in (q, k, v, *p[:3])]
    assert not any(g.any() for g in grads)


def test_single_precision_stays(rng):
    args, options = additive.example(rng)
    o, cache = additive.forward(*tree.cast(args, np.float32), **options)
    assert {a.dtype for a in tree.leaves((o, cache._replace(mask=None)))} == {np.dtype(np.float32)}
