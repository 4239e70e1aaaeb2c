"""Merging against torch: attention to all keys at once, and the formula by torch.logsumexp under autograd."""

import numpy as np
import pytest

from visattn.ops import merge

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers


def joined(o, lse):
    total = torch.logsumexp(lse, -2)
    return ((lse - total[..., None, :]).exp()[..., None] * o).sum(-3), total


@pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
@pytest.mark.parametrize("K", [1, 2, 5])
@pytest.mark.parametrize("empty", [False, True])
def test_the_formula_and_its_gradients_are_torchs(rng, lead, K, empty):
    o, lse = rng.normal(size=(*lead, K, 4, 3)), 5 * rng.normal(size=(*lead, K, 4))
    if empty:
        lse[..., 1:, 2] = -np.inf
    tensors = torch.tensor(o, requires_grad=True), torch.tensor(lse, requires_grad=True)
    theirs = joined(*tensors)
    dy = tuple(rng.normal(size=tuple(y.shape)) for y in theirs)
    ours, cache = merge.forward(o, lse)
    found = torch.autograd.grad(theirs, tensors, [torch.tensor(d) for d in dy])
    for one, other in zip((*ours, *merge.backward(dy, cache)), (*theirs, *found), strict=True):
        np.testing.assert_allclose(one, other.detach().numpy(), rtol=1e-10, atol=1e-12)


def test_where_nothing_is_left_torchs_formula_is_not_a_number(rng):
    o, lse = rng.normal(size=(2, 4, 3)), np.full((2, 4), -np.inf)
    theirs, total = joined(torch.tensor(o), torch.tensor(lse))
    assert theirs.isnan().all()
    (ours, ours_total), _ = merge.forward(o, lse)
    assert not ours.any()
    np.testing.assert_array_equal(ours_total, total.numpy())


def test_torchs_attention_to_shares_of_the_keys_merges_to_its_attention_to_all(rng):
    """Its fused kernel gives lse beside o; two halves of the keys, joined by us."""
    q, k, v = (torch.tensor(rng.normal(size=(1, 2, n, 8))) for n in (6, 10, 10))
    fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    halves = [fused(q, k[:, :, half], v[:, :, half]) for half in (slice(0, 4), slice(4, 10))]
    o = np.stack([y.numpy() for y, *_ in halves], 2)
    lse = np.stack([total.numpy() for _, total, *_ in halves], 2)
    whole, total, *_ = fused(q, k, v)
    (ours, ours_total), _ = merge.forward(o, lse)
    np.testing.assert_allclose(ours, whole.numpy(), rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(ours_total, total.numpy(), rtol=1e-10)
