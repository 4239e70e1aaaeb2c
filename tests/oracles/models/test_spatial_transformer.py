"""The spatial transformer against the same network written with torch's layers and its autograd."""

import numpy as np
import pytest

from visattn import tree
from visattn.models import spatial_transformer

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch")


def composed(x, p, size):
    f = torch.nn.functional
    a = torch.relu(f.conv2d(x, *p.loc.conv1, stride=2, padding=1))
    a = torch.relu(f.conv2d(a, *p.loc.conv2, stride=2, padding=1))
    h = torch.relu(f.linear(a.flatten(1), *p.loc.hidden))
    theta = f.linear(h, *p.loc.theta).reshape(-1, 2, 3)
    grid = f.affine_grid(theta, (len(x), x.shape[1], *size), align_corners=False)
    view = f.grid_sample(x, grid, align_corners=False)
    return f.linear(torch.relu(f.linear(view.flatten(1), *p.hidden)), *p.head), grid, view


def test_agrees_with_torch(rng):
    x, size = rng.normal(size=(2, 3, 7, 6)), (4, 5)
    p = spatial_transformer.perturbed(spatial_transformer.init(rng, (7, 6), size, O=5, C=3, I=2, M=4), rng)
    y, cache = spatial_transformer.forward(x, p, size=size)
    dy = rng.normal(size=y.shape)
    dx, dp = spatial_transformer.backward(dy, cache)

    tx, tp = tree.map(lambda a: torch.tensor(a, requires_grad=True), (x, p))
    ty, grid, view = composed(tx, tp, size)
    ty.backward(torch.tensor(dy))
    np.testing.assert_allclose(y, ty.detach().numpy(), rtol=1e-10)
    np.testing.assert_allclose(cache.grid, grid.detach().numpy(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(cache.view, view.detach().numpy(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(dx, tx.grad.numpy(), rtol=1e-9, atol=1e-11)
    for (name, a), b in zip(tree.named_leaves(dp), tree.leaves(tp), strict=True):
        np.testing.assert_allclose(a, b.grad.numpy(), rtol=1e-9, atol=1e-11, err_msg=name)
