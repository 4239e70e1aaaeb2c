import numpy as np
import pytest

from visattn.ops.primitives import average_pool2d

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers

OPTIONS = [
    {"kernel": 2},
    {"kernel": 3, "stride": 1, "padding": 1},
    {"kernel": (3, 2), "stride": (2, 1), "padding": (1, 0)},
    {"kernel": (2, 3), "stride": 4},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("counted", [True, False])
def test_torch(rng, counted, options):
    x = rng.normal(size=(2, 3, 7, 8))
    y, cache = average_pool2d.forward(x, **options, count_include_pad=counted)
    dy = rng.normal(size=y.shape)
    theirs = torch.tensor(x, requires_grad=True)
    expected = torch.nn.functional.avg_pool2d(
        theirs, options["kernel"], options.get("stride"), options.get("padding", 0), count_include_pad=counted)
    np.testing.assert_allclose(y, expected.detach(), rtol=1e-10, atol=1e-13)
    wanted, = torch.autograd.grad(expected, theirs, torch.tensor(dy))
    np.testing.assert_allclose(average_pool2d.backward(dy, cache)[0], wanted, rtol=1e-10, atol=1e-13)


def test_torch_counts_the_padding_unless_told_otherwise():
    x = np.ones((1, 1, 4, 4))
    expected = torch.nn.functional.avg_pool2d(torch.tensor(x), 2, padding=1)
    np.testing.assert_array_equal(average_pool2d.forward(x, kernel=2, padding=1)[0], expected)


def test_torch_refuses_a_padding_of_more_than_half_the_kernel():
    with pytest.raises(RuntimeError, match="half of"):
        torch.nn.functional.avg_pool2d(torch.ones(1, 1, 4, 4), 3, padding=2)
    assert average_pool2d.forward(np.ones((1, 1, 4, 4)), kernel=3, padding=2)[0].shape == (1, 1, 2, 2)
