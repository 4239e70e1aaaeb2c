"""Merge: partial answers joined."""

import numpy as np
import parity
import pytest

from visattn import gpu, ops
from visattn.check.twins import cast

SIZES = [((2,), 3, 5, 7), ((), 1, 1, 1), ((2, 3), 33, 9, 35), ((1,), 70, 3, 130), ((0,), 2, 3, 4), ((2,), 2, 0, 3)]


def arrays(rng, batch, K, T, E):
    return rng.normal(size=(*batch, K, T, E)), 3 * rng.normal(size=(*batch, K, T))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("turn", [0, 1, 6])
def test_agrees(size, turn, rng):
    parity.agree("merge", arrays(rng, *size), version=2, turn=turn)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_agrees_in_half_precision(dtype, rng):
    for size in SIZES:
        parity.agree("merge", arrays(rng, *size), version=2, dtype=dtype)


def test_breaks_no_rule(rng):
    parity.agree("merge", arrays(rng, (2,), 33, 5, 35), version=2, checked=True)


def without_keys(rng):
    """Parts without a key, whose answer is anything, and a query that no part has a key for."""
    o, lse = arrays(rng, (2,), 4, 5, 6)
    lse[0, 1] = lse[1, 2, 3] = -np.inf
    lse[:, :, 2] = -np.inf
    o[np.isneginf(lse)] = np.nan
    return o, lse


def test_parts_without_a_key(rng):
    parity.agree("merge", without_keys(rng), version=2)
    o, lse = cast(without_keys(rng), "float32")
    dj, dlse = rng.normal(size=(2, 5, 6)).astype(np.float32), rng.normal(size=(2, 5)).astype(np.float32)
    dj[:, 2] = dlse[:, 2] = np.nan
    with gpu.use("host"):
        (joined, total), cache = gpu.merge.forward(o, lse)
        do, dlses = gpu.merge.backward((dj, dlse), cache)
    assert (joined[:, 2] == 0).all()
    assert np.isneginf(total[:, 2]).all()
    for g in (do, dlses):
        assert (g[np.isneginf(lse)] == 0).all()
        assert np.isfinite(g).all()


def test_large_scores_do_not_overflow(rng):
    o, lse = arrays(rng, (2,), 3, 4, 5)
    parity.agree("merge", (o, lse + 1000), version=2)


def test_nan_goes_through(rng):
    o, lse = (a.astype(np.float32) for a in arrays(rng, (), 3, 4, 5))
    o[1, 2, 3], lse[0, 1], lse[2, 3] = np.nan, np.nan, -np.inf
    with gpu.use("host"):
        mine = gpu.merge.forward(o, lse)
        dy = tuple(np.ones_like(a) for a in mine[0])
        grads = gpu.merge.backward(dy, mine[1])
    (joined, total), cache = ops.merge.forward(o, lse)
    for a, b in zip((*mine[0], *mine[1], *grads), (joined, total, *cache, *ops.merge.backward(dy, cache))):
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b))


def test_any_strides(rng):
    o, lse = (a.astype(np.float32) for a in arrays(rng, (2,), 3, 4, 5))
    with gpu.use("host"):
        expected, _ = gpu.merge.forward(o, lse)
        found, _ = gpu.merge.forward(*(np.asfortranarray(a) for a in (o, lse)))
    for a, b in zip(found, expected):
        np.testing.assert_array_equal(a, b)


@pytest.mark.filterwarnings("ignore:divide by zero")
def test_joins_attention_to_shares_of_the_keys(rng):
    q, k, v = (rng.normal(size=(2, n, 6)).astype(np.float32) for n in (7, 12, 12))
    mask = np.tril(np.ones((7, 12), bool))                          # the last share has no key for anyone
    shares = [slice(4), slice(4, 8), slice(8, 12)]
    parts = [ops.flash.forward(q, k[:, s], v[:, s], mask=mask[None, :, s])[0] for s in shares]
    with gpu.use("host"):
        (o, lse), _ = gpu.merge.forward(*(np.stack(a, axis=-a[0].ndim) for a in zip(*parts)))
    expected = ops.flash.forward(q, k, v, mask=mask[None])[0]
    np.testing.assert_allclose(o, expected[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(lse, expected[1], rtol=1e-5, atol=1e-6)
