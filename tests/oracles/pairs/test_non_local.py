"""The non-local block against torch, composed as the paper writes it: pairs really concatenated, f really divided."""

import typing

import numpy as np
import pytest

from visattn import gradcheck
from visattn.ops import non_local

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers


def peer(x, w_g, w_z, w_theta=None, w_phi=None, w_f=None, *, form):
    conv = lambda x, w: torch.nn.functional.conv2d(x, w[:, :, None, None]).flatten(2)           # noqa: E731
    theta, phi = (x.flatten(2), x.flatten(2)) if form == "gaussian" else (conv(x, w_theta), conv(x, w_phi))
    P = theta.shape[2]
    if form == "concatenation":
        pairs = torch.cat([theta[..., :, None].expand(-1, -1, P, P), phi[..., None, :].expand(-1, -1, P, P)], 1)
        f = torch.einsum("ncij,c->nij", pairs, w_f).relu()
        p = f / P
    else:
        a = torch.einsum("nci,ncj->nij", theta, phi)
        p = a / P if form == "dot_product" else a.exp() / a.exp().sum(2, keepdim=True)
    y = torch.einsum("nij,ncj->nci", p, conv(x, w_g)).unflatten(2, x.shape[2:])
    return conv(y, w_z).unflatten(2, x.shape[2:]) + x


@pytest.mark.parametrize("form", typing.get_args(non_local.Form))
def test_agrees_with_torch(form, rng):
    p = non_local.init(rng, 5, 6, form=form)._replace(w_z=rng.normal(size=(5, 6)))
    args = gradcheck.given((rng.normal(size=(2, 5, 3, 4)), *p))
    tensors = [torch.from_numpy(a).requires_grad_() for a in args]
    theirs = peer(*tensors, form=form)
    z, cache = non_local.forward(*args, form=form)
    np.testing.assert_allclose(z, theirs.detach(), rtol=1e-10, atol=1e-12)

    dz = rng.normal(size=z.shape)
    theirs.backward(torch.from_numpy(dz))
    for g, t in zip(non_local.backward(dz, cache), tensors, strict=True):
        np.testing.assert_allclose(g, t.grad, rtol=1e-9, atol=1e-11)


def test_timm_scales_by_the_channels_of_x(rng):
    """timm's block divides the scores by the root of the channels of x, though they are sums over those of θ."""
    timm = pytest.importorskip("timm.layers")
    block = timm.NonLocalAttn(16, rd_channels=4, use_scale=True).double().eval()
    assert block.scale == 16 ** -0.5
    x = rng.normal(size=(2, 16, 3, 4))
    w = {name: p.detach().numpy()[:, :, 0, 0] for name, p in block.named_parameters() if p.ndim == 4}
    if any(p.ndim == 1 and name.split(".")[0] in ("t", "p", "g") for name, p in block.named_parameters()):
        for name, p in block.named_parameters():
            if name in ("t.bias", "p.bias", "g.bias", "z.bias"):
                torch.nn.init.zeros_(p)
    torch.nn.init.ones_(block.norm.weight)
    theirs = block(torch.from_numpy(x)).detach().numpy()
    # its batch normalisation, at rest, divides by √(1 + ε)
    w_z = w["z.weight"] / np.sqrt(1 + block.norm.eps)
    scaled, _ = non_local.forward(x, w["g.weight"], w_z, w["t.weight"] / 4, w["p.weight"], form="embedded_gaussian")
    paper, _ = non_local.forward(x, w["g.weight"], w_z, w["t.weight"], w["p.weight"], form="embedded_gaussian")
    np.testing.assert_allclose(scaled, theirs, rtol=1e-9, atol=1e-11)
    assert np.abs(paper - theirs).max() > 1e-6
