import numpy as np
import pytest

from visattn.ops.primitives import max_pool2d

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers

OPTIONS = [
    {"kernel": 2},
    {"kernel": 3, "stride": 1, "padding": 1},
    {"kernel": (3, 2), "stride": (2, 1), "padding": (1, 0)},
    {"kernel": (2, 3), "stride": 4},
]


def torchs(x, kernel, stride=None, padding=0):
    return torch.nn.functional.max_pool2d(x, kernel, stride, padding)


def amax(x, kernel, stride=None, padding=0):
    """The same windows, and the largest of each by `amax`, which shares among ties."""
    (Kh, Kw), (s, t), (p, q) = (
        v if isinstance(v, tuple) else (v, v) for v in (kernel, stride or kernel, padding))
    x = torch.nn.functional.pad(x, (q, q, p, p), value=-torch.inf)
    return x.unfold(2, Kh, s).unfold(3, Kw, t).amax((4, 5))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize(("ties", "peer"), [("first", torchs), ("even", amax)], ids=["max_pool2d", "amax"])
@pytest.mark.parametrize("levels", [3, 10**6])
def test_torch_also_where_pixels_tie(rng, levels, ties, peer, options):
    x = rng.integers(-levels, 2, (2, 3, 7, 8)).astype(float)
    y, cache = max_pool2d.forward(x, **options, ties=ties)
    dy = rng.normal(size=y.shape)
    theirs = torch.tensor(x, requires_grad=True)
    expected = peer(theirs, **options)
    np.testing.assert_array_equal(y, expected.detach())
    wanted, = torch.autograd.grad(expected, theirs, torch.tensor(dy))
    np.testing.assert_allclose(max_pool2d.backward(dy, cache)[0], wanted, rtol=1e-10, atol=1e-12)


def test_torch_where_everything_is_minus_infinity():
    """Its padding does not win either."""
    x = np.full((1, 1, 3, 2), -np.inf)
    options = {"kernel": (3, 2), "stride": 1, "padding": 1}
    y, cache = max_pool2d.forward(x, **options)
    theirs = torch.tensor(x, requires_grad=True)
    expected = torchs(theirs, **options)
    np.testing.assert_array_equal(y, expected.detach())
    wanted, = torch.autograd.grad(expected, theirs, torch.ones_like(expected))
    np.testing.assert_array_equal(max_pool2d.backward(np.ones_like(y), cache)[0], wanted)


def test_torch_lets_nan_through_and_gives_the_gradient_to_the_last():
    x = np.array([[[[1.0, np.nan, np.nan, 7, 5, 6]]]])
    y, cache = max_pool2d.forward(x, kernel=(1, 3))
    theirs = torch.tensor(x, requires_grad=True)
    expected = torchs(theirs, (1, 3))
    np.testing.assert_array_equal(y, expected.detach())
    wanted, = torch.autograd.grad(expected, theirs, torch.ones_like(expected))
    assert wanted.tolist() == [[[[0, 0, 1, 1, 0, 0]]]]
    assert max_pool2d.backward(np.ones_like(y), cache)[0].tolist() == [[[[0, 1, 0, 1, 0, 0]]]]


def test_torch_refuses_a_padding_of_more_than_half_the_kernel():
    with pytest.raises(RuntimeError, match="half of"):
        torchs(torch.ones(1, 1, 4, 4), 3, padding=2)
    assert max_pool2d.forward(np.ones((1, 1, 4, 4)), kernel=3, padding=2)[0].shape == (1, 1, 2, 2)
