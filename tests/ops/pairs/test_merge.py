"""What is true of merging in particular: parts of the keys, joined, are all of the keys."""

from itertools import pairwise

import numpy as np
import pytest

from visattn import gradcheck, tree
from visattn.check import definitions
from visattn.ops import flash, merge


def case(rng, K=3, T=4, E=2, lead=(2,)):
    return rng.normal(size=(*lead, K, T, E)), rng.normal(size=(*lead, K, T))


def run(o, lse, dy=None):
    y, cache = merge.forward(o, lse)
    dy = tuple(np.cos(np.arange(a.size)).reshape(a.shape) for a in y) if dy is None else dy
    return [*y, *merge.backward(dy, cache)]


def assert_same(ones, others, rtol=1e-11, atol=1e-13):
    for one, other in zip(ones, others, strict=True):
        np.testing.assert_allclose(one, other, rtol=rtol, atol=atol)


def test_two_parts_by_hand():
    """Weights 3 and 1 of 4, answers 4 and 8: o = 5, lse = ln 4.  With do = 1 and dlse = 2: do_i = 3/4 and 1/4,
    dlse_i = w_i (o_i - 5 + 2) = 3/4 and 5/4."""
    parts = np.array([[[4.0]], [[8.0]]]), np.array([[np.log(3)], [0.0]])
    o, lse, do, dlse = run(*parts, (np.ones((1, 1)), 2 * np.ones(1)))
    np.testing.assert_allclose(o.item(), 5, rtol=1e-15)
    np.testing.assert_allclose(lse.item(), np.log(4), rtol=1e-15)
    np.testing.assert_allclose(do.ravel(), [0.75, 0.25], rtol=1e-15)
    np.testing.assert_allclose(dlse.ravel(), [0.75, 1.25], rtol=1e-14)


@pytest.mark.parametrize("shares", [[6], [3, 3], [1, 5], [2, 2, 2], [1, 1, 1, 1, 1, 1], [0, 4, 2]], ids=str)
@pytest.mark.parametrize("masked", [False, True])
def test_flash_of_shares_of_the_keys_merged_is_flash_of_all(rng, shares, masked):
    """Forward and backward, by hand through both; with queries that have no key in a share, or in any."""
    q, k, v = rng.normal(size=(2, 4, 5, 3)), rng.normal(size=(2, 2, 6, 3)), rng.normal(size=(2, 2, 6, 2))
    mask = rng.random((2, 4, 5, 6)) < (0.4 if masked else 2)
    mask[:, :, 1] = not masked
    cuts = np.cumsum([0, *shares])
    parts = [flash.forward(q, k[..., a:b, :], v[..., a:b, :], mask=mask[..., a:b], tile=(2, 2))
             for a, b in pairwise(cuts)]
    (o, lse), joined = merge.forward(*(np.stack([y[i] for y, _ in parts], axis) for i, axis in ((0, -3), (1, -2))))
    whole, cache = flash.forward(q, k, v, mask=mask)
    assert_same((o, lse), whole)

    dy = rng.normal(size=o.shape), rng.normal(size=lse.shape)
    do, dlse = merge.backward(dy, joined)
    grads = [flash.backward((do[..., i, :, :], dlse[..., i, :]), kept) for i, (_, kept) in enumerate(parts)]
    dq, dk, dv = zip(*grads)
    assert_same((sum(dq), np.concatenate(dk, -2), np.concatenate(dv, -2)), flash.backward(dy, cache))


def test_merging_merged_parts_is_merging_all(rng):
    o, lse = case(rng, K=4)
    halves = [merge.forward(o[:, i:i + 2], lse[:, i:i + 2])[0] for i in (0, 2)]
    twice, _ = merge.forward(np.stack([o for o, _ in halves], 1), np.stack([lse for _, lse in halves], 1))
    assert_same(twice, merge.forward(o, lse)[0])


def test_the_order_of_the_parts_is_of_no_account(rng):
    o, lse = case(rng)
    order = [2, 0, 1]
    ones, others = run(o, lse), run(o[:, order], lse[:, order])
    assert_same([*ones[:2], ones[2][:, order], ones[3][:, order]], others)


def test_one_part_is_the_answer(rng):
    o, lse = case(rng, K=1)
    do, dlse = np.ones((2, 4, 2)), np.ones((2, 4))
    assert_same(run(o, lse, (do, dlse)), [o[:, 0], lse[:, 0], do[:, None], dlse[:, None]], rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_and_small_do_not_overflow(rng, dtype):
    o, lse = (a.astype(dtype) for a in case(rng))
    for shift in (1e4, -1e4):
        y = merge.forward(o, (lse + dtype(shift)).astype(dtype))[0]
        np.testing.assert_allclose(y[1], merge.forward(o, lse)[0][1] + shift, rtol=1e-5)
        np.testing.assert_allclose(y[0], merge.forward(o, lse)[0][0], atol=1e-2)


def test_a_part_without_keys_weighs_nothing_whatever_it_holds(rng):
    o, lse = case(rng)
    clean = run(np.delete(o, 1, 1), np.delete(lse, 1, 1))
    lse[:, 1], o[:, 1] = -np.inf, np.nan
    y, total, do, dlse = run(o, lse)
    assert_same([y, total, np.delete(do, 1, 1), np.delete(dlse, 1, 1)], clean)
    assert not do[:, 1].any()
    assert not dlse[:, 1].any()


def test_a_query_without_keys_gives_zero_and_passes_zero(rng):
    o, lse = case(rng)
    lse[:, :, 2] = -np.inf
    dy = rng.normal(size=(2, 4, 2)), rng.normal(size=(2, 4))
    dy[0][:, 2], dy[1][:, 2] = np.nan, np.nan
    y, total, do, dlse = run(o, lse, dy)
    assert_same((y, total), definitions.merge.forward(o, lse))
    assert not y[:, 2].any()
    assert (total[:, 2] == -np.inf).all()
    assert not do[:, :, 2].any()
    assert not dlse[:, :, 2].any()
    assert all(np.isfinite(g).all() for g in (do, dlse))


def test_obeys_the_laws_beside_parts_without_keys(rng):
    o, lse = case(rng, lead=(2, 3))
    lse[rng.random(lse.shape) < 0.3] = -np.inf

    def forward(o, lse):
        y, cache = merge.forward(o, lse)
        return tree.map(lambda a: np.where(np.isneginf(a), 0, a), y), cache

    gradcheck.check(gradcheck.Pair(forward, merge.backward), (o, lse), {}, rng)


def test_one_that_is_not_a_number_makes_its_query_none(rng):
    o, lse = case(rng)
    lse[0, 1, 2] = np.nan
    with np.errstate(invalid="ignore"):
        y, total = merge.forward(o, lse)[0]
    assert np.isnan(y[0, 2]).all()
    assert np.isnan(total[0, 2])
    assert np.isfinite(np.delete(y, 2, 1)).all()
