"""The residual block against torchvision's, with and without a gate, in training and at inference."""

import numpy as np
import pytest

from visattn import tree
from visattn.models import residual_block
from visattn.models.residual_block import Moments, Stats

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch")


def theirs(p, gate):
    resnet = pytest.importorskip("torchvision.models.resnet")
    O, C = p.first.conv.w.shape[:2]
    shortcut = None
    if p.shortcut is not None:
        shortcut = torch.nn.Sequential(torch.nn.Conv2d(C, O, 1, 2, bias=False), torch.nn.BatchNorm2d(O))
    block = resnet.BasicBlock(C, O, 1 if shortcut is None else 2, shortcut)
    layers = [(block.conv1, block.bn1, p.first), (block.conv2, block.bn2, p.second)]
    if shortcut is not None:
        layers.append((shortcut[0], shortcut[1], p.shortcut))
    with torch.no_grad():
        for conv, norm, ours in layers:
            for theirs, w in ((conv.weight, ours.conv.w), (norm.weight, ours.norm.g), (norm.bias, ours.norm.b)):
                theirs.copy_(torch.tensor(w))
    parts = [part for conv, norm, _ in layers for part in (conv.weight, norm.weight, norm.bias)]
    if gate == "squeeze_excite":
        misc = pytest.importorskip("torchvision.ops.misc")
        se = misc.SqueezeExcitation(O, p.gate.w1.shape[0])
        with torch.no_grad():
            for conv, w in ((se.fc1, p.gate.w1), (se.fc2, p.gate.w2)):
                conv.weight.copy_(torch.tensor(w)[..., None, None])
                conv.bias.zero_()
        block.bn2 = torch.nn.Sequential(block.bn2, se)
        parts += [se.fc1.weight, se.fc2.weight]
    return block, parts, [norm for _, norm, _ in layers]


def ours(dp):
    """Our gradients in the order of theirs."""
    parts = [part for layer in (dp.first, dp.second, dp.shortcut) if layer is not None
             for part in (layer.conv.w, layer.norm.g, layer.norm.b)]
    return parts + ([] if dp.gate is None else [dp.gate.w1, dp.gate.w2])


@pytest.mark.parametrize("O", [4, 6])
@pytest.mark.parametrize("gate", ["none", "squeeze_excite"])
@pytest.mark.parametrize("training", [True, False])
def test_agrees_with_torchvision(O, gate, training, rng):
    p = residual_block.perturbed(residual_block.init(rng, 4, O, gate, r=2), rng)
    x = rng.normal(size=(3, 4, 5, 6))
    block, parts, norms = theirs(p, gate)
    running = Stats(*(Moments(rng.normal(size=O), rng.uniform(0.5, 2, O)) for _ in range(3)))
    if p.shortcut is None:
        running = running._replace(shortcut=None)
    with torch.no_grad():
        for norm, given in zip(norms, running):
            norm.running_mean.copy_(torch.tensor(given.mean))
            norm.running_var.copy_(torch.tensor(given.var))
    block.train(training)

    y, cache = residual_block.forward(x, p, running=None if training else running)
    dy = rng.normal(size=y.shape)
    dx, dp = residual_block.backward(dy, cache)
    tx = torch.tensor(x, requires_grad=True)
    ty = block(tx)
    ty.backward(torch.tensor(dy))
    np.testing.assert_allclose(y, ty.detach().numpy(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(dx, tx.grad.numpy(), rtol=1e-9, atol=1e-11)
    for a, b in zip(ours(dp), parts, strict=True):
        np.testing.assert_allclose(a, b.grad.numpy().reshape(a.shape), rtol=1e-9, atol=1e-11)

    if training:                                        # torch's running statistics, by our line of update
        kept = tree.map(lambda r, s: 0.9 * r + 0.1 * s, running, cache.stats)
        for norm, after in zip(norms, kept):
            np.testing.assert_allclose(after.mean, norm.running_mean.numpy(), rtol=1e-10)
            np.testing.assert_allclose(after.var, norm.running_var.numpy(), rtol=1e-10)
