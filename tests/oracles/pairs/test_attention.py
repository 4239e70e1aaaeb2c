"""Attention against torch and keras, and where their conventions are others."""

import numpy as np
import pytest

from visattn.ops import attention

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers

B, G, T, S, D, E = 2, 3, 4, 5, 6, 7


def case(rng, T=T, S=S):
    shapes = (B, G, T, D), (B, G, S, D), (B, G, S, E), (B, G, T, E)
    return tuple(rng.normal(size=shape) for shape in shapes)


def leaves(*arrays):
    return [torch.tensor(a, requires_grad=True) for a in arrays]


def assert_agrees(args, do, theirs, tensors, **options):
    """Forward and all gradients, in double precision."""
    o, cache = attention.forward(*args, **options)
    np.testing.assert_allclose(o, theirs.detach().numpy(), rtol=1e-10, atol=1e-13)
    theirs.backward(torch.tensor(do))
    for g, t in zip(attention.backward(do, cache), tensors, strict=True):
        np.testing.assert_allclose(g, t.grad.numpy(), rtol=1e-10, atol=1e-12)


def sdpa(*args, **options):
    return torch.nn.functional.scaled_dot_product_attention(*args, **options)


@pytest.mark.parametrize("scale", [None, 0.37])
@pytest.mark.parametrize("masked", [None, (T, S), (B, 1, 1, S), (B, G, T, S)])
def test_boolean_masks_are_torchs(rng, masked, scale):
    q, k, v, do = case(rng)
    tensors = leaves(q, k, v)
    mask = None if masked is None else rng.random(masked) < 0.6
    if masked == (B, G, T, S):
        mask[1, 2, 3] = False                                   # torch too gives zeros, and gradients of zero
    theirs = sdpa(*tensors, attn_mask=None if mask is None else torch.tensor(mask), scale=scale)
    assert_agrees((q, k, v), do, theirs, tensors, mask=mask, scale=scale)


@pytest.mark.parametrize("shape", [(T, S), (B, 1, 1, S), (1, G, T, 1), (B, G, T, S)])
@pytest.mark.parametrize("hidden", [False, True])
def test_biases_and_their_gradients_are_torchs(rng, shape, hidden):
    q, k, v, do = case(rng)
    bias = rng.normal(size=shape)
    if hidden:
        bias[rng.random(shape) < 0.4] = -np.inf
    tensors = leaves(q, k, v, bias)
    assert_agrees((q, k, v, bias), do, sdpa(*tensors[:3], attn_mask=tensors[3].expand(B, G, T, S)), tensors)


@pytest.mark.parametrize(("T", "S"), [(4, 6), (6, 4), (5, 5)])
def test_torchs_is_causal_hangs_from_the_top_left(rng, T, S):
    q, k, v, do = case(rng, T, S)
    tensors = leaves(q, k, v)
    assert_agrees((q, k, v), do, sdpa(*tensors, is_causal=True), tensors, causal="top_left")


@pytest.mark.parametrize(("T", "S"), [(4, 6), (5, 5)])
def test_torchs_causal_lower_right_hangs_from_the_bottom_right(rng, T, S):
    from torch.nn.attention.bias import causal_lower_right

    q, k, v, do = case(rng, T, S)
    tensors = leaves(q, k, v)
    theirs = sdpa(*tensors, attn_mask=causal_lower_right(T, S))
    assert_agrees((q, k, v), do, theirs, tensors, causal="bottom_right")
    if T != S:
        assert np.abs(attention.forward(q, k, v, causal="top_left")[0] - theirs.detach().numpy()).max() > 0.1


def test_more_queries_than_keys_from_the_bottom_right(rng):
    """The first of them see nothing: against the same triangle given to torch as a mask."""
    q, k, v, do = case(rng, 6, 4)
    tensors = leaves(q, k, v)
    triangle = torch.ones(6, 4, dtype=torch.bool).tril(4 - 6)
    assert not triangle[:2].any()
    assert_agrees((q, k, v), do, sdpa(*tensors, attn_mask=triangle), tensors, causal="bottom_right")


@pytest.mark.parametrize("masked", [False, True])
def test_the_cap_is_that_of_the_equation(rng, masked):
    """scale → cap → bias → mask → softmax, written out with torch's own functions."""
    q, k, v, do = case(rng)
    bias, mask = rng.normal(size=(G, T, S)), rng.random((T, S)) < 0.7
    mask[:, 0] = True
    tensors = tq, tk, tv, tb = leaves(q, k, v, bias)
    scores = 1.5 * torch.tanh(0.8 * torch.einsum("bgtd,bgsd->bgts", tq, tk) / 1.5) + tb
    if masked:
        scores = scores.masked_fill(~torch.tensor(mask), -torch.inf)
    theirs = torch.einsum("bgts,bgse->bgte", scores.softmax(-1), tv)
    assert_agrees((q, k, v, bias), do, theirs, tensors, scale=0.8, softcap=1.5, mask=mask if masked else None)


def test_a_masked_sample_poisons_neither_torchs_others_nor_ours(rng):
    q, k, v, do = case(rng)
    mask = np.ones((B, 1, T, S), bool)
    mask[1] = False
    tensors = leaves(q, k, v)
    theirs = sdpa(*tensors, attn_mask=torch.tensor(mask))
    assert_agrees((q, k, v), do, theirs, tensors, mask=mask)
    assert not theirs[1].any()


def test_softmax_of_minus_infinities_alone_poisons_every_shared_weight(rng):
    """Why the rule exists: one padded query, left out of the loss, turns the gradient of a weight into NaN."""
    q, k, v, do = case(rng)
    mask = torch.ones(B, 1, T, S, dtype=torch.bool)
    mask[1, 0, 2] = False
    used = np.ones((B, 1, T, 1))
    used[1, 0, 2] = 0
    tq, tk, tv = (torch.tensor(a) for a in (q, k, v))
    w = torch.eye(E, requires_grad=True)
    p = (tq @ tk.mT * D**-0.5).masked_fill(~mask, -torch.inf).softmax(-1)
    (p @ (tv @ w)).backward(torch.tensor(do * used))
    assert w.grad.isnan().all()
    _, cache = attention.forward(q, k, v, mask=mask.numpy())
    *_, dv = attention.backward(do * used, cache)
    tensors = leaves(v)
    (sdpa(tq, tk, tensors[0], attn_mask=mask)).backward(torch.tensor(do * used))
    np.testing.assert_allclose(dv, tensors[0].grad.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_kerass_layer_has_no_scale(rng, masked, causal):
    """keras.layers.Attention, by default: dot products, unscaled; causal from the top left; masks are of keys.
    Beside torch its products are of single precision, whatever it is given."""
    keras = pytest.importorskip("keras")
    q, k, v, do = (a[:, 0] for a in case(rng))
    mask = rng.random((B, S)) < 0.6
    mask[:, 0] = True
    layer = keras.layers.Attention(dtype="float64")
    tensors = leaves(q, k, v)
    theirs, tp = layer([tensors[0], tensors[2], tensors[1]], use_causal_mask=causal, return_attention_scores=True,
                       mask=[None, torch.tensor(mask)] if masked else None)
    theirs.backward(torch.tensor(do))
    o, cache = attention.forward(q, k, v, scale=1, causal="top_left" if causal else None,
                                 mask=mask[:, None] if masked else None)
    np.testing.assert_allclose(cache.p, tp.detach().numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(o, theirs.detach().numpy(), rtol=1e-5, atol=1e-5)
    for g, t in zip(attention.backward(do, cache), tensors):
        np.testing.assert_allclose(g, t.grad.numpy(), rtol=1e-5, atol=1e-5)


def test_kerass_layer_averages_all_values_where_no_key_is_left(rng):
    keras = pytest.importorskip("keras")
    q, k, v, _ = (a[:, 0] for a in case(rng))
    mask = np.ones((B, S), bool)
    mask[1] = False
    theirs = keras.layers.Attention(dtype="float64")(
        [torch.tensor(q), torch.tensor(v), torch.tensor(k)], mask=[None, torch.tensor(mask)]).numpy()
    ours, _ = attention.forward(q, k, v, scale=1, mask=mask[:, None])
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(theirs[1], np.broadcast_to(v[1].mean(0), (T, E)), rtol=1e-5, atol=1e-5)
    assert not ours[1].any()
