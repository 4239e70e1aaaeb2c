"""Attention with its map in memory: all rungs, all options."""

import numpy as np
import parity
import pytest

from visattn import gpu, ops
from visattn.check.twins import cast


def arrays(rng, batch, T, S, D, E, bias=None):
    shapes = [(*batch, T, D), (*batch, S, D), (*batch, S, E), *([] if bias is None else [bias])]
    return tuple(rng.normal(size=shape) for shape in shapes)


def beyond_a_tile(rng):
    return arrays(rng, (2,), 67, 131, 19, 65, bias=(67, 131)), {"mask": rng.random((67, 131)) < 0.7}


def one_query_one_key(rng):
    return arrays(rng, (), 1, 1, 1, 1), {}


def one_query(rng):
    return arrays(rng, (3, 2), 1, 70, 5, 3, bias=(2, 1, 70)), {"causal": "bottom_right"}


def one_key(rng):
    return arrays(rng, (2,), 37, 1, 17, 2, bias=(2, 37, 1)), {"mask": rng.random((37, 1)) < 0.5}


def a_mask_for_all(rng):
    return arrays(rng, (2, 1, 3), 5, 6, 4, 7), {"mask": rng.random((1, 6)) < 0.7, "scale": 0.3}


def a_mask_of_queries(rng):
    return arrays(rng, (2, 3), 5, 6, 4, 7, bias=(2, 1, 5, 1)), {"mask": rng.random((3, 5, 1)) < 0.7}


def causal_with_more_queries(rng):
    return arrays(rng, (2,), 9, 4, 3, 5), {"causal": "bottom_right"}        # the first five see no key


def causal_with_more_keys(rng):
    return arrays(rng, (2,), 9, 14, 3, 5, bias=(1, 1, 1)), {"causal": "top_left", "scale": -1.5}


def a_soft_cap(rng):
    return arrays(rng, (2,), 6, 35, 8, 5), {"softcap": 0.5, "scale": 2.0}


def a_soft_cap_a_bias_and_a_mask(rng):
    return arrays(rng, (2, 2), 6, 35, 8, 5, bias=(2, 1, 1, 35)), {"softcap": 1.5, "mask": rng.random((6, 35)) < 0.6}


def a_bias_that_hides(rng):
    q, k, v, bias = arrays(rng, (2,), 7, 8, 3, 4, bias=(7, 8))
    bias[rng.random(bias.shape) < 0.4] = -np.inf
    bias[3] = -np.inf
    return (q, k, v, bias), {}


def no_batch(rng):
    return arrays(rng, (0,), 3, 4, 2, 2, bias=(3, 4)), {}


def no_query(rng):
    return arrays(rng, (2,), 0, 4, 2, 3), {}


def no_key(rng):
    return arrays(rng, (2,), 3, 0, 2, 3, bias=(3, 1)), {"softcap": 1.0}


def views(rng):
    q, k, v = arrays(rng, (2, 3), 5, 6, 4, 7)
    turned = [np.ascontiguousarray(x.swapaxes(0, 1)).swapaxes(0, 1) for x in (q, k, v)]
    return tuple(turned), {"mask": (rng.random((6, 5)) < 0.7).T}


invalid = pytest.mark.filterwarnings("ignore:invalid value")      # NumPy's opinion of 0 · inf
CASES = (beyond_a_tile, one_query_one_key, one_query, one_key, a_mask_for_all, a_mask_of_queries, no_batch, no_query,
         causal_with_more_queries, causal_with_more_keys, a_soft_cap, a_soft_cap_a_bias_and_a_mask, a_bias_that_hides,
         no_key, views)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("version", [2, 3])
def test_agrees(case, version, rng):
    parity.agree("attention", *case(rng), version=version, turn=5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("version", [2, 3])
def test_agrees_in_half_precision(version, dtype, rng):
    for case in (beyond_a_tile, one_query, a_soft_cap_a_bias_and_a_mask, a_bias_that_hides):
        parity.agree("attention", *case(rng), version=version, dtype=dtype)


@pytest.mark.parametrize("S", [1025, 8193])
def test_rows_for_a_block_and_rows_too_long_for_one(S, rng):
    mask = rng.random((1, S)) < 0.7
    parity.agree("attention", arrays(rng, (2,), 3, S, 2, 3), {"mask": mask, "softcap": 2.0}, version=3, turn=1)


def poisoned(rng, T, S):
    """Two keys that one half of the queries may not see hold NaN and infinity; the others may not see them either."""
    (q, k, v, bias), mask = arrays(rng, (2,), T, S, 5, 6, bias=(T, S)), rng.random((T, S)) < 0.7
    mask[:, [1, S - 2]] = False
    mask[T // 2] = False                                            # and a query without a key, which is NaN itself
    args = q.copy(), k.copy(), v.copy(), bias
    for x, at in ((args[1], 1), (args[2], 1), (args[1], S - 2), (args[2], S - 2), (args[0], T // 2)):
        x[:, at] = np.inf if at == 1 else np.nan
    return args, (q, k, v, bias), {"mask": mask}


@invalid
@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(("T", "S"), [(9, 12), (67, 70)])
def test_what_is_masked_leaks_nowhere(version, T, S, rng):
    args, clean, options = poisoned(rng, T, S)
    parity.agree("attention", args, options, version=version)
    do = rng.normal(size=(2, T, 6)).astype(np.float32)
    do[:, T // 2] = np.nan
    with gpu.use("host"):
        for softcap in (None, 2.0):
            found = []
            for its in (args, clean):
                y, cache = gpu.attention.forward(*cast(its, "float32"), **options, softcap=softcap,
                                                 version=version)
                found.append((y, *gpu.attention.backward(do, cache, version=version)))
            assert (found[0][0][:, T // 2] == 0).all()
            for name, a, b in zip(("y", "dq", "dk", "dv", "dbias"), *found):
                np.testing.assert_array_equal(a, b, err_msg=name)


@invalid
@pytest.mark.parametrize("version", [2, 3])
def test_breaks_no_rule_where_something_is_masked_and_nan(version, rng):
    """The tiles then look at the mask, pair by pair, and beyond its edges there is nothing to look at."""
    args, _, options = poisoned(rng, 67, 70)
    parity.agree("attention", args, options, version=version, checked=True)


@invalid
@pytest.mark.parametrize("version", [2, 3])
def test_nan_goes_through_where_it_is_allowed(version, rng):
    q, k, v, bias = (x.astype(np.float32) for x in arrays(rng, (2,), 5, 35, 3, 4, bias=(5, 35)))
    mask = rng.random((5, 35)) < 0.7
    mask[:, 2], mask[:, 3] = [True, False, True, True, False], [False, True, True, False, False]
    k[0, 2], v[1, 3], do = np.nan, np.inf, rng.normal(size=(2, 5, 4)).astype(np.float32)
    y, cache = ops.attention.forward(q, k, v, bias, mask=mask)
    grads = ops.attention.backward(do, cache)
    with gpu.use("host"):
        mine, kept = gpu.attention.forward(q, k, v, bias, mask=mask, version=version)
        for a, b in zip((mine, kept.p, *gpu.attention.backward(do, kept, version=version)), (y, cache.p, *grads)):
            np.testing.assert_array_equal(np.isfinite(a), np.isfinite(b))


@pytest.mark.parametrize("version", [2, 3])
def test_the_cache_is_the_references(version, rng):
    """What forward leaves, the reference's backward takes: the same mask, the same fields."""
    args, options = a_soft_cap_a_bias_and_a_mask(rng)
    args, do = cast(args, "float32"), rng.normal(size=(2, 2, 6, 5)).astype(np.float32)
    _, cache = ops.attention.forward(*args, **options)
    with gpu.use("host"):
        _, kept = gpu.attention.forward(*args, **options, version=version)
        grads = gpu.attention.backward(do, cache, version=version)
    np.testing.assert_array_equal(kept.mask, cache.mask)
    assert kept.scale == cache.scale
    for a, b in zip(grads, ops.attention.backward(do, kept)):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("case", [one_query_one_key, a_mask_of_queries, a_soft_cap_a_bias_and_a_mask,
                                  causal_with_more_queries, a_bias_that_hides, no_key, views])
def test_version_1_in_the_simulator(case, rng):
    parity.agree("attention", *case(rng), version=1, place="simulator")


@invalid
def test_version_1_lets_nothing_leak(rng):
    args, _, options = poisoned(rng, 4, 5)
    parity.agree("attention", args, options, version=1, place="simulator")
