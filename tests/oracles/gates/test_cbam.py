import numpy as np
import pytest

from visattn.ops.gates import cbam

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers


def timm(x, w1, w2, w):
    """timm's block, its batch normalisation as the identity."""
    block = pytest.importorskip("timm.layers.cbam").CbamModule(8, rd_channels=3).eval()
    block.spatial.conv.bn.eps = 0.0
    weights = {"channel.fc1.weight": w1[:, :, None, None], "channel.fc2.weight": w2[:, :, None, None],
               "spatial.conv.conv.weight": w}
    return torch.func.functional_call(block, weights, (x,))


def paper(x, w1, w2, w):
    """Eqs. (2) and (3), with torch's poolings, which give a maximum's gradient to the first."""
    F = torch.nn.functional
    vectors = [pool(x, 1) for pool in (F.adaptive_avg_pool2d, F.adaptive_max_pool2d)]
    mlp = [F.conv2d(F.conv2d(z, w1[:, :, None, None]).relu(), w2[:, :, None, None]) for z in vectors]
    z = torch.sigmoid(mlp[0] + mlp[1]) * x
    maps = torch.cat([z.mean(1, keepdim=True), z.max(1, keepdim=True).values], 1)
    return torch.sigmoid(F.conv2d(maps, w, padding=3)) * z


def arguments(rng, closed):
    x = rng.normal(size=(2, 8, 5, 6))
    if closed:                                          # by a ReLU: pixels and channels of zeros, and equal numbers
        x = np.maximum(np.round(x), 0)
        x[0, :3], x[1, :, 2:4] = 0, 0
    return x, rng.normal(size=(3, 8)), rng.normal(size=(8, 3)), rng.normal(size=(1, 2, 7, 7))


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize(("ties", "peer"), [("even", timm), ("first", paper)], ids=["timm", "paper"])
def test_peers(rng, agree, ties, peer, closed):
    agree(cbam, arguments(rng, closed), {"ties": ties}, peer)
