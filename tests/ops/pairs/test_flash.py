"""What is true of FlashAttention in particular: tiles change nothing, and cost no memory."""

import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from strict import get, put

from visattn import gradcheck
from visattn.check import bounds, cost, definitions
from visattn.ops import attention, flash, grouped_query

TILES = [None, (1, 1), (1, 3), (2, 2), (3, 1), (2, 5), (4, 2), (100, 100)]


def case(rng, Gq=4, G=2, T=5, S=6, D=3, E=2, lead=(2,)):
    return tuple(rng.normal(size=(*lead, *shape)) for shape in ((Gq, T, D), (G, S, D), (G, S, E)))


def run(*args, dy=None, **options):
    """[o, lse, *gradients] for upstream gradients that are the same in every call."""
    y, cache = flash.forward(*args, **options)
    dy = tuple(np.cos(np.arange(a.size)).reshape(a.shape) for a in y) if dy is None else dy
    return [*y, *flash.backward(dy, cache)]


def assert_same(ones, others, rtol=1e-11, atol=1e-13):
    assert len(ones) == len(others)
    for one, other in zip(ones, others):
        np.testing.assert_allclose(one, other, rtol=rtol, atol=atol)


# Values

def test_two_keys_by_hand():
    """Scores ln 3 and 0, values 4 and 8: the sum is 4, so lse = ln 4; the weights are 3/4 and 1/4, and o = 5.  With
    do = 1 and dlse = 2: dv = p, δ = 5 - 2 = 3, da = p (v - 3) = 3/4 and 5/4."""
    q, k, v = np.array([[[1.0]]]), np.array([[[np.log(3)], [0.0]]]), np.array([[[4.0], [8.0]]])
    for tile in (None, (1, 1)):
        o, lse, dq, dk, dv = run(q, k, v, dy=(np.ones((1, 1, 1)), 2 * np.ones((1, 1))), tile=tile)
        np.testing.assert_allclose(o.item(), 5, rtol=1e-15)
        np.testing.assert_allclose(lse.item(), np.log(4), rtol=1e-15)
        np.testing.assert_allclose(dv.ravel(), [0.75, 0.25], rtol=1e-15)
        np.testing.assert_allclose(dk.ravel(), [0.75, 1.25], rtol=1e-14)
        np.testing.assert_allclose(dq.item(), 0.75 * np.log(3), rtol=1e-14)


def test_the_gradient_of_lse_alone_is_the_attention_map(rng):
    """∂lse_t/∂a_ts = p_ts: with keys that are unit vectors and no scale, dq is the map itself."""
    q, v, k = rng.normal(size=(1, 3, 5)), rng.normal(size=(1, 5, 2)), np.eye(5)[None]
    _, cache = flash.forward(q, k, v, scale=1, tile=(2, 2))
    dq, _, dv = flash.backward((np.zeros((1, 3, 2)), np.ones((1, 3))), cache)
    np.testing.assert_allclose(dq, attention.forward(q, k, v, scale=1)[1].p, rtol=1e-13)
    assert not dv.any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("tile", [None, (1, 1), (2, 2)])
def test_huge_scores_choose_and_do_not_overflow(dtype, tile):
    """In rising and in falling order: the maximum grows from tile to tile, or was in the first."""
    q, v = np.array([[[1.0], [-1.0]]], dtype), np.array([[[1.0], [2.0], [3.0]]], dtype)
    k = np.array([[[1e30], [0.0], [-1e30]]], dtype)
    o, lse, *grads = run(q, k, v, tile=tile, dy=(np.ones((1, 2, 1), dtype), np.ones((1, 2), dtype)))
    np.testing.assert_array_equal(o, [[[1.0], [3.0]]])
    np.testing.assert_allclose(lse, [[1e30, 1e30]], rtol=1e-6)
    assert all(np.isfinite(g).all() for g in grads)


# Tiles

VARIANTS = [
    {},
    {"bias": (4, 5, 6)},
    {"bias": (1, 5, 6)},
    {"bias": (2, 1, 1, 6), "hidden": True},
    {"bias": (4, 5, 1), "causal": "bottom_right"},
    {"mask": (1, 5, 6)},
    {"mask": (2, 4, 5, 6), "bias": (2, 4, 5, 6), "hidden": True, "scale": -0.4},
    {"mask": (2, 1, 1, 6), "causal": "top_left"},
    {"causal": "top_left", "scale": 1.3},
    {"causal": "bottom_right"},
]


def variant_of(rng, variant, T, S, G=2):
    """(args, options): sizes 5 and 6 stand for T and S."""
    def sized(shape):
        return (*shape[:-2], *({5: T, 6: S}.get(n, n) for n in shape[-2:]))

    args, options = case(rng, G=G, T=T, S=S), {n: variant[n] for n in ("causal", "scale") if n in variant}
    if "mask" in variant:
        options["mask"] = rng.random(sized(variant["mask"])) < 0.6
    if "bias" in variant:
        bias = rng.normal(size=sized(variant["bias"]))
        if variant.get("hidden"):
            bias[rng.random(bias.shape) < 0.3] = -np.inf
        args = *args, bias
    return args, options


@pytest.mark.parametrize("tile", TILES, ids=str)
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize(("T", "S"), [(5, 6), (6, 5)])
def test_tiles_change_nothing_and_all_is_attention(rng, variant, T, S, tile):
    args, options = variant_of(rng, variant, T, S, G=4)
    o, lse, *_ = run(*args, **options, tile=tile)
    assert_same([o, lse], definitions.flash.forward(*args, **options))
    o2, cache = attention.forward(*args, **options)
    np.testing.assert_allclose(o, o2, rtol=1e-11, atol=1e-13)
    do = np.cos(np.arange(o.size)).reshape(o.shape)
    assert_same(run(*args, **options, tile=tile, dy=(do, np.zeros_like(lse)))[2:], attention.backward(do, cache))


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("G", [1, 2, 4])
def test_obeys_the_laws(rng, variant, G):
    """Of a query without a key, lse stays -∞: what moves is the rest."""
    args, options = variant_of(rng, variant, 5, 6, G=G)
    options["tile"] = (2, 4)

    def forward(*args, **options):
        (o, lse), cache = flash.forward(*args, **options)
        return (o, np.where(lse == -np.inf, 0, lse)), cache

    gradcheck.check(gradcheck.Pair(forward, flash.backward), args, options, rng)


@pytest.mark.parametrize("G", [1, 2, 3, 6])
@pytest.mark.parametrize("tile", [None, (2, 3)])
def test_heads_are_those_of_grouped_query_attention(rng, G, tile):
    args = case(rng, Gq=6, G=G)
    mask = rng.random((2, 6, 5, 6)) < 0.6
    o, cache = grouped_query.forward(*args, mask=mask)
    do = rng.normal(size=o.shape)
    o2, _, *grads = run(*args, mask=mask, tile=tile, dy=(do, np.zeros(o.shape[:-1])))
    np.testing.assert_allclose(o2, o, rtol=1e-11, atol=1e-13)
    assert_same(grads, grouped_query.backward(do, cache))


@pytest.mark.parametrize("lead", [(), (2, 3)])
def test_leading_axes_are_a_loop(rng, lead):
    args, bias = case(rng, lead=lead), rng.normal(size=(4, 1, 6))
    o, lse, *grads = run(*args, bias, tile=(2, 2), dy=(np.ones((*lead, 4, 5, 2)), np.ones((*lead, 4, 5))))
    dbias = np.zeros_like(bias)
    for b in np.ndindex(*lead):
        one = run(*(a[b] for a in args), bias, tile=(2, 2), dy=(np.ones((4, 5, 2)), np.ones((4, 5))))
        assert_same([a[b] for a in (o, lse, *grads[:3])], one[:5])
        dbias += one[5]
    np.testing.assert_allclose(grads[3], dbias, rtol=1e-11)


def test_above_the_diagonal_nothing_is_computed(rng):
    """Twelve blocks of queries: of the keys that come after, not one is looked at, NaN or not; half the work."""
    q, k, v = case(rng, 1, 1, 24, 24)
    whole = cost(flash, (q, k, v), {"tile": (2, 2)}).multiply_adds
    half = cost(flash, (q, k, v), {"tile": (2, 2), "causal": "top_left"}).multiply_adds
    assert whole == 2 * 24 * 24 * (3 + 2 + 1)
    assert half == whole * (12 * 13 / 2) / 12**2


# Masks

@pytest.mark.parametrize("tile", [None, (1, 1), (2, 2)])
def test_a_query_without_keys_is_zero_and_passes_nothing_whatever_is_there(rng, tile):
    q, k, v = case(rng)
    mask = np.ones((1, 5, 6), bool)
    mask[0, 2] = False
    q[..., 2, :] = np.nan
    do, dlse = rng.normal(size=(2, 4, 5, 2)), rng.normal(size=(2, 4, 5))
    do[..., 2, :], dlse[..., 2] = np.nan, np.inf
    o, lse, *grads = run(q, k, v, mask=mask, tile=tile, dy=(do, dlse))
    assert not o[..., 2, :].any()
    assert (lse[..., 2] == -np.inf).all()
    assert not grads[0][..., 2, :].any()
    kept = [0, 1, 3, 4]
    others = run(q[..., kept, :], k, v, tile=tile, dy=(do[..., kept, :], dlse[..., kept]))
    assert_same([o[..., kept, :], lse[..., kept], grads[0][..., kept, :], *grads[1:]], others)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("tile", [None, (1, 1), (2, 2)])
@pytest.mark.parametrize("by", ["mask", "bias", "causal"])
def test_what_a_masked_key_holds_reaches_nothing(rng, tile, by, bad):
    q, k, v = case(rng, T=4, S=5)
    open_ = np.ones((1, 4, 5), bool)
    open_[..., 4] = False
    open_[0, :2, 3] = by == "mask"
    options = {"mask": {"mask": open_}, "bias": {}, "causal": {"causal": "top_left"}}[by]
    bias = (np.where(open_, 0.5, -np.inf),) if by == "bias" else ()
    clean = run(q, k, v, *bias, tile=tile, **options)
    k[..., 4, :], v[..., 4, :] = bad, bad
    with np.errstate(invalid="ignore"):
        spoiled = run(q, k, v, *bias, tile=tile, **options)
    assert_same(spoiled, clean)


def test_a_mask_means_the_same_as_a_bias_of_minus_infinity(rng):
    args, mask = case(rng), rng.random((1, 5, 6)) < 0.5
    assert_same(run(*args, np.where(mask, 0, -np.inf), tile=(2, 2))[:5], run(*args, mask=mask, tile=(2, 2)))


# Nothing at all

@pytest.mark.parametrize("options", [{}, {"causal": "bottom_right"}, {"tile": (2, 2)}])
def test_no_keys_give_zeros_and_no_queries_give_nothing(rng, options):
    o, lse, *grads = run(*case(rng, S=0), **options)
    assert not o.any()
    assert (lse == -np.inf).all()
    assert not any(g.any() for g in grads)
    bias = rng.normal(size=(4, 1, 1))
    for args in (case(rng, T=0), (*case(rng, T=0), bias), case(rng, T=0, S=0), case(rng, lead=(0, 3))):
        o, lse, *grads = run(*args, **options)
        assert o.shape == (*args[0].shape[:-1], 2)
        assert lse.shape == args[0].shape[:-1]
        assert [g.shape for g in grads] == [a.shape for a in args]
        assert not any(g.any() for g in grads)


# What it runs on, and what it costs

def test_runs_on_the_strict_double_with_every_option(rng):
    variant = {"mask": (2, 1, 5, 6), "bias": (4, 1, 6), "hidden": True, "causal": "top_left"}
    args, options = variant_of(rng, variant, 5, 6)
    args[2][..., 3, :] = np.nan
    ours = run(*args, **options, tile=(2, 3))
    y, cache = flash.forward(*put(args), mask=put(options["mask"]), causal="top_left", tile=(2, 3))
    dy = tuple(np.cos(np.arange(a.size)).reshape(a.shape) for a in ours[:2])
    assert_same(ours, get([*y, *flash.backward(put(dy), cache)]))


@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
def test_its_error_bounds_are_near_those_of_attention(rng, precision):
    """The same lines on arrays that carry errors: tiles cost a few roundings, not orders of magnitude."""
    args, do = case(rng, 2, 2, 8, 8, 4, 4), rng.normal(size=(2, 2, 8, 4))
    theirs = bounds(attention, args, dy=do, precision=precision).parts()
    ours = bounds(flash, args, {"tile": (4, 4)}, (do, np.zeros((2, 2, 8))), precision).parts()
    for part in ("y", "dq", "dk", "dv"):
        assert np.isfinite(ours[part][0].error).all()
        assert ours[part][0].error.max() < 5 * theirs[part][0].error.max()
        assert theirs[part][0].error.max() < 5 * ours[part][0].error.max()


def test_it_multiplies_as_often_as_attention(rng):
    args = case(rng, 4, 4)
    pairs, added_up = 2 * 4 * 5 * 6, args[0].size + args[1].size                    # scale · …, added to dq and to dk
    assert cost(flash, args).multiply_adds == cost(attention, args).multiply_adds + pairs           # Σ_s p is one too
    assert cost(flash, args, backward=True).multiply_adds == pairs * (3 * 3 + 2 * 2) + added_up     # q kᵀ once more


def test_memory_grows_with_the_length_and_not_with_its_square(rng):
    def extra(op, T, dy, **options):
        """Bytes at the peak, beyond the arguments."""
        args = [a.astype(np.float32) for a in case(rng, 1, 1, T, T, 8, 8, lead=())]
        tracemalloc.start()
        y, cache = op.forward(*args, **options)
        op.backward(dy(y), cache)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    ours = [extra(flash, T, lambda y: y, tile=(64, 64)) for T in (512, 1024)]
    assert ours[1] < 2.2 * ours[0]
    assert 8 * ours[1] < extra(attention, 1024, lambda y: y)


def test_threads_change_no_bit():
    """Heads over two threads, in a process in which BLAS keeps to one: as on one thread, for shared key heads too."""
    code = """
import numpy as np
from visattn.ops import flash
rng = np.random.default_rng(0)
args = [rng.normal(size=(2, g, 130, 4)) for g in (6, 2, 2)]
def run(threads, *bias):
    flash.THREADS = threads
    y, cache = flash.forward(*args, *bias, tile=(64, 32))
    return *y, *flash.backward(y, cache)
with np.errstate(all="raise"):
    for bias in ((), (rng.normal(size=(1, 1, 130)),)):
        for one, two in zip(run(1, *bias), run(4, *bias), strict=True):
            assert np.array_equal(one, two)
args[0][0, 0, 0] = np.nan
with np.errstate(invalid="ignore"):
    assert np.isnan(run(2)[0]).any()
"""
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True,
                         env={**os.environ, "OPENBLAS_NUM_THREADS": "1"})
    assert run.returncode == 0, run.stderr


# The door

@pytest.mark.parametrize(("options", "words"), [
    ({"scale": np.nan}, "scale must be finite; got nan"),
    ({"tile": (0, 2)}, r"tile must have sides above 0; got \(0, 2\)"),
    ({"tile": 4}, "tile must be"),
    ({"causal": True}, "causal must be 'top_left' or 'bottom_right' or None"),
    ({"mask": np.ones((5, 6), bool)}, r"mask must be a boolean array .*got shape \(5, 6\)"),
    ({"mask": np.ones((3, 5, 6), bool)}, r"mask must be a boolean array .*axis Gq is 3, but 4 in q"),
])
def test_the_door_names_what_is_wrong(rng, options, words):
    with pytest.raises((TypeError, ValueError), match=f"flash.forward: {words}"):
        flash.forward(*case(rng), **options)


@pytest.mark.parametrize(("G", "Gq"), [(4, 6), (6, 3)])
def test_key_heads_must_divide_query_heads(rng, G, Gq):
    with pytest.raises(ValueError, match=f"forward: q must have a multiple of the {G} heads of k; got {Gq}"):
        flash.forward(*case(rng, Gq=Gq, G=G))
