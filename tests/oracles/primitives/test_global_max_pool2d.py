import numpy as np
import pytest

from visattn.ops.primitives import global_max_pool2d

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers

PEERS = [
    ("first", lambda x: torch.nn.functional.adaptive_max_pool2d(x, 1)[:, :, 0, 0]),
    ("first", lambda x: x.flatten(2).max(2).values),
    ("even", lambda x: x.amax((2, 3))),
]


@pytest.mark.parametrize(("ties", "peer"), PEERS, ids=["adaptive_max_pool2d", "max", "amax"])
def test_torch_also_where_pixels_tie(rng, ties, peer):
    x = rng.integers(0, 4, (3, 4, 5, 6)).astype(float)
    x[1] = 0                                                    # as after a ReLU
    y, cache = global_max_pool2d.forward(x, ties=ties)
    dy = rng.normal(size=y.shape)
    theirs = torch.tensor(x, requires_grad=True)
    expected = peer(theirs)
    np.testing.assert_array_equal(y, expected.detach())
    wanted, = torch.autograd.grad(expected, theirs, torch.tensor(dy))
    np.testing.assert_allclose(global_max_pool2d.backward(dy, cache)[0], wanted, rtol=1e-10)


def test_peers_let_nan_through():
    x = np.array([[[[1.0, np.nan], [7, 0]], [[1, 2], [3, 4]]]])
    for ties, peer in PEERS:
        np.testing.assert_array_equal(global_max_pool2d.forward(x, ties=ties)[0], peer(torch.tensor(x)))
