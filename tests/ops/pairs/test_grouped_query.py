"""What is true of grouped queries in particular."""

import numpy as np
import pytest

from visattn import gradcheck
from visattn.check import definitions
from visattn.ops import attention, grouped_query


def case(rng, Gq=6, G=3, N=2, T=4, S=5, D=7, E=8):
    return rng.normal(size=(N, Gq, T, D)), rng.normal(size=(N, G, S, D)), rng.normal(size=(N, G, S, E))


def test_neighbours_share_a_key_head_by_hand():
    """Four query heads, two key heads of one key each: heads 0 and 1 find its value 5, heads 2 and 3 find 7.
    (Dealt out in turns, 0, 1, 0, 1, they would find 5, 7, 5, 7.)"""
    q, k = np.ones((1, 4, 1, 1)), np.ones((1, 2, 1, 1))
    v = np.array([5.0, 7.0]).reshape(1, 2, 1, 1)
    o, cache = grouped_query.forward(q, k, v)
    np.testing.assert_array_equal(o.ravel(), [5, 5, 7, 7])
    dq, dk, dv = grouped_query.backward(np.array([1.0, 2, 3, 4]).reshape(1, 4, 1, 1), cache)
    np.testing.assert_array_equal(dv.ravel(), [1 + 2, 3 + 4])
    assert not dq.any()
    assert not dk.any()


@pytest.mark.parametrize("G", [1, 2, 3, 6])
def test_every_head_is_attention_to_the_keys_of_its_group(rng, G):
    q, k, v = case(rng, G=G)
    o, cache = grouped_query.forward(q, k, v)
    assert cache.p.shape == (2, 6, 4, 5)
    for h in range(6):
        g = h * G // 6
        one, inner = attention.forward(q[:, h], k[:, g], v[:, g])
        np.testing.assert_allclose(o[:, h], one, rtol=1e-12)
        np.testing.assert_allclose(cache.p[:, h], inner.p, rtol=1e-12)


def test_as_many_key_heads_as_query_heads_is_plain_attention(rng):
    q, k, v = case(rng, G=6)
    (o, cache), (o2, cache2) = grouped_query.forward(q, k, v), attention.forward(q, k, v)
    np.testing.assert_array_equal(o, o2)
    for one, two in zip(grouped_query.backward(o, cache), attention.backward(o, cache2)):
        np.testing.assert_array_equal(one, two)


def test_query_heads_of_a_group_may_change_places_and_those_of_two_groups_may_not(rng):
    q, k, v = case(rng)
    o, _ = grouped_query.forward(q, k, v)
    for order, same in (([1, 0, 2, 3, 4, 5], True), ([2, 1, 0, 3, 4, 5], False)):
        o2, _ = grouped_query.forward(q[:, order], k, v)
        assert np.allclose(o2, o[:, order], rtol=1e-12, atol=1e-14) == same


@pytest.mark.parametrize("G", [1, 2, 6])
@pytest.mark.parametrize("options", [
    {}, {"causal": "top_left"}, {"causal": "bottom_right", "scale": 0.3}, {"mask": (1, 6, 4, 5)},
    {"mask": (2, 1, 1, 5)}, {"mask": (1, 6, 1, 5), "causal": "bottom_right"}], ids=str)
def test_agrees_with_its_definition_and_obeys_the_laws(rng, G, options):
    args, options = case(rng, G=G), dict(options)
    if "mask" in options:
        options["mask"] = rng.random(options["mask"]) < 0.6
    o, _ = grouped_query.forward(*args, **options)
    np.testing.assert_allclose(o, definitions.grouped_query.forward(*args, **options), rtol=1e-11, atol=1e-13)
    gradcheck.check(grouped_query, args, options, rng)


def test_a_key_hidden_from_one_head_is_still_seen_by_the_others_of_its_group(rng):
    args = case(rng)
    mask = np.ones((1, 6, 1, 5), bool)
    mask[0, 3, 0, 2] = False
    o, cache = grouped_query.forward(*args, mask=mask)
    np.testing.assert_array_equal(cache.p[:, 3, :, 2], 0)
    assert (cache.p[:, 2, :, 2] > 0).all()
    free, _ = grouped_query.forward(*args)
    np.testing.assert_allclose(o[:, [0, 1, 2, 4, 5]], free[:, [0, 1, 2, 4, 5]], rtol=1e-13)


def test_heads_without_keys_pass_nothing_to_the_group(rng):
    q, k, v = case(rng)
    mask = np.ones((1, 6, 1, 1), bool)
    mask[0, 2:4] = False                                        # all of group 1
    q[:, 2:4], k[:, 1], v[:, 1] = np.nan, np.nan, np.nan
    o, cache = grouped_query.forward(q, k, v, mask=mask)
    grads = grouped_query.backward(np.ones_like(o), cache)
    assert not o[:, 2:4].any()
    assert not grads[0][:, 2:4].any()
    assert not grads[1][:, 1].any()
    assert not grads[2][:, 1].any()
    assert all(np.isfinite(g).all() for g in (o, *grads))


@pytest.mark.parametrize(("G", "Gq"), [(4, 6), (6, 3)])
def test_key_heads_must_divide_query_heads(rng, G, Gq):
    with pytest.raises(ValueError, match=f"forward: q must have a multiple of the {G} heads of k; got {Gq}"):
        grouped_query.forward(*case(rng, Gq=Gq, G=G))


def test_nothing_at_all(rng):
    for sizes in ({"N": 0}, {"T": 0}, {"S": 0}):
        args = case(rng, **sizes)
        o, cache = grouped_query.forward(*args)
        grads = grouped_query.backward(o, cache)
        assert not o.any()
        assert [g.shape for g in grads] == [a.shape for a in args]
        assert not any(g.any() for g in grads)
