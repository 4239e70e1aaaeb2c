"""What is true of attention in particular: the rules of its numbers."""

import numpy as np
import pytest
from strict import get, put

from visattn import gradcheck
from visattn.check import definitions
from visattn.ops import attention

BAD = [np.nan, np.inf, -np.inf]


def case(rng, lead=(2, 3), T=4, S=5, D=6, E=7):
    return tuple(rng.normal(size=(*lead, *shape)) for shape in ((T, D), (S, D), (S, E)))


def run(*args, do=None, **options):
    """(o, *gradients) for an upstream gradient that is the same in every call."""
    o, cache = attention.forward(*args, **options)
    return o, *attention.backward(np.cos(np.arange(o.size)).reshape(o.shape) if do is None else do, cache)


# Values

def test_two_keys_by_hand():
    """Scores ln 3 and 0 weigh the values 4 and 8 with 3/4 and 1/4: o = 5.  With do = 1: dv = p, dp = v,
    da = p (dp - 5) = ±3/4, dq = Σ da k, dk = da q."""
    q, k, v = np.array([[1.0]]), np.array([[np.log(3)], [0.0]]), np.array([[4.0], [8.0]])
    o, cache = attention.forward(q, k, v)
    np.testing.assert_allclose(cache.p, [[0.75, 0.25]], rtol=1e-15)
    np.testing.assert_allclose(o, [[5.0]], rtol=1e-15)
    dq, dk, dv = attention.backward(np.ones((1, 1)), cache)
    np.testing.assert_allclose(dv, [[0.75], [0.25]], rtol=1e-15)
    np.testing.assert_allclose(dk, [[-0.75], [0.75]], rtol=1e-14)
    np.testing.assert_allclose(dq, [[-0.75 * np.log(3)]], rtol=1e-14)


def test_scores_are_divided_by_the_root_of_their_features():
    """Four features, q·k = 2 ln 3: the score is ln 3."""
    q, k = np.ones((1, 4)), np.array([[np.log(3) / 2] * 4, [0.0] * 4])
    np.testing.assert_allclose(attention.forward(q, k, np.eye(2))[0], [[0.75, 0.25]], rtol=1e-15)


def test_a_scale_replaces_the_root(rng):
    q, k, v = case(rng)
    for one, two in zip(run(q, k, v, scale=6**-0.5), run(q, k, v)):
        np.testing.assert_array_equal(one, two)
    one, two = attention.forward(q, k, v, scale=0.5)[1].p, attention.forward(0.5 * q, k, v, scale=1)[1].p
    np.testing.assert_allclose(one, two, rtol=1e-14)
    np.testing.assert_allclose(attention.forward(q, k, v, scale=0)[0], v.mean(-2, keepdims=True) + 0 * q[..., :1],
                               rtol=1e-14)


def test_scale_then_cap_then_bias():
    """q·k = 8 and 0, scaled by 1/4 to 2 and 0, capped at 2 to 2 tanh 1 and 0, then ln 3 is added to the second:
    any other order gives other weights."""
    q, k, bias = np.array([[8.0]]), np.array([[1.0], [0.0]]), np.array([[0.0, np.log(3)]])
    o, cache = attention.forward(q, k, np.eye(2), bias, scale=0.25, softcap=2.0)
    one = np.exp(2 * np.tanh(1.0))
    np.testing.assert_allclose(o, [[one / (one + 3), 3 / (one + 3)]], rtol=1e-14)
    np.testing.assert_allclose(cache.u, [[np.tanh(1.0), 0]], rtol=1e-15)


def test_a_cap_comes_before_the_mask():
    """Capped afterwards, the -∞ of a masked score would become -c, and a masked key would leak."""
    q, k = np.array([[1.0]]), np.array([[1.0], [2.0]])
    _, cache = attention.forward(q, k, np.eye(2), mask=np.array([[True, False]]), softcap=0.1)
    np.testing.assert_array_equal(cache.p, [[1.0, 0.0]])
    _, cache = attention.forward(q, k, np.eye(2), np.array([[0.0, -np.inf]]), softcap=0.1)
    np.testing.assert_array_equal(cache.p, [[1.0, 0.0]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_huge_scores_choose_and_do_not_overflow(dtype):
    q, v = np.array([[1.0], [-1.0]], dtype), np.array([[1.0], [2.0], [3.0]], dtype)
    k = np.array([[1e30], [0.0], [-1e30]], dtype)
    o, cache = attention.forward(q, k, v)
    np.testing.assert_array_equal(o, [[1.0], [3.0]])
    for g in attention.backward(np.ones_like(o), cache):
        assert np.isfinite(g).all()


def test_a_masked_key_cannot_win_by_its_score():
    """-∞ is a mask; any large negative number is a leak for scores that are larger still."""
    q, k = np.array([[1.0]]), np.array([[-1e9], [1e9]])
    o, _ = attention.forward(q, k, np.array([[1.0], [2.0]]), mask=np.array([[True, False]]))
    np.testing.assert_array_equal(o, [[1.0]])


# Laws

def test_rows_of_the_map_sum_to_one(rng):
    _, cache = attention.forward(*case(rng))
    assert cache.p.shape == (2, 3, 4, 5)
    np.testing.assert_allclose(cache.p.sum(-1), 1, rtol=1e-14)
    assert np.abs(cache.p.sum(-2) - 1).max() > 0.1


def test_keys_may_be_reordered_together_with_their_values(rng):
    q, k, v = case(rng)
    order = [3, 0, 4, 2, 1]
    o, dq, dk, dv = run(q, k, v)
    o2, dq2, dk2, dv2 = run(q, k[..., order, :], v[..., order, :])
    for two, one in ((o2, o), (dq2, dq), (dk2, dk[..., order, :]), (dv2, dv[..., order, :])):
        np.testing.assert_allclose(two, one, rtol=1e-12, atol=1e-14)


def test_queries_do_not_see_each_other(rng):
    q, k, v = case(rng)
    o, dq, *_ = run(q, k, v, do=np.ones((2, 3, 4, 7)))
    o2, dq2, *_ = run(q[..., ::-1, :], k, v, do=np.ones((2, 3, 4, 7)))
    np.testing.assert_allclose(o2[..., ::-1, :], o, rtol=1e-12)
    np.testing.assert_allclose(dq2[..., ::-1, :], dq, rtol=1e-12, atol=1e-14)


def test_what_all_scores_of_a_query_share_changes_nothing(rng):
    q, k, v = case(rng)
    shift = 10 * rng.normal(size=(2, 3, 4, 1))
    for one, two in zip(run(q, k, v), run(q, k, v, shift)):
        np.testing.assert_allclose(two, one, rtol=1e-11, atol=1e-13)
    *_, dbias = run(q, k, v, shift)
    np.testing.assert_allclose(dbias, 0, atol=1e-14)
    away = k + rng.normal(size=(2, 3, 1, 6))                    # every key moved alike: q·shift for every score
    np.testing.assert_allclose(run(q, away, v)[0], run(q, k, v)[0], rtol=1e-11, atol=1e-13)


def test_leading_axes_are_a_loop(rng):
    q, k, v = case(rng)
    bias, mask = rng.normal(size=(3, 4, 5)), rng.random((2, 1, 4, 5)) < 0.7
    whole = run(q, k, v, bias, mask=mask, do=np.ones((2, 3, 4, 7)))
    dbias = np.zeros_like(bias)
    for n in range(2):
        for g in range(3):
            *one, db = run(q[n, g], k[n, g], v[n, g], bias[g], mask=mask[n, 0], do=np.ones((4, 7)))
            for part, all_of_it in zip(one, whole):
                np.testing.assert_allclose(all_of_it[n, g], part, rtol=1e-12, atol=1e-14)
            dbias[g] += db
    np.testing.assert_allclose(whole[-1], dbias, rtol=1e-12, atol=1e-14)


def test_one_key_is_the_answer_and_nothing_moves_it(rng):
    q, k, v = case(rng, S=1)
    o, dq, dk, dv = run(q, k, v, do=np.ones((2, 3, 4, 7)))
    np.testing.assert_array_equal(o, v.repeat(4, -2))
    assert not dq.any()
    assert not dk.any()
    np.testing.assert_array_equal(dv, 4)


VARIANTS = [
    {},
    {"bias": (4, 5)},
    {"bias": (2, 1, 4, 5)},
    {"bias": (3, 1, 5), "hidden": True},
    {"bias": (1, 3, 4, 5), "hidden": True, "softcap": 1.5},
    {"mask": (4, 5)},
    {"mask": (2, 1, 1, 5), "causal": "top_left"},
    {"mask": (3, 4, 1), "bias": (4, 5), "hidden": True, "causal": "bottom_right"},
    {"causal": "top_left", "softcap": 0.7, "scale": 1.3},
    {"causal": "bottom_right", "scale": -0.4},
    {"softcap": 2, "scale": 1},
]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize(("T", "S"), [(4, 5), (5, 4)])
def test_agrees_with_its_definition_and_obeys_the_laws(rng, variant, T, S):
    def sized(shape):
        return tuple({4: T, 5: S}.get(n, n) for n in shape)

    options = {name: value for name, value in variant.items() if name in ("causal", "scale", "softcap")}
    args = case(rng, T=T, S=S)
    if "mask" in variant:
        options["mask"] = rng.random(sized(variant["mask"])) < 0.6
    o, _ = attention.forward(*args, **options)
    np.testing.assert_allclose(o, definitions.attention.forward(*args, **options), rtol=1e-11, atol=1e-13)
    gradcheck.check(attention, args, options, rng)
    if "bias" in variant:
        bias = rng.normal(size=sized(variant["bias"]))
        if variant.get("hidden"):
            bias[rng.random(bias.shape) < 0.4] = -np.inf
        o, _ = attention.forward(*args, bias, **options)
        np.testing.assert_allclose(o, definitions.attention.forward(*args, bias, **options), rtol=1e-11, atol=1e-13)
        gradcheck.check(attention, (*args, bias), options, rng)


@pytest.mark.parametrize("shape", [(4, 5), (1, 5), (4, 1), (1, 1), (3, 4, 5), (1, 4, 5), (2, 3, 4, 5), (2, 1, 1, 5)])
def test_the_gradient_of_a_bias_is_summed_where_it_was_repeated(rng, shape):
    q, k, v = case(rng)
    bias = rng.normal(size=shape)
    *_, whole = run(q, k, v, np.broadcast_to(bias, (2, 3, 4, 5)))
    *_, dbias = run(q, k, v, bias)
    whole = whole.reshape(2, 3, 4, 5)
    lead = (1,) * (4 - len(shape)) + shape
    for axis in range(4):
        if lead[axis] == 1:
            whole = whole.sum(axis, keepdims=True)
    np.testing.assert_allclose(dbias, whole.reshape(shape), rtol=1e-12, atol=1e-14)


# Masks

def test_a_mask_that_allows_all_is_none(rng):
    args = case(rng)
    for one, two in zip(run(*args), run(*args, mask=np.ones((4, 5), bool))):
        np.testing.assert_allclose(two, one, rtol=1e-13, atol=1e-15)


def test_a_mask_means_the_same_as_a_bias_of_minus_infinity(rng):
    args, mask = case(rng), rng.random((4, 5)) < 0.6
    for one, two in zip(run(*args, mask=mask), run(*args, np.where(mask, 0, -np.inf))):
        np.testing.assert_allclose(two, one, rtol=1e-13, atol=1e-15)


def test_masking_keys_is_leaving_them_out(rng):
    q, k, v = case(rng)
    mask, kept = np.array([[True, False, True, False, True]]), [0, 2, 4]
    o, dq, dk, dv = run(q, k, v, mask=mask)
    o2, dq2, dk2, dv2 = run(q, k[..., kept, :], v[..., kept, :])
    for one, two in ((o, o2), (dq, dq2), (dk[..., kept, :], dk2), (dv[..., kept, :], dv2)):
        np.testing.assert_allclose(one, two, rtol=1e-12, atol=1e-14)
    assert not dk[..., [1, 3], :].any()
    assert not dv[..., [1, 3], :].any()


@pytest.mark.parametrize(("align", "T", "S", "expected"), [
    ("top_left", 2, 4, [[1, 0, 0, 0], [1, 1, 0, 0]]),
    ("bottom_right", 2, 4, [[1, 1, 1, 0], [1, 1, 1, 1]]),
    ("top_left", 4, 2, [[1, 0], [1, 1], [1, 1], [1, 1]]),
    ("bottom_right", 4, 2, [[0, 0], [0, 0], [1, 0], [1, 1]]),
    ("top_left", 3, 3, [[1, 0, 0], [1, 1, 0], [1, 1, 1]]),
    ("bottom_right", 3, 3, [[1, 0, 0], [1, 1, 0], [1, 1, 1]]),
])
def test_causal_masks_say_which_corner_they_hang_from(rng, align, T, S, expected):
    args = case(rng, T=T, S=S)
    o, cache = attention.forward(*args, causal=align)
    np.testing.assert_array_equal(cache.p > 0, np.broadcast_to(expected, cache.p.shape))
    np.testing.assert_array_equal(o, attention.forward(*args, mask=np.array(expected, bool))[0])


def test_the_newest_query_of_a_stream_sees_all_keys_only_from_the_bottom_right(rng):
    args = case(rng, T=1)
    np.testing.assert_allclose(run(*args, causal="bottom_right")[0], run(*args)[0], rtol=1e-13)
    np.testing.assert_allclose(run(*args, causal="top_left")[0], args[2][..., :1, :], rtol=1e-13)


def test_all_ways_to_hide_a_key_add_up(rng):
    q, k, v = case(rng, T=3, S=3)
    mask = np.array([[1, 1, 1], [0, 1, 1], [1, 1, 1]], bool)
    bias = np.array([[0, 0, 0], [0, 0, 0], [0, -np.inf, 0]])
    _, cache = attention.forward(q, k, v, bias, mask=mask, causal="top_left")
    np.testing.assert_array_equal((cache.p > 0)[0, 0], [[1, 0, 0], [0, 1, 0], [1, 0, 1]])


HIDE = {                                                        # ways to leave queries 0 and 1 of 5 without a key
    "mask": lambda: ((), {"mask": np.arange(5)[:, None] >= np.array([2, 2, 2])}),
    "bias": lambda: ((np.where(np.arange(5)[:, None] >= np.array([2, 2, 2]), 0.0, -np.inf),), {}),
    "causal": lambda: ((), {"causal": "bottom_right"}),
    "mask and bias": lambda: ((np.array([[0, -np.inf, 0.0]] * 5),),
                              {"mask": np.array([[False, True, False]] * 2 + [[True] * 3] * 3)}),
}


@pytest.mark.parametrize("how", HIDE)
@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("bad", [0.0, *BAD])
def test_a_query_without_keys_gives_zeros_and_passes_exactly_nothing(rng, how, softcap, bad):
    """Whatever it holds itself, and whatever gradient comes to it; the other queries do not notice."""
    q, k, v = case(rng, T=5, S=3)
    bias, options = HIDE[how]()
    do = rng.normal(size=(2, 3, 5, 7))
    seeing = [slice(None), slice(None), slice(2, 5)]
    alone = run(q[:, :, 2:], k, v, *(b[2:] for b in bias), do=do[:, :, 2:], softcap=softcap,
                **{name: o[2:] if name == "mask" else o for name, o in options.items()})
    q[:, :, :2], do[:, :, :2] = q[:, :, :2] + bad, do[:, :, :2] + bad
    with np.errstate(invalid="ignore"):
        o, dq, dk, dv, *dbias = run(q, k, v, *bias, do=do, softcap=softcap, **options)
    for g in (o, dq):
        assert not g[:, :, :2].any()
        assert not np.isnan(g).any()
    for one, two in zip((o[tuple(seeing)], dq[tuple(seeing)], dk, dv), alone):
        np.testing.assert_allclose(one, two, rtol=1e-12, atol=1e-14)
    for db in dbias:
        assert not db[:2].any()
        np.testing.assert_allclose(db[2:], alone[4], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("where", ["k", "v", "both"])
@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("how", ["mask", "bias"])
def test_padding_keys_may_hold_anything(rng, bad, where, softcap, how):
    q, k, v = case(rng)
    bias = np.where([True, True, False, True, False], rng.normal(size=(4, 5)), -np.inf)
    args, options = ((), {"mask": bias > -np.inf}) if how == "mask" else ((bias,), {})
    clean = run(q, k, v, *args, softcap=softcap, **options)
    k, v = k.copy(), v.copy()
    for name, array in (("k", k), ("v", v)):
        if where in (name, "both"):
            array[..., [2, 4], :] = bad
    with np.errstate(invalid="ignore"):
        spoiled = run(q, k, v, *args, softcap=softcap, **options)
    for one, two in zip(clean, spoiled):
        np.testing.assert_allclose(two, one, rtol=1e-12, atol=1e-14)
    assert not spoiled[2][..., [2, 4], :].any()
    assert not spoiled[3][..., [2, 4], :].any()


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("where", ["k", "v"])
@pytest.mark.parametrize("softcap", [None, 2.0])
def test_a_key_that_is_not_a_number_reaches_only_the_queries_that_may_see_it(rng, bad, where, softcap):
    """Key 4 is hidden from queries 0 and 1, which alone may see key 0."""
    q, k, v = case(rng)
    mask = np.ones((4, 5), bool)
    mask[:2, 4] = mask[2:, 0] = False
    bias, seen = rng.normal(size=(2, 3, 4, 5)), slice(0, 2)
    clean = run(q, k, v, bias, mask=mask, softcap=softcap)
    spoilt = {"k": k.copy(), "v": v.copy()}
    spoilt[where][..., 4, :] = bad
    with np.errstate(invalid="ignore"):
        o, dq, dk, dv, dbias = run(q, spoilt["k"], spoilt["v"], bias, mask=mask, softcap=softcap)
    for one, two in zip((o, dq, dbias), (clean[0], clean[1], clean[4])):
        np.testing.assert_allclose(one[..., seen, :], two[..., seen, :], rtol=1e-12, atol=1e-14)
    for one, two in ((dk, clean[2]), (dv, clean[3])):           # key 0 hears of no query that saw the bad key
        np.testing.assert_allclose(one[..., 0, :], two[..., 0, :], rtol=1e-12, atol=1e-14)
    if where == "v" or np.isnan(bad):
        assert not np.isfinite(o[..., 2:, :]).any()             # and those that may see it do not hide it


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("where", ["q", "do"])
def test_a_query_that_is_not_a_number_reaches_only_the_keys_that_it_may_see(rng, bad, where):
    q, k, v = case(rng)
    mask = np.ones((4, 5), bool)
    mask[1, [0, 3]] = False
    do = rng.normal(size=(2, 3, 4, 7))
    clean = run(q, k, v, do=do, mask=mask)
    spoilt = {"q": q.copy(), "do": do.copy()}
    spoilt[where][..., 1, :] = bad
    with np.errstate(invalid="ignore"):
        o, dq, dk, dv = run(spoilt["q"], k, v, do=spoilt["do"], mask=mask)
    others = [0, 2, 3]
    for one, two in ((o, clean[0]), (dq, clean[1])):
        np.testing.assert_allclose(one[..., others, :], two[..., others, :], rtol=1e-12, atol=1e-14)
    without = run(q[..., others, :], k, v, do=do[..., others, :], mask=mask[others])
    for g, alone in ((dk, without[2]), (dv, without[3])):
        np.testing.assert_allclose(g[..., [0, 3], :], alone[..., [0, 3], :], rtol=1e-12, atol=1e-14)


def test_a_sample_that_is_masked_whole_poisons_no_other(rng):
    q, k, v = case(rng)
    bias = rng.normal(size=(4, 5))
    mask = np.ones((2, 1, 4, 5), bool)
    mask[1] = False
    alone = run(q[:1], k[:1], v[:1], bias, do=np.ones((1, 3, 4, 7)))
    q[1], k[1], v[1] = np.nan, np.inf, -np.inf
    with np.errstate(invalid="ignore"):
        o, dq, dk, dv, dbias = run(q, k, v, bias, mask=mask, do=np.ones((2, 3, 4, 7)))
    for g, one in zip((o, dq, dk, dv), alone):
        assert not g[1].any()
        np.testing.assert_allclose(g[:1], one, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(dbias, alone[4], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("bad", BAD)
def test_a_value_that_is_not_finite_is_the_same_with_and_without_a_mask(rng, bad):
    q, k, v = case(rng)
    v[0, 1, 2, 3] = bad
    with np.errstate(invalid="ignore"):
        for one, two in zip(run(q, k, v), run(q, k, v, mask=np.ones((4, 5), bool))):
            np.testing.assert_allclose(two, one, rtol=1e-12, atol=1e-14)


def test_minus_infinity_among_the_scores_is_no_mask():
    """A mask is decided on mask and bias: a row of scores that all came out as -∞ is NaN, not empty."""
    q, k, v = np.array([[1.0]]), np.array([[-np.inf], [-np.inf]]), np.array([[1.0], [2.0]])
    with np.errstate(invalid="ignore"):
        assert np.isnan(attention.forward(q, k, v)[0]).all()
        assert np.isnan(attention.forward(q, k, v, mask=np.ones((1, 2), bool))[0]).all()


def test_selecting_runs_on_the_strict_double_too(rng):
    q, k, v = case(rng)
    mask = rng.random((4, 5)) < 0.6
    v[..., 2, :] = np.nan
    o, *grads = run(q, k, v, mask=mask)
    o2, cache = attention.forward(*put((q, k, v)), mask=put(mask), causal=None)
    grads2 = attention.backward(put(np.cos(np.arange(o.size)).reshape(o.shape)), cache)
    for one, two in zip((o, *grads), get((o2, *grads2))):
        np.testing.assert_allclose(two, one, rtol=1e-12, atol=1e-14)


# Nothing at all

@pytest.mark.parametrize("options", [{}, {"causal": "bottom_right"}, {"softcap": 1.0}, {"mask": np.ones((1, 1), bool)}])
def test_no_keys_give_zeros_and_no_queries_give_nothing(rng, options):
    bias = rng.normal(size=(1, 1))
    for args in (case(rng, S=0), (*case(rng, S=0), bias)):
        o, dq, *rest = run(*args, **options)
        assert o.shape == (2, 3, 4, 7)
        assert dq.shape == (2, 3, 4, 6)
        assert not o.any()
        assert not any(g.any() for g in (dq, *rest))
    for args in (case(rng, T=0), (*case(rng, T=0), bias), case(rng, T=0, S=0), case(rng, lead=(0, 3))):
        o, *grads = run(*args, **options)
        assert o.shape == (*args[0].shape[:-1], 7)
        assert [g.shape for g in grads] == [a.shape for a in args]
        assert not any(g.any() for g in grads)


# The door

@pytest.mark.parametrize(("options", "words"), [
    ({"scale": np.nan}, "scale must be finite; got nan"),
    ({"softcap": 0}, "softcap must be above 0 and finite; got 0"),
    ({"softcap": -1.0}, "softcap must be above 0"),
    ({"causal": True}, "causal must be 'top_left' or 'bottom_right' or None"),
    ({"mask": np.ones((5, 4), bool)}, r"mask must be a boolean array .*got shape \(5, 4\)"),
    ({"mask": np.ones(5, bool)}, r"mask must be a boolean array .*got shape \(5,\)"),
])
def test_the_door_names_what_is_wrong(rng, options, words):
    with pytest.raises((TypeError, ValueError), match=f"attention.forward: {words}"):
        attention.forward(*case(rng), **options)


def test_a_mask_is_boolean(rng):
    """Of ones and zeros, an additive mask would be read the wrong way round, or be no mask at all."""
    with pytest.raises(TypeError, match="mask must be a boolean array"):
        attention.forward(*case(rng), mask=np.ones((4, 5)))
