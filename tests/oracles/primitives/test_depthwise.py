import numpy as np
import pytest

from visattn.ops.primitives import depthwise

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers


@pytest.mark.parametrize("dilation", [1, (2, 1)])
@pytest.mark.parametrize("padding", [0, (1, 2)])
@pytest.mark.parametrize("stride", [1, (3, 2)])
@pytest.mark.parametrize("bias", [True, False])
def test_torch_with_as_many_groups_as_channels(rng, bias, stride, padding, dilation):
    args = rng.normal(size=(2, 4, 8, 9)), rng.normal(size=(4, 2, 3)), rng.normal(size=4)
    args = args if bias else args[:2]
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    y, cache = depthwise.forward(*args, **options)
    dy = rng.normal(size=y.shape)

    x, w, *b = theirs = [torch.tensor(a, requires_grad=True) for a in args]
    expected = torch.nn.functional.conv2d(x, w[:, None], *b, **options, groups=4)
    np.testing.assert_allclose(y, expected.detach(), rtol=1e-10, atol=1e-12)
    for got, wanted in zip(depthwise.backward(dy, cache), torch.autograd.grad(expected, theirs, torch.tensor(dy))):
        np.testing.assert_allclose(got, wanted, rtol=1e-10, atol=1e-12)
