"""The vision transformer against timm's, in float64: scores and every gradient."""

from functools import partial

import numpy as np
import pytest

from visattn.models import vit

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch")

PATCH, D, G, L, M, O = (2, 3), 8, 2, 2, 16, 5


def theirs_of(p):
    """timm's names for our weights, or for our gradients."""
    named = {"cls_token": p.cls[None, None], "pos_embed": p.pos[None], "norm.weight": p.norm.g, "norm.bias": p.norm.b,
             "patch_embed.proj.weight": p.embed.w.reshape(D, 3, *PATCH), "patch_embed.proj.bias": p.embed.b,
             "head.weight": p.head.w, "head.bias": p.head.b}
    for i, b in enumerate(p.blocks):
        parts = {"norm1.weight": b.norm1.g, "norm1.bias": b.norm1.b, "norm2.weight": b.norm2.g,
                 "norm2.bias": b.norm2.b, "attn.qkv.weight": np.concatenate([b.msa.w_q, b.msa.w_k, b.msa.w_v]),
                 "attn.qkv.bias": np.concatenate([b.msa.b_q, np.zeros(D), b.msa.b_v]),
                 "attn.proj.weight": b.msa.w_o, "attn.proj.bias": b.msa.b_o, "mlp.fc1.weight": b.up.w,
                 "mlp.fc1.bias": b.up.b, "mlp.fc2.weight": b.down.w, "mlp.fc2.bias": b.down.b}
        named |= {f"blocks.{i}.{name}": part for name, part in parts.items()}
    return named


def test_agrees_with_timm(rng):
    timm = pytest.importorskip("timm.models.vision_transformer")
    p = vit.perturbed(vit.init(rng, (4, 6), PATCH, D, G, L, O, C=3, M=M), rng)
    x = rng.normal(size=(2, 3, 4, 6))
    y, cache = vit.forward(x, p, patch=PATCH, heads=G)
    dy = rng.normal(size=y.shape)
    dx, dp = vit.backward(dy, cache)

    model = timm.VisionTransformer(
        img_size=(4, 6), patch_size=PATCH, embed_dim=D, depth=L, num_heads=G, mlp_ratio=M / D, num_classes=O,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-5), act_layer=partial(torch.nn.GELU, approximate="tanh"))
    model.load_state_dict({name: torch.tensor(w) for name, w in theirs_of(p).items()})
    tx = torch.tensor(x, requires_grad=True)
    ty = model(tx)
    ty.backward(torch.tensor(dy))
    np.testing.assert_allclose(y, ty.detach().numpy(), rtol=1e-10)
    np.testing.assert_allclose(dx, tx.grad.numpy(), rtol=1e-9, atol=1e-11)
    grads = {name: w.grad.numpy() for name, w in model.named_parameters()}
    ours = theirs_of(dp)
    assert set(ours) == set(grads)
    for name, grad in ours.items():
        np.testing.assert_allclose(grad, grads[name], rtol=1e-9, atol=1e-11, err_msg=name)
