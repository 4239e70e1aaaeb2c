"""The conventions listed with the gates are those of the libraries that they are said to be of."""

import numpy as np
import pytest

from visattn import ops
from visattn.check import changes

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch")
nn = torch.nn


def changed(op, name, of=None):
    """The operator with one of its conventions, or with one of a part of it."""
    convention, = (change for change in changes.own((of or op).__name__) if change.name == name)
    assert convention.kind == "convention"
    return changes.changed(op, convention)


def after_a_relu(rng):
    """With pixels that are zero, and equal channels."""
    x = np.maximum(np.round(rng.normal(size=(2, 5, 9, 8))), 0)
    x[:, :, 2:4] = 0
    return x


def test_torchvisions_gate_of_mobilenet_has_a_hard_sigmoid(rng):
    vision = pytest.importorskip("torchvision.ops")
    (x, w1, w2), _ = ops.squeeze_excite.example(rng)
    gate = vision.SqueezeExcitation(8, 4, scale_activation=nn.Hardsigmoid)
    weights = {"fc1.weight": torch.tensor(w1)[..., None, None], "fc2.weight": torch.tensor(w2)[..., None, None],
               "fc1.bias": torch.zeros(4), "fc2.bias": torch.zeros(8)}
    theirs = torch.func.functional_call(gate, weights, (torch.tensor(x),))
    ours, _ = changed(ops.squeeze_excite, "hard", of=ops.sigmoid).forward(x, w1, w2)
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-10)


def test_timms_circular_attention_gradients_and_all(rng, agree):
    layers = pytest.importorskip("timm.layers")
    gate = layers.CecaModule(kernel_size=5)
    agree(changed(ops.efficient_channel, "circular"), (rng.normal(size=(2, 7, 3, 5)), rng.normal(size=5)), {},
          lambda x, w: torch.func.functional_call(gate, {"conv.weight": w[None, None]}, (x,)))


def test_the_authors_spatial_gate_has_the_maximum_first(rng, agree):
    def gate(x, w):
        maps = torch.stack([x.max(1).values, x.mean(1)], 1)
        return x * torch.sigmoid(nn.functional.conv2d(maps, w, padding=3))

    agree(changed(ops.spatial_gate, "maximum_first"), (after_a_relu(rng), rng.normal(size=(1, 2, 7, 7))), {}, gate)


def timm():
    return pytest.importorskip("timm.layers.cbam").SpatialAttn()


def test_timms_spatial_gate_normalises_what_the_sigmoid_sees(rng):
    x, w = after_a_relu(rng), rng.normal(size=(1, 2, 7, 7))
    theirs = torch.func.functional_call(timm(), {"conv.conv.weight": torch.tensor(w)}, (torch.tensor(x),))
    ours, _ = changed(ops.spatial_gate, "normalised").forward(x, w)
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-9)


def test_timms_spatial_gate_shares_among_equal_channels(rng, agree):
    gate = timm().eval()
    gate.conv.bn.eps = 0.0
    agree(changed(ops.spatial_gate, "ties_shared"), (after_a_relu(rng), rng.normal(size=(1, 2, 7, 7))), {},
          lambda x, w: torch.func.functional_call(gate, {"conv.conv.weight": w}, (x,)))


def test_timms_channel_gate_shares_among_equal_pixels(rng, agree):
    gate = pytest.importorskip("timm.layers.cbam").ChannelAttn(5, rd_channels=3)
    args = after_a_relu(rng), rng.normal(size=(3, 5)), rng.normal(size=(5, 3))

    def peer(x, w1, w2):
        weights = {"fc1.weight": w1[:, :, None, None], "fc2.weight": w2[:, :, None, None]}
        return torch.func.functional_call(gate, weights, (x,))

    agree(changed(ops.channel_gate, "ties_even", of=ops.global_max_pool2d), args, {}, peer)
