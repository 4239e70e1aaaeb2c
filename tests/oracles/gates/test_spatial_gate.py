import numpy as np
import pytest

from visattn.ops.gates import spatial_gate

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers
nn = torch.nn


class SpatialAttention(nn.Module):
    """As people write it: mean and maximum over the channels, a convolution of 7 × 7 without a bias, a sigmoid."""

    def __init__(self, kernel_size=7):
        super().__init__()
        self.conv1 = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x):
        avg_pool = torch.mean(x, dim=1, keepdim=True)
        max_pool = torch.max(x, dim=1, keepdim=True)[0]
        concat = torch.cat([avg_pool, max_pool], dim=1)
        attention = self.conv1(concat)
        return self.sigmoid(attention) * x


def through(gate, weight="conv1.weight"):
    return lambda x, w: torch.func.functional_call(gate, {weight: w}, (x,))


def after_a_relu(rng, size=7):
    """With pixels that are zero, and equal channels."""
    x = np.maximum(np.round(rng.normal(size=(2, 5, 9, 8))), 0)
    x[:, :, 2:4] = 0
    return x, rng.normal(size=(1, 2, size, size))


@pytest.mark.parametrize("size", [1, 3, 7])
def test_spatial_attention_in_torch(rng, agree, size):
    agree(spatial_gate, (rng.normal(size=(2, 5, 9, 8)), rng.normal(size=(1, 2, size, size))), {},
          through(SpatialAttention(size)))


def test_spatial_attention_in_torch_where_channels_tie(rng, agree):
    """torch.max(dim) gives the gradient to the first."""
    agree(spatial_gate, after_a_relu(rng), {"ties": "first"}, through(SpatialAttention()))


def test_its_own_weights_serve(rng):
    torch.manual_seed(0)
    gate, x = SpatialAttention(), rng.normal(size=(2, 5, 9, 8))
    y, _ = spatial_gate.forward(x, gate.conv1.weight.detach().numpy())
    np.testing.assert_allclose(y, gate(torch.tensor(x)).detach(), rtol=1e-10)


def timm(normalised):
    """timm's gate; its batch normalisation as it comes, or as the identity."""
    gate = pytest.importorskip("timm.layers.cbam").SpatialAttn()
    if not normalised:
        gate.eval()
        gate.conv.bn.eps = 0.0
    return through(gate, "conv.conv.weight")


def test_timm_without_its_normalisation_shares_among_equal_channels(rng, agree):
    agree(spatial_gate, after_a_relu(rng), {"ties": "even"}, timm(normalised=False))


def test_timm_normalises_what_the_sigmoid_sees(rng):
    x, w = after_a_relu(rng)
    theirs = timm(normalised=True)(torch.tensor(x), torch.tensor(w)).detach()
    assert np.abs(spatial_gate.forward(x, w)[0] - theirs.numpy()).max() > 0.1


def test_the_authors_code_has_the_maximum_first(rng, agree):
    """So their weights serve with the two kernels exchanged."""

    def theirs(x, w):
        maps = torch.stack([x.max(1).values, x.mean(1)], 1)
        return x * torch.sigmoid(nn.functional.conv2d(maps, w[:, [1, 0]], padding=3))

    x, w = after_a_relu(rng)
    agree(spatial_gate, (x, w), {}, theirs)
    other = theirs(torch.tensor(x), torch.tensor(w[:, [1, 0]].copy())).numpy()
    assert np.abs(spatial_gate.forward(x, w)[0] - other).max() > 0.1
