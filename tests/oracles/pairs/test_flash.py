"""FlashAttention against torch: its attention, its log-sum-exp, and the gradients of both together."""

import numpy as np
import pytest

from visattn.ops import flash

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers

B, Gq, G, T, S, D, E = 2, 6, 2, 5, 7, 3, 4
TILES = [None, (1, 1), (2, 3), (4, 2), (50, 50)]


def case(rng, T=T, S=S, G=G):
    shapes = (B, Gq, T, D), (B, G, S, D), (B, G, S, E), (B, Gq, T, E), (B, Gq, T)
    return tuple(rng.normal(size=shape) for shape in shapes)


def leaves(*arrays):
    return [torch.tensor(a, requires_grad=True) for a in arrays]


def sdpa(*args, **options):
    return torch.nn.functional.scaled_dot_product_attention(*args, enable_gqa=True, **options)


def lse_of(q, k, scale=None, bias=None, mask=None):
    """log Σ exp of the scores by torch.logsumexp, with key heads repeated as torch does it."""
    a = q @ k.repeat_interleave(Gq // k.shape[-3], -3).mT * (D**-0.5 if scale is None else scale)
    a = a if bias is None else a + bias
    return torch.logsumexp(a if mask is None else a.masked_fill(~mask, -torch.inf), -1)


def assert_agrees(args, dy, theirs, tensors, **options):
    """o, lse and all gradients of ⟨do, o⟩ + ⟨dlse, lse⟩, in double precision, for every tile."""
    found = torch.autograd.grad(sum((torch.tensor(d) * y)[y > -torch.inf].sum() for d, y in zip(dy, theirs)), tensors)
    for tile in TILES:
        ours, cache = flash.forward(*args, **options, tile=tile)
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(one, other.detach().numpy(), rtol=1e-10, atol=1e-13)
        for one, other in zip(flash.backward(dy, cache), found, strict=True):
            np.testing.assert_allclose(one, other.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("G", [1, 2, 3, 6])
@pytest.mark.parametrize("scale", [None, 0.37])
@pytest.mark.parametrize("masked", [None, (1, T, S), (B, 1, 1, S), (B, Gq, T, S)])
def test_groups_and_boolean_masks_are_torchs(rng, G, scale, masked):
    q, k, v, *dy = case(rng, G=G)
    tensors = leaves(q, k, v)
    mask = None if masked is None else rng.random(masked) < 0.6
    if mask is not None:
        mask[..., 2] = True
    theirs = None if mask is None else torch.tensor(mask)
    y = sdpa(*tensors, attn_mask=theirs, scale=scale), lse_of(*tensors[:2], scale, mask=theirs)
    assert_agrees((q, k, v), tuple(dy), y, tensors, mask=mask, scale=scale)


@pytest.mark.parametrize("shape", [(Gq, T, S), (B, 1, 1, S), (1, Gq, T, 1), (B, Gq, T, S)])
@pytest.mark.parametrize("hidden", [False, True])
def test_biases_and_their_gradients_are_torchs(rng, shape, hidden):
    q, k, v, *dy = case(rng)
    bias = rng.normal(size=shape)
    if hidden:
        bias[rng.random(shape) < 0.3] = -np.inf
        bias[..., 0] = 0.5
    tensors = leaves(q, k, v, bias)
    y = sdpa(*tensors[:3], attn_mask=tensors[3].expand(B, Gq, T, S)), lse_of(*tensors[:2], bias=tensors[3])
    assert_agrees((q, k, v, bias), tuple(dy), y, tensors)


@pytest.mark.parametrize(("T", "S"), [(4, 6), (6, 4), (5, 5)])
def test_torchs_is_causal_hangs_from_the_top_left(rng, T, S):
    q, k, v, *dy = case(rng, T, S)
    tensors = leaves(q, k, v)
    triangle = torch.ones(T, S, dtype=torch.bool).tril()
    y = sdpa(*tensors, is_causal=True), lse_of(*tensors[:2], mask=triangle)
    assert_agrees((q, k, v), tuple(dy), y, tensors, causal="top_left")


@pytest.mark.parametrize(("T", "S"), [(4, 6), (5, 5)])
def test_torchs_causal_lower_right_hangs_from_the_bottom_right(rng, T, S):
    q, k, v, *dy = case(rng, T, S)
    tensors = leaves(q, k, v)
    triangle = torch.ones(T, S, dtype=torch.bool).tril(S - T)
    y = sdpa(*tensors, attn_mask=triangle), lse_of(*tensors[:2], mask=triangle)
    assert_agrees((q, k, v), tuple(dy), y, tensors, causal="bottom_right")


def test_a_query_without_keys_is_torchs(rng):
    """o = 0, lse = -∞, and gradients of zero from both."""
    q, k, v, *dy = case(rng)
    mask = np.ones((1, T, S), bool)
    mask[0, 3] = False
    tensors, theirs = leaves(q, k, v), torch.tensor(mask)
    y = sdpa(*tensors, attn_mask=theirs), lse_of(*tensors[:2], mask=theirs)
    assert (y[1][..., 3] == -torch.inf).all()
    assert_agrees((q, k, v), tuple(dy), y, tensors, mask=mask)


@pytest.mark.parametrize("causal", [False, True])
def test_at_the_length_of_many_tiles_it_is_torchs_fused_kernel(rng, causal):
    """700 tokens, default tiles, float32: torch's flash attention for processors, which keeps lse as we do."""
    q, k, v, do = (rng.normal(size=(1, 2, 700, 16)).astype(np.float32) for _ in range(4))
    tensors = leaves(q, k, v)
    y, lse, *_ = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(*tensors, is_causal=causal)
    ours, cache = flash.forward(q, k, v, causal="top_left" if causal else None)
    np.testing.assert_allclose(ours[0], y.detach().numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours[1], lse.detach().numpy(), rtol=1e-5)
    for g, t in zip(flash.backward((do, np.zeros_like(ours[1])), cache),
                    torch.autograd.grad(y, tensors, torch.tensor(do))):
        np.testing.assert_allclose(g, t.numpy(), rtol=1e-3, atol=1e-5)
