"""Grouped queries against torch and keras."""

import numpy as np
import pytest

from visattn.ops import grouped_query

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers

N, GQ, T, S, D, E = 2, 6, 4, 5, 3, 8


def case(rng, G):
    shapes = (N, GQ, T, D), (N, G, S, D), (N, G, S, E), (N, GQ, T, E)
    return tuple(rng.normal(size=shape) for shape in shapes)


@pytest.mark.parametrize("G", [1, 2, 3, 6])
@pytest.mark.parametrize("options", [{}, {"scale": 0.3}, {"causal": "top_left"}, {"mask": (N, GQ, T, S)}], ids=str)
def test_torchs_enable_gqa_is_the_same(rng, G, options):
    q, k, v, do = case(rng, G)
    options, theirs = dict(options), {}
    if "mask" in options:
        options["mask"] = rng.random(options["mask"]) < 0.6
        theirs["attn_mask"] = torch.tensor(options["mask"])
    theirs |= {"scale": options.get("scale"), "is_causal": "causal" in options}
    o, cache = grouped_query.forward(q, k, v, **options)
    tensors = [torch.tensor(a, requires_grad=True) for a in (q, k, v)]
    to = torch.nn.functional.scaled_dot_product_attention(*tensors, enable_gqa=True, **theirs)
    np.testing.assert_allclose(o, to.detach().numpy(), rtol=1e-10, atol=1e-13)
    to.backward(torch.tensor(do))
    for g, t in zip(grouped_query.backward(do, cache), tensors, strict=True):
        np.testing.assert_allclose(g, t.grad.numpy(), rtol=1e-10, atol=1e-12)


def test_repeating_the_key_heads_in_turns_is_another_operator(rng):
    """tile, k₀ k₁ k₀ k₁, where repeat_interleave, k₀ k₀ k₁ k₁, is meant."""
    q, k, v, _ = case(rng, 2)
    o, _ = grouped_query.forward(q, k, v)

    def torchs(repeat):
        return torch.nn.functional.scaled_dot_product_attention(
            torch.tensor(q), repeat(torch.tensor(k)), repeat(torch.tensor(v))).numpy()

    np.testing.assert_allclose(o, torchs(lambda a: a.repeat_interleave(3, 1)), rtol=1e-10)
    assert np.abs(o - torchs(lambda a: a.repeat(1, 3, 1, 1))).max() > 0.1


def test_kerass_layer_shares_in_the_same_way(rng):
    """With identities for projections, (features, heads, size) kernels; beside torch it is of single precision."""
    keras = pytest.importorskip("keras")
    q, k, _, _ = case(rng, 2)
    layer = keras.layers.GroupQueryAttention(D, GQ, 2, use_bias=False, dtype="float64")
    x, c = (a.transpose(0, 2, 1, 3).reshape(N, a.shape[2], -1) for a in (q, k))
    layer.build(x.shape, c.shape, c.shape)
    eye = [np.eye(x.shape[-1]).reshape(-1, GQ, D), *2 * [np.eye(c.shape[-1]).reshape(-1, 2, D)]]
    layer.set_weights([*eye, np.eye(x.shape[-1]).reshape(GQ, D, -1)])
    theirs = layer(torch.tensor(x), torch.tensor(c)).detach().numpy()
    o, _ = grouped_query.forward(q, k, k)
    np.testing.assert_allclose(o.transpose(0, 2, 1, 3).reshape(theirs.shape), theirs, rtol=1e-4, atol=1e-5)
