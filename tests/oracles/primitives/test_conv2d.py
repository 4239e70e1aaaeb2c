import numpy as np
import pytest

from visattn.ops.primitives import conv2d

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("dilation", [1, (2, 1)])
@pytest.mark.parametrize("padding", [0, 1, (1, 2)])
@pytest.mark.parametrize("stride", [1, 2, (3, 1)])
@pytest.mark.parametrize("bias", [True, False])
def test_torch(rng, bias, stride, padding, dilation, groups):
    args = rng.normal(size=(2, 4, 8, 9)), rng.normal(size=(8, 4 // groups, 2, 3)), rng.normal(size=8)
    args = args if bias else args[:2]
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    y, cache = conv2d.forward(*args, **options)
    dy = rng.normal(size=y.shape)

    theirs = [torch.tensor(a, requires_grad=True) for a in args]
    expected = torch.nn.functional.conv2d(*theirs, **options)
    np.testing.assert_allclose(y, expected.detach(), rtol=1e-10, atol=1e-12)
    for got, wanted in zip(conv2d.backward(dy, cache), torch.autograd.grad(expected, theirs, torch.tensor(dy))):
        np.testing.assert_allclose(got, wanted, rtol=1e-10, atol=1e-12)


def test_torch_takes_windows_beside_the_image():
    """Padding as large as the kernel: windows of zeros, refused here."""
    x, w = np.ones((1, 1, 2, 2)), np.ones((1, 1, 1, 1))
    assert torch.nn.functional.conv2d(torch.tensor(x), torch.tensor(w), padding=1).sum() == 4
    with pytest.raises(ValueError, match="padding"):
        conv2d.forward(x, w, padding=1)
