"""The encoder block against torch's, in float64: output, attention map and every gradient."""

import numpy as np
import pytest

from visattn.models import encoder_block

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch")

N, T, D, G, M = 2, 5, 6, 3, 7


def torch_block(p):
    gelu = torch.nn.GELU(approximate="tanh")
    block = torch.nn.TransformerEncoderLayer(D, G, M, dropout=0.0, activation=gelu, batch_first=True, norm_first=True)
    a = p.msa
    weights = {
        "norm1.weight": p.norm1.g, "norm1.bias": p.norm1.b, "norm2.weight": p.norm2.g, "norm2.bias": p.norm2.b,
        "self_attn.in_proj_weight": np.concatenate([a.w_q, a.w_k, a.w_v]),
        "self_attn.in_proj_bias": np.concatenate([a.b_q, np.zeros(D), a.b_v]),
        "self_attn.out_proj.weight": a.w_o, "self_attn.out_proj.bias": a.b_o,
        "linear1.weight": p.up.w, "linear1.bias": p.up.b, "linear2.weight": p.down.w, "linear2.bias": p.down.b,
    }
    block.load_state_dict({name: torch.tensor(w) for name, w in weights.items()})
    return block


def test_agrees_with_torch(rng):
    x, p = rng.normal(size=(N, T, D)), encoder_block.perturbed(encoder_block.init(rng, D, G, M), rng)
    y, cache = encoder_block.forward(x, p, heads=G)
    dy = rng.normal(size=y.shape)
    dx, dp = encoder_block.backward(dy, cache)

    block, tx = torch_block(p), torch.tensor(x, requires_grad=True)
    ty = block(tx)
    ty.backward(torch.tensor(dy))
    grads = {name: w.grad.numpy() for name, w in block.named_parameters()}
    np.testing.assert_allclose(y, ty.detach().numpy(), rtol=1e-10)
    np.testing.assert_allclose(dx, tx.grad.numpy(), rtol=1e-10, atol=1e-12)
    ours = {"norm1.weight": dp.norm1.g, "norm1.bias": dp.norm1.b, "norm2.weight": dp.norm2.g, "norm2.bias": dp.norm2.b,
            "self_attn.in_proj_weight": np.concatenate([dp.msa.w_q, dp.msa.w_k, dp.msa.w_v]),
            "self_attn.in_proj_bias": np.concatenate([dp.msa.b_q, np.zeros(D), dp.msa.b_v]),
            "self_attn.out_proj.weight": dp.msa.w_o, "self_attn.out_proj.bias": dp.msa.b_o,
            "linear1.weight": dp.up.w, "linear1.bias": dp.up.b, "linear2.weight": dp.down.w,
            "linear2.bias": dp.down.b}
    assert set(ours) == set(grads)
    for name, grad in ours.items():
        np.testing.assert_allclose(grad, grads[name], rtol=1e-10, atol=1e-12, err_msg=name)

    n = block.norm1(tx)
    _, maps = block.self_attn(n, n, n, need_weights=True, average_attn_weights=False)
    np.testing.assert_allclose(cache.p, maps.detach().numpy(), rtol=1e-10)


def test_gelu_by_tanh_is_not_the_exact_one(rng):
    """torch's and timm's default differs from the authors' code, and so from ours, in the fourth digit."""
    x, p = rng.normal(size=(N, T, D)), encoder_block.perturbed(encoder_block.init(rng, D, G, M), rng)
    y, _ = encoder_block.forward(x, p, heads=G)
    block = torch_block(p)
    block.activation = torch.nn.GELU()
    difference = np.abs(y - block(torch.tensor(x)).detach().numpy()).max()
    assert 1e-6 < difference < 1e-2
