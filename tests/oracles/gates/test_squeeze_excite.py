import numpy as np
import pytest

from visattn.ops.gates import squeeze_excite

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers


def as_convolution(w):
    return w[:, :, None, None]


def test_timm_without_biases(rng, agree):
    layers = pytest.importorskip("timm.layers")
    args, _ = squeeze_excite.example(rng)
    gate = layers.SEModule(8, rd_channels=4, bias=False)

    def peer(x, w1, w2):
        weights = {"fc1.weight": as_convolution(w1), "fc2.weight": as_convolution(w2)}
        return torch.func.functional_call(gate, weights, (x,))

    agree(squeeze_excite, args, {}, peer)


def test_torchvision_with_biases_of_zero(rng, agree):
    ops = pytest.importorskip("torchvision.ops")
    args, _ = squeeze_excite.example(rng)
    gate = ops.SqueezeExcitation(8, 4)

    def peer(x, w1, w2):
        weights = {"fc1.weight": as_convolution(w1), "fc2.weight": as_convolution(w2),
                   "fc1.bias": torch.zeros(4), "fc2.bias": torch.zeros(8)}
        return torch.func.functional_call(gate, weights, (x,))

    agree(squeeze_excite, args, {}, peer)


def test_torchvision_and_timm_have_biases_of_their_own(rng):
    ops, layers = pytest.importorskip("torchvision.ops"), pytest.importorskip("timm.layers")
    (x, _, _), _ = squeeze_excite.example(rng)
    torch.manual_seed(0)
    for gate in (ops.SqueezeExcitation(8, 4), layers.SEModule(8, rd_channels=4)):
        w1, w2 = (fc.weight.detach().numpy()[:, :, 0, 0] for fc in (gate.fc1, gate.fc2))
        with torch.no_grad():
            theirs = gate(torch.tensor(x)).numpy()
        assert np.abs(squeeze_excite.forward(x, w1, w2)[0] - theirs).max() > 0.01


def test_timm_rounds_the_reduction_to_eights(rng):
    layers = pytest.importorskip("timm.layers")
    theirs = {C: layers.SEModule(C).fc1.out_channels for C in (64, 128, 480)}
    ours = {C: len(squeeze_excite.init(rng, C).w1) for C in theirs}
    assert theirs == {64: 8, 128: 8, 480: 32}
    assert ours == {64: 4, 128: 8, 480: 30}
