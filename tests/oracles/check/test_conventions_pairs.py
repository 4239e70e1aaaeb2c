"""The conventions listed with the operators that weigh pairs are those of the libraries they name: these are run."""

import numpy as np
import pytest

from visattn.check import changes
from visattn.ops import additive, attention, non_local, spatial_self_attention

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch")

B, G, T, S, D, E = 2, 3, 4, 5, 6, 7


def meant(op, name):
    """The operator as the convention of this name has it, its own or one of a part of it."""
    change, = (c for c in changes.changes_of(op) if (c.name, c.kind) == (name, "convention"))
    return changes.changed(op, change)


def drawn(rng, *shapes):
    return [rng.normal(size=shape) for shape in shapes]


def sdpa(*args, **options):
    return torch.nn.functional.scaled_dot_product_attention(*args, **options)


def with_an_empty_row(rng):
    mask = rng.random((B, 1, T, S)) < 0.6
    mask[..., 0] = True
    mask[1, 0, 2] = False
    return mask


def test_torchs_multihead_attention_ignores_where_true(rng):
    """One head between identities; its gradients, too."""
    q, k, v = drawn(rng, (B, T, D), (B, S, D), (B, S, D))
    ignored = rng.random((T, S)) < 0.4
    ignored[:, 0] = False
    layer = torch.nn.MultiheadAttention(D, 1, bias=False, batch_first=True)
    with torch.no_grad():
        layer.in_proj_weight.copy_(torch.eye(D).repeat(3, 1))
        layer.out_proj.weight.copy_(torch.eye(D))
    tensors = [torch.tensor(a, requires_grad=True) for a in (q, k, v)]
    theirs, _ = layer(*tensors, attn_mask=torch.tensor(ignored))
    do = rng.normal(size=theirs.shape)
    theirs.backward(torch.tensor(do))
    module = meant(attention, "true_is_ignored")
    o, cache = module.forward(q, k, v, mask=ignored)
    np.testing.assert_allclose(o, theirs.detach(), rtol=1e-10, atol=1e-12)
    for ours, tensor in zip(module.backward(do, cache), tensors, strict=True):
        np.testing.assert_allclose(ours, tensor.grad, rtol=1e-10, atol=1e-12)


def test_torchs_lower_right_mask(rng, agree):
    from torch.nn.attention.bias import causal_lower_right

    args = drawn(rng, (B, G, T, D), (B, G, S, D), (B, G, S, E))
    agree(meant(attention, "causal_from_bottom_right"), args, {"causal": "top_left"},
          lambda q, k, v: sdpa(q, k, v, attn_mask=causal_lower_right(T, S)))


@pytest.mark.parametrize("keys", [S, T - 2])
def test_torchs_is_causal_and_jaxs_and_kerass(rng, agree, keys):
    args = drawn(rng, (B, G, T, D), (B, G, keys, D), (B, G, keys, E))
    module = meant(attention, "causal_from_top_left")
    agree(module, args, {"causal": "bottom_right"}, lambda q, k, v: sdpa(q, k, v, is_causal=True))

    keras = pytest.importorskip("keras")
    q, k, v = (torch.tensor(a[:, 0]) for a in args)
    theirs = keras.layers.Attention(dtype="float64")([q, v, k], use_causal_mask=True).numpy()
    ours, _ = module.forward(*(a[:, 0] for a in args), causal="bottom_right", scale=1.0)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)

    jax = pytest.importorskip("jax")
    if keys <= S:
        q, k, v = (a.swapaxes(1, 2) for a in (*args[:2], args[1]))         # jax wants values like keys
        theirs = np.swapaxes(np.asarray(jax.nn.dot_product_attention(q, k, v, is_causal=True)), 1, 2)
        ours, _ = module.forward(args[0], args[1], args[1], causal="bottom_right")
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("how", "name"), [("filled", "empty_rows_are_nan"),
                                           ("added", "empty_rows_are_nan_everywhere")])
def test_softmax_written_out_in_torch_gives_nan(rng, how, name):
    """-∞ filled in: the output's row and dv are NaN, and nothing else.  Added, as in the documentation of
    scaled_dot_product_attention: dq and dk, too."""
    q, k, v = drawn(rng, (B, G, T, D), (B, G, S, D), (B, G, S, E))
    mask = with_an_empty_row(rng)
    tensors = [torch.tensor(a, requires_grad=True) for a in (q, k, v)]
    scores, forbidden = tensors[0] @ tensors[1].mT * D**-0.5, ~torch.tensor(mask)
    if how == "filled":
        scores = scores.masked_fill(forbidden, -torch.inf)
    else:
        scores = scores + torch.zeros(B, 1, T, S).masked_fill(forbidden, -torch.inf)
    theirs = scores.softmax(-1) @ tensors[2]
    do = rng.normal(size=theirs.shape)
    theirs.backward(torch.tensor(do))
    module = meant(attention, name)
    o, cache = module.forward(q, k, v, mask=mask)
    assert np.isnan(o[1, :, 2]).all()
    np.testing.assert_allclose(o, theirs.detach(), rtol=1e-10, atol=1e-12)
    for ours, tensor in zip(module.backward(do, cache), tensors, strict=True):
        np.testing.assert_allclose(ours, tensor.grad, rtol=1e-10, atol=1e-12)


def test_a_lowest_number_added_to_all_scores_of_a_query_gives_the_mean_and_its_gradients(rng, agree):
    """As the masks of transformers, and of keras on torch, are made."""
    mask = with_an_empty_row(rng)
    added = torch.zeros(mask.shape).masked_fill(~torch.tensor(mask), torch.finfo(torch.float32).min)

    def attend(q, k, v):
        return (q @ k.mT * D**-0.5 + added).softmax(-1) @ v

    args = drawn(rng, (B, G, T, D), (B, G, S, D), (B, G, S, E))
    agree(meant(attention, "empty_rows_are_means_with_gradients"), args, {"mask": mask}, attend)


def test_softmax_written_out_in_jax_gives_nan(rng):
    jax = pytest.importorskip("jax")
    q, k, v = drawn(rng, (B, G, T, D), (B, G, S, D), (B, G, S, E))
    mask = with_an_empty_row(rng)
    scores = jax.numpy.where(mask, q @ k.swapaxes(-1, -2) * D**-0.5, -np.inf)
    theirs = np.asarray(jax.nn.softmax(scores, axis=-1) @ v)
    ours, _ = meant(attention, "empty_rows_are_nan").forward(q, k, v, mask=mask)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_jaxs_attention_gives_the_mean_where_no_key_is_left(rng):
    """And its gradients: dv gets a share of the row, dq and dk nothing; to single precision."""
    jax = pytest.importorskip("jax")
    q, k, v, do = drawn(rng, (B, G, T, D), (B, G, S, D), (B, G, S, D), (B, G, T, D))
    mask = with_an_empty_row(rng)

    def theirs(q, k, v):
        turned = (a.swapaxes(1, 2) for a in (q, k, v))
        return jax.nn.dot_product_attention(*turned, mask=mask).swapaxes(1, 2)

    y, pull = jax.vjp(theirs, *(jax.numpy.asarray(a) for a in (q, k, v)))
    module = meant(attention, "masked_row_uniform")
    o, cache = module.forward(q, k, v, mask=mask)
    np.testing.assert_allclose(o, y, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(o[1, :, 2], v[1].mean(1), rtol=1e-10)
    for ours, gradient in zip(module.backward(do, cache), pull(jax.numpy.asarray(do, y.dtype)), strict=True):
        np.testing.assert_allclose(ours, gradient, rtol=1e-3, atol=1e-5)


def test_kerass_attention_gives_the_mean_where_no_key_is_left(rng):
    keras = pytest.importorskip("keras")
    q, k, v = drawn(rng, (B, T, D), (B, S, D), (B, S, E))
    mask = np.ones((B, S), bool)
    mask[1] = False
    theirs = keras.layers.Attention(dtype="float64")(
        [torch.tensor(a) for a in (q, v, k)], mask=[None, torch.tensor(mask)]).numpy()
    ours, _ = meant(attention, "masked_row_uniform").forward(q, k, v, mask=mask[:, None], scale=1.0)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("causal", [None, "top_left"])
def test_jax_reads_heads_after_tokens(rng, causal):
    jax = pytest.importorskip("jax")
    q, k, v, do = drawn(rng, *[(B, G, T, D)] * 4)
    y, pull = jax.vjp(lambda *args: jax.nn.dot_product_attention(*args, is_causal=causal is not None),
                      *(jax.numpy.asarray(a) for a in (q, k, v)))
    module = meant(attention, "heads_after_tokens")
    o, cache = module.forward(q, k, v, causal=causal)
    np.testing.assert_allclose(o, y, rtol=1e-4, atol=1e-5)
    for ours, gradient in zip(module.backward(do, cache), pull(jax.numpy.asarray(do, y.dtype)), strict=True):
        np.testing.assert_allclose(ours, gradient, rtol=1e-3, atol=1e-5)
    assert np.abs(attention.forward(q, k, v, causal=causal)[0] - y).max() > 0.1


def additive_of_keras(rng, mask=None, dtype="float64"):
    keras = pytest.importorskip("keras")
    q, k, v, va = (a.astype(dtype) for a in drawn(rng, (B, T, D), (B, S, D), (B, S, E), (D,)))
    layer = keras.layers.AdditiveAttention(dtype=dtype)
    layer.build([q.shape, v.shape, k.shape])
    layer.set_weights([va])
    theirs = layer([torch.tensor(a) for a in (q, v, k)], mask=None if mask is None else [None, torch.tensor(mask)])
    return (q, k, v), va, theirs.detach().numpy()


def test_kerass_additive_attention_has_no_projections(rng):
    qkv, va, theirs = additive_of_keras(rng)
    wa, ua = drawn(rng, (D, D), (D, D))
    ours, _ = meant(additive, "no_projections").forward(*qkv, wa, ua, va)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_kerass_additive_attention_gives_the_mean_where_no_key_is_left(rng):
    """In single precision, where nothing is left of a score beside -1e9."""
    mask = np.ones((B, S), bool)
    mask[1] = False
    qkv, va, theirs = additive_of_keras(rng, mask, "float32")
    one = np.eye(D, dtype=np.float32)
    ours, _ = meant(additive, "masked_row_uniform").forward(*qkv, one, one, va, mask=mask[:, None])
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("fill", "name"), [(-np.inf, "empty_rows_are_nan"), (-1e9, "masked_row_uniform")])
def test_additive_attention_written_out_in_torch(rng, fill, name):
    """Every gradient: filled scores pass none, and only dv knows of the row."""
    args, options = additive.example(rng)
    tensors = [torch.tensor(a, requires_grad=True) for a in args]
    q, k, v, wa, ua, va, b = tensors
    e = torch.tanh((q @ wa.T)[..., :, None, :] + (k @ ua.T)[..., None, :, :] + b) @ va
    theirs = e.masked_fill(~torch.tensor(options["mask"]), fill).softmax(-1) @ v
    do = rng.normal(size=theirs.shape)
    theirs.backward(torch.tensor(do))
    module = meant(additive, name)
    o, cache = module.forward(*args, **options)
    np.testing.assert_allclose(o, theirs.detach(), rtol=1e-10, atol=1e-12)
    for ours, tensor in zip(module.backward(do, cache), tensors, strict=True):
        np.testing.assert_allclose(ours, tensor.grad, rtol=1e-9, atol=1e-11)


def test_timms_block_is_scaled_by_the_channels_of_x(rng):
    timm = pytest.importorskip("timm.layers")
    block = timm.NonLocalAttn(16, rd_channels=4, use_scale=True).double().eval()
    for name, p in block.named_parameters():
        if p.ndim == 4:
            torch.nn.init.normal_(p)
        elif name.split(".")[0] in ("t", "p", "g", "z"):
            torch.nn.init.zeros_(p)
    torch.nn.init.ones_(block.norm.weight)
    x = rng.normal(size=(2, 16, 3, 4))
    w = {name: p.detach().numpy()[:, :, 0, 0] for name, p in block.named_parameters() if p.ndim == 4}
    w_z = w["z.weight"] / np.sqrt(1 + block.norm.eps)           # its batch normalisation, at rest
    ours, _ = meant(non_local, "scaled_by_channels_of_x").forward(
        x, w["g.weight"], w_z, w["t.weight"], w["p.weight"], form="embedded_gaussian")
    np.testing.assert_allclose(ours, block(torch.from_numpy(x)).detach(), rtol=1e-9, atol=1e-11)


def test_mmcvs_block_is_scaled_by_the_channels_of_theta(rng, agree):
    """Its scores, on its own weights, where mmcv is installed; else the formula that it states."""
    def block(x, w_g, w_z, w_theta, w_phi):
        theta, phi, g = (x.flatten(2).mT @ w.T for w in (w_theta, w_phi, w_g))
        return (sdpa(theta, phi, g) @ w_z.T).mT.unflatten(2, x.shape[2:]) + x

    args = drawn(rng, (2, 5, 3, 4), (3, 5), (5, 3), (3, 5), (3, 5))
    agree(meant(non_local, "scaled"), args, {"form": "embedded_gaussian"}, block)
    mmcv = pytest.importorskip("mmcv.cnn")
    x, w_g, w_z, w_theta, w_phi = map(torch.tensor, args)
    theirs = mmcv.NonLocal2d(5, mode="embedded_gaussian")
    theirs.inter_channels = 3
    for name, w in (("g", w_g), ("conv_out", w_z), ("theta", w_theta), ("phi", w_phi)):
        module = getattr(theirs, name).conv
        module.weight, module.bias = torch.nn.Parameter(w[..., None, None]), None
    torch.testing.assert_close(theirs(x), block(x, w_g, w_z, w_theta, w_phi))


def test_torchs_attention_over_pixels_is_scaled(rng):
    args, _ = spatial_self_attention.example(rng)
    x, w_k, w_q, w_o = map(torch.from_numpy, args)
    tokens = x.flatten(2).mT
    theirs = sdpa(tokens @ w_q.T, tokens @ w_k.T, tokens) @ w_o.T
    ours, _ = meant(spatial_self_attention, "scaled").forward(*args)
    np.testing.assert_allclose(ours, theirs.mT.unflatten(2, x.shape[2:]), rtol=1e-10, atol=1e-12)
