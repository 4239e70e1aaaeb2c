import numpy as np
import pytest

from visattn.ops.gates import channel_gate

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers


def timm(M):
    gate = pytest.importorskip("timm.layers.cbam").ChannelAttn(8, rd_channels=M)

    def peer(x, w1, w2):
        weights = {"fc1.weight": w1[:, :, None, None], "fc2.weight": w2[:, :, None, None]}
        return torch.func.functional_call(gate, weights, (x,))

    return peer


def paper(x, w1, w2):
    """Eq. (2) on torch's poolings."""
    F = torch.nn.functional
    mean, largest = (pool(x, 1).flatten(1) for pool in (F.adaptive_avg_pool2d, F.adaptive_max_pool2d))
    return x * torch.sigmoid(F.linear(F.linear(mean, w1).relu(), w2) + F.linear(F.linear(largest, w1).relu(), w2)
                             )[:, :, None, None]


def after_a_relu(rng):
    """With channels that are zero, and equal pixels."""
    (x, *weights), _ = channel_gate.example(rng)
    x = np.maximum(np.round(x), 0)
    x[0, :3] = 0
    return x, *weights


@pytest.mark.parametrize("example", [lambda rng: channel_gate.example(rng)[0], after_a_relu], ids=["example", "ties"])
@pytest.mark.parametrize("ties", ["first", "even"])
def test_timm_shares_among_equal_pixels_and_torchs_pooling_takes_the_first(rng, agree, example, ties):
    agree(channel_gate, example(rng), {"ties": ties}, {"first": paper, "even": timm(4)}[ties])


def test_the_two_rules_differ_after_a_relu(rng):
    """So a gate that was ported from one to the other trains otherwise, from the same weights."""
    x, w1, w2 = after_a_relu(rng)
    gradients = []
    for peer in (paper, timm(4)):
        tensor = torch.tensor(x, requires_grad=True)
        gradients.append(torch.autograd.grad(peer(tensor, torch.tensor(w1), torch.tensor(w2)).sum(), tensor)[0])
    assert (gradients[0] - gradients[1]).abs().max() > 1e-3


def test_timm_rounds_the_reduction_to_the_nearest(rng):
    cbam = pytest.importorskip("timm.layers.cbam")
    theirs = {C: cbam.ChannelAttn(C).fc1.out_channels for C in (24, 40, 64, 72)}
    ours = {C: len(channel_gate.init(rng, C).w1) for C in theirs}
    assert theirs == {24: 2, 40: 3, 64: 4, 72: 5}
    assert ours == {24: 1, 40: 2, 64: 4, 72: 4}
