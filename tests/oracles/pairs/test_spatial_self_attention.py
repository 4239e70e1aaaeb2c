"""Spatial self-attention against torch: 1 × 1 convolutions around scaled_dot_product_attention, all gradients."""

import numpy as np
import pytest

from visattn.ops import spatial_self_attention

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers


def peer(x, w_k, w_q, w_o):
    conv = torch.nn.functional.conv2d
    k, q = (conv(x, w[:, :, None, None]).flatten(2).transpose(1, 2) for w in (w_k, w_q))
    mean = torch.nn.functional.scaled_dot_product_attention(q, k, x.flatten(2).transpose(1, 2), scale=1.0)
    return conv(mean.transpose(1, 2).unflatten(2, x.shape[2:]), w_o[:, :, None, None])


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_torch(seed):
    rng = np.random.default_rng(seed)
    args, _ = spatial_self_attention.example(rng)
    tensors = [torch.from_numpy(a).requires_grad_() for a in args]
    theirs = peer(*tensors)
    y, cache = spatial_self_attention.forward(*args)
    np.testing.assert_allclose(y, theirs.detach(), rtol=1e-10, atol=1e-12)

    dy = rng.normal(size=y.shape)
    theirs.backward(torch.from_numpy(dy))
    for g, t in zip(spatial_self_attention.backward(dy, cache), tensors, strict=True):
        np.testing.assert_allclose(g, t.grad, rtol=1e-10, atol=1e-11)
