"""What is true of multi-head attention in particular."""

import numpy as np
import pytest

from visattn import gradcheck
from visattn.check import definitions
from visattn.ops import attention, linear, multihead


def case(rng, *, N=2, T=3, S=4, I=5, C=6, G=2, D=3, E=4, O=7, biases=True):
    """(args, {"heads": G}) of sizes that all differ."""
    p = multihead.init(rng, I, G, C=C, D=D, E=E, O=O)
    b = [rng.normal(size=u.shape) for u in p[4:]] if biases else []
    return (rng.normal(size=(N, T, I)), rng.normal(size=(N, S, C)), *p[:4], *b), {"heads": G}


def test_two_heads_by_hand():
    """Two heads of one feature each over two keys.  Head 0 scores ln 3 and 0, so it weighs them 3/4, 1/4; head 1
    scores 0 and 0, so it weighs them 1/2, 1/2."""
    x = np.array([[[1.0, 0.0]]])
    context = np.array([[[np.log(3.0), 5.0], [0.0, 7.0]]])
    eye = np.eye(2)
    w_o = np.array([[1.0, 10.0]])
    w_v = np.array([[0.0, 1.0], [0.0, 2.0]])                    # values: 5 and 7 for head 0; 10 and 14 for head 1
    y, cache = multihead.forward(x, context, eye, eye, w_v, w_o, heads=2)
    np.testing.assert_allclose(cache.p, [[[[0.75, 0.25]], [[0.5, 0.5]]]], rtol=1e-15)
    np.testing.assert_allclose(y, [[[5.5 + 10 * 12.0]]], rtol=1e-15)


def test_one_head_of_identities_is_attention(rng):
    x, context, eye = rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 5, 4)), np.eye(4)
    y, cache = multihead.forward(x, context, eye, eye, eye, eye, heads=1)
    o, inner = attention.forward(x, context, context)
    np.testing.assert_allclose(y, o, rtol=1e-12)
    np.testing.assert_allclose(cache.p[:, 0], inner.p, rtol=1e-12)


def test_heads_are_separate_attentions_side_by_side(rng):
    """Head by head through the rows of the weights that it owns, and its columns of w_o."""
    (x, c, w_q, w_k, w_v, w_o, b_q, b_v, b_o), options = case(rng, D=3, E=4)
    y, cache = multihead.forward(x, c, w_q, w_k, w_v, w_o, b_q, b_v, b_o, **options)
    total = b_o
    for g in range(2):
        d, e = slice(3 * g, 3 * g + 3), slice(4 * g, 4 * g + 4)
        h, inner = attention.forward(x @ w_q[d].T + b_q[d], c @ w_k[d].T, c @ w_v[e].T + b_v[e])
        np.testing.assert_allclose(cache.p[:, g], inner.p, rtol=1e-12)
        total = total + h @ w_o[:, e].T
    np.testing.assert_allclose(y, total, rtol=1e-12)


def test_the_scale_is_that_of_a_head_not_of_all_heads(rng):
    args, _ = case(rng, G=2, D=3)
    for heads in (1, 2):
        _, cache = multihead.forward(*args, heads=heads)
        assert cache.h.scale == pytest.approx((6 / heads) ** -0.5, rel=1e-15)


def test_p_is_the_attention_map_of_every_head(rng):
    args, options = case(rng)
    _, cache = multihead.forward(*args, **options)
    assert cache.p.shape == (2, 2, 3, 4)
    assert cache.p is cache.h.p
    np.testing.assert_allclose(cache.p.sum(-1), 1, rtol=1e-14)


@pytest.mark.parametrize("causal", [None, "top_left", "bottom_right"])
@pytest.mark.parametrize("masked", [None, (1, 1, 1, 4), (2, 1, 1, 4), (1, 2, 3, 4), (2, 2, 3, 1)])
@pytest.mark.parametrize("biases", [True, False])
def test_agrees_with_its_definition_and_obeys_the_laws(rng, biases, masked, causal):
    args, options = case(rng, biases=biases)
    options |= {"causal": causal, "mask": None if masked is None else rng.random(masked) < 0.6}
    y, _ = multihead.forward(*args, **options)
    np.testing.assert_allclose(y, definitions.multihead.forward(*args, **options), rtol=1e-11, atol=1e-13)
    gradcheck.check(multihead, args, options, rng)


def test_self_attention_gives_x_twice_and_adds_its_gradients(rng):
    def backward(dy, cache):
        dx, dcontext, *dp = multihead.backward(dy, cache)
        return dx + dcontext, multihead.Params(*dp)

    once = gradcheck.Pair(lambda x, p: multihead.forward(x, x, *p, heads=3), backward)
    gradcheck.check(once, (rng.normal(size=(2, 4, 6)), multihead.init(rng, 6, 3)))


def test_self_attention_of_a_permuted_sequence_is_permuted(rng):
    x = rng.normal(size=(2, 5, 6))
    params, order = multihead.init(rng, 6, 3), [3, 0, 4, 1, 2]
    y, _ = multihead.forward(x, x, *params, heads=3)
    permuted, _ = multihead.forward(x[:, order], x[:, order], *params, heads=3)
    np.testing.assert_allclose(permuted, y[:, order], rtol=1e-12, atol=1e-14)


def test_a_bias_on_the_keys_would_change_nothing(rng):
    """Why there is none: it adds one number to all scores of a query."""
    (x, c, w_q, w_k, w_v, w_o, b_q, b_v, b_o), options = case(rng)
    y, _ = multihead.forward(x, c, w_q, w_k, w_v, w_o, b_q, b_v, b_o, **options)
    one, b_k, none = np.ones((2, 4, 1)), rng.normal(size=(6, 1)), np.zeros((8, 1))      # a bias weighs a constant
    k_biased = (np.concatenate([c, one], -1), w_q, np.concatenate([w_k, b_k], 1), np.concatenate([w_v, none], 1))
    np.testing.assert_allclose(multihead.forward(x, *k_biased, w_o, b_q, b_v, b_o, **options)[0], y, rtol=1e-12)


def test_a_padded_token_reaches_no_output_and_no_gradient(rng):
    args, options = case(rng)
    options["mask"] = np.array([[True, True, True, False], [True, False, True, True]])[:, None, None, :]
    other = args[1].copy()
    other[0, 3], other[1, 1] = 99.0, -99.0
    answers = []
    for context in (args[1], other):
        y, cache = multihead.forward(args[0], context, *args[2:], **options)
        answers.append((y, *multihead.backward(np.cos(y), cache)))
    for one, two in zip(*answers):
        np.testing.assert_allclose(two, one, rtol=1e-12, atol=1e-14)
    dcontext = answers[0][2]
    assert not dcontext[0, 3].any()
    assert not dcontext[1, 1].any()


def test_a_query_without_keys_gets_the_bias_of_the_output_and_passes_nothing(rng):
    args, options = case(rng)
    mask = np.ones((2, 1, 3, 4), bool)
    mask[1, 0, 2] = False
    y, cache = multihead.forward(*args, **options, mask=mask)
    np.testing.assert_array_equal(y[1, 2], args[-1])
    dy = np.zeros_like(y)
    dy[1, 2] = 1
    *rest, db_o = multihead.backward(dy, cache)
    np.testing.assert_array_equal(db_o, 1)
    for g in rest:
        assert not g.any()


def test_no_context_gives_the_bias_of_the_output_and_no_tokens_give_none(rng):
    args, options = case(rng, S=0)
    y, cache = multihead.forward(*args, **options)
    np.testing.assert_array_equal(y, np.broadcast_to(args[-1], y.shape))
    dx, dcontext, *_ = multihead.backward(np.ones_like(y), cache)
    assert not dx.any()
    assert dcontext.shape == (2, 0, 6)
    args, options = case(rng, T=0)
    y, cache = multihead.forward(*args, **options)
    assert y.shape == (2, 0, 7)
    assert all(not g.any() for g in multihead.backward(y, cache))


def test_samples_do_not_see_each_other(rng):
    args, options = case(rng)
    other = tuple(np.concatenate([a[:1], rng.normal(size=a[1:].shape)]) if i < 2 else a for i, a in enumerate(args))
    one, two = (multihead.forward(*a, **options)[0] for a in (args, other))
    np.testing.assert_allclose(two[0], one[0], rtol=1e-13)
    assert np.abs(two[1] - one[1]).max() > 0.1


def test_init_is_glorot_for_every_projection(rng):
    p = multihead.init(rng, 12, 3)
    assert [u.shape for u in p] == [(12, 12)] * 4 + [(12,)] * 3
    p = multihead.init(rng, 12, 3, C=5, D=2, E=7, O=8)
    assert [u.shape for u in p] == [(6, 12), (6, 5), (21, 5), (8, 21), (6,), (21,), (8,)]
    assert not any(u.any() for u in p[4:])
    w, _ = linear.init(np.random.default_rng(5), 12, 6)
    np.testing.assert_array_equal(multihead.init(np.random.default_rng(5), 12, 3, D=2, E=7)[0], w)
    with pytest.raises(ValueError, match="heads must divide the 12 features of x"):
        multihead.init(rng, 12, 5)


@pytest.mark.parametrize(("change", "words"), [
    ({"heads": 0}, "heads must be at least 1; got 0"),
    ({"heads": 4}, "heads must divide the 6 rows of w_q and w_k; got 4"),
    ({"heads": 3}, "heads must divide the 8 rows of w_v; got 3"),
    ({"mask": np.ones((2, 3, 3, 4), bool)}, "mask must have 1 or 2 heads along its second axis; got 3"),
    ({"mask": np.ones((3, 4), bool)}, "mask must be a boolean array with axes"),
])
def test_the_door_names_what_is_wrong(rng, change, words):
    args, options = case(rng)
    with pytest.raises(ValueError, match=f"multihead.forward: {words}"):
        multihead.forward(*args, **options | change)


def test_biases_come_together(rng):
    args, options = case(rng)
    with pytest.raises(ValueError, match="b_q, b_v, b_o must be given together, or none of them; got an array, None"):
        multihead.forward(*args[:7], None, args[8], **options)
