"""Additive attention against keras, which has no projections, and a composition in torch of the paper's equations."""

import numpy as np
import pytest

from visattn.ops import additive

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch")


def paper(mask=None):
    """Eqs. (5)-(6) and A.1.2, a query at a time; in torch so that autograd derives the gradients."""

    def attend(q, k, v, wa, ua, va, b=None):
        rows = []
        for t in range(q.shape[-2]):
            hidden = torch.nn.functional.linear(q[..., t:t + 1, :], wa, b) + torch.nn.functional.linear(k, ua)
            e = torch.tensordot(torch.tanh(hidden), va, 1)
            if mask is not None:
                e = e.masked_fill(~torch.tensor(mask[..., t, :]), -torch.inf)
            alpha = torch._safe_softmax(e, -1)
            rows.append(torch.einsum("...s,...se->...e", alpha, v))
        return torch.stack(rows, -2)

    return attend


@pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
@pytest.mark.parametrize("biased", [True, False])
def test_the_paper_in_torch(rng, agree, lead, biased):
    args = [rng.normal(size=s) for s in [(*lead, 3, 5), (*lead, 4, 6), (*lead, 4, 8), (7, 5), (7, 6), (7,), (7,)]]
    agree(additive, args[:6 + biased], {}, paper())


def test_the_paper_in_torch_under_a_mask(rng, agree):
    """With a query that has no key; torch's safe softmax passes it no gradient either."""
    args, options = additive.example(rng)
    agree(additive, args, options, paper(options["mask"]))


def test_keras_has_no_projections(rng):
    """W = U = I, its scale is the vector; to float32, in which it multiplies matrices on its torch backend."""
    keras = pytest.importorskip("keras")
    q, k, v, va = rng.normal(size=(2, 3, 5)), rng.normal(size=(2, 4, 5)), rng.normal(size=(2, 4, 8)), rng.normal(size=5)
    layer = keras.layers.AdditiveAttention(dtype="float64")
    layer.build([q.shape, v.shape, k.shape])
    layer.set_weights([va])
    ours, _ = additive.forward(q, k, v, np.eye(5), np.eye(5), va)
    np.testing.assert_allclose(ours, layer([torch.tensor(a) for a in (q, v, k)]).detach().numpy(), rtol=1e-4,
                               atol=1e-6)


def test_keras_gives_a_query_with_no_key_the_mean(rng):
    """It subtracts 1e9 from every score: in float32 none of their digits is left, and softmax sees a row of equals."""
    keras = pytest.importorskip("keras")
    q, k, v = (rng.normal(size=s).astype(np.float32) for s in [(1, 3, 5), (1, 4, 5), (1, 4, 8)])
    layer = keras.layers.AdditiveAttention(use_scale=False, dtype="float32")
    mask = np.zeros((1, 4), bool)
    theirs = layer([torch.tensor(a) for a in (q, v, k)], mask=[None, torch.tensor(mask)]).detach().numpy()
    np.testing.assert_allclose(theirs, np.broadcast_to(v.mean(1, keepdims=True), theirs.shape), atol=1e-6)
    one = np.eye(5, dtype=np.float32)
    ours, _ = additive.forward(q, k, v, one, one, one.sum(0), mask=mask[:, None])
    assert not ours.any()
