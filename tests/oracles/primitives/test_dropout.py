"""Dropout against torch, whose mask is read off its output."""

import numpy as np
import pytest

from visattn.ops import dropout

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch")


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("theirs", [torch.nn.functional.dropout, torch.nn.functional.dropout2d])
def test_torch(rng, agree, rate, theirs):
    x = rng.normal(size=(2, 3, 4, 5))
    torch.manual_seed(0)
    mask = theirs(torch.tensor(x), rate).numpy() != 0
    if theirs is torch.nn.functional.dropout2d:
        mask = mask[:, :, :1, :1]

    def peer(tensor):
        torch.manual_seed(0)
        return theirs(tensor, rate)

    agree(dropout, (x,), {"mask": mask, "rate": rate}, peer)


def test_drop_path_of_timm_is_a_mask_over_examples(agree, rng):
    drop = pytest.importorskip("timm.layers").drop_path
    x = rng.normal(size=(8, 3, 4))
    torch.manual_seed(0)
    mask = (drop(torch.tensor(x), 0.5, training=True).numpy() != 0)[:, :1, :1]
    assert 0 < mask.sum() < 8

    def peer(tensor):
        torch.manual_seed(0)
        return drop(tensor, 0.5, training=True)

    agree(dropout, (x,), {"mask": mask, "rate": 0.5}, peer)


def test_torch_lets_nan_through_where_it_drops():
    torch.manual_seed(0)
    assert torch.nn.functional.dropout(torch.full((100,), torch.nan), 0.5).isnan().all()
    assert not dropout.forward(np.full(3, np.nan), mask=np.zeros(3, bool), rate=0.5)[0].any()
