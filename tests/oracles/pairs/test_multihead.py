"""Multi-head attention against torch and keras; the maps between their weights and ours."""

import numpy as np
import pytest

from visattn.ops import multihead

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers

N, T, S, C, G, D = 2, 3, 4, 5, 2, 3
I = G * D                                                       # torch: one head has embed_dim / heads features


def tensor(a, grad=False):
    return torch.tensor(a, requires_grad=grad)


def make_torch(rng, *, C=C, bias=True):
    peer = torch.nn.MultiheadAttention(I, G, bias=bias, kdim=C, vdim=C, batch_first=True)
    with torch.no_grad():
        for p in peer.parameters():
            p.copy_(tensor(rng.normal(size=tuple(p.shape))))
    return peer


def torch_weights(peer, name="data"):
    """Its parameters (or their gradients, name="grad") in our order; b_k apart."""
    def get(p):
        return getattr(p, name).detach().numpy()

    packed = peer.in_proj_weight
    w = np.split(get(packed), 3) if packed is not None else [
        get(p) for p in (peer.q_proj_weight, peer.k_proj_weight, peer.v_proj_weight)]
    if peer.in_proj_bias is None:
        return [*w, get(peer.out_proj.weight)], None
    b_q, b_k, b_v = np.split(get(peer.in_proj_bias), 3)
    return [*w, get(peer.out_proj.weight), b_q, b_v, get(peer.out_proj.bias)], b_k


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("masked", [False, True])
def test_cross_attention_is_torchs(rng, bias, masked):
    peer, x, c = make_torch(rng, bias=bias), rng.normal(size=(N, T, I)), rng.normal(size=(N, S, C))
    mask = rng.random((N, 1, T, S)) < 0.6
    mask[..., 0] = True                                         # it gives NaN where no key is left
    weights, _ = torch_weights(peer)
    y, cache = multihead.forward(x, c, *weights, heads=G, mask=mask if masked else None)
    dy = rng.normal(size=y.shape)
    ours = multihead.backward(dy, cache)

    tx, tc = tensor(x, grad=True), tensor(c, grad=True)
    turned = tensor(~mask.repeat(G, 1).reshape(N * G, T, S)) if masked else None
    ty, tp = peer(tx, tc, tc, attn_mask=turned, average_attn_weights=False)
    ty.backward(tensor(dy))
    np.testing.assert_allclose(y, ty.detach().numpy(), rtol=1e-10)
    np.testing.assert_allclose(cache.p, tp.detach().numpy(), rtol=1e-10)
    theirs, db_k = torch_weights(peer, "grad")
    for got, want in zip(ours, (tx.grad.numpy(), tc.grad.numpy(), *theirs), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12)
    if bias:
        assert np.abs(db_k).max() < 1e-13                       # why ours has no b_k


@pytest.mark.parametrize("causal", [None, "top_left"])
def test_self_attention_is_torchs_with_packed_weights(rng, causal):
    peer, x = make_torch(rng, C=I), rng.normal(size=(N, T, I))
    weights, _ = torch_weights(peer)
    y, cache = multihead.forward(x, x, *weights, heads=G, causal=causal)
    dy = rng.normal(size=y.shape)
    dx, dcontext, *ours = multihead.backward(dy, cache)

    tx = tensor(x, grad=True)
    mask = None if causal is None else ~torch.ones(T, T).tril().bool()
    ty, _ = peer(tx, tx, tx, attn_mask=mask, need_weights=False)
    ty.backward(tensor(dy))
    np.testing.assert_allclose(y, ty.detach().numpy(), rtol=1e-10)
    np.testing.assert_allclose(dx + dcontext, tx.grad.numpy(), rtol=1e-10, atol=1e-12)
    for got, want in zip(ours, torch_weights(peer, "grad")[0], strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12)


def test_torchs_key_padding_mask_means_the_opposite(rng):
    peer, x, c = make_torch(rng), rng.normal(size=(N, T, I)), rng.normal(size=(N, S, C))
    keep = np.array([[True, True, True, False], [True, False, True, True]])
    weights, _ = torch_weights(peer)
    y, _ = multihead.forward(x, c, *weights, heads=G, mask=keep[:, None, None])
    same, _ = peer(tensor(x), tensor(c), tensor(c), key_padding_mask=tensor(~keep))
    other, _ = peer(tensor(x), tensor(c), tensor(c), key_padding_mask=tensor(keep))
    np.testing.assert_allclose(y, same.detach().numpy(), rtol=1e-10)
    assert np.abs(y - other.detach().numpy()).max() > 0.1


def test_torch_gives_nan_where_no_key_is_left_and_we_the_bias_of_the_output(rng):
    peer, x, c = make_torch(rng), rng.normal(size=(N, T, I)), rng.normal(size=(N, S, C))
    mask = np.ones((N, 1, T, S), bool)
    mask[1, 0, 2] = False
    weights, _ = torch_weights(peer)
    y, _ = multihead.forward(x, c, *weights, heads=G, mask=mask)
    theirs, _ = peer(tensor(x), tensor(c), tensor(c), attn_mask=tensor(~mask.repeat(G, 1).reshape(N * G, T, S)))
    theirs = theirs.detach().numpy()
    np.testing.assert_array_equal(y[1, 2], weights[-1])
    assert np.isnan(theirs[1, 2]).all()
    np.testing.assert_allclose(y[0], theirs[0], rtol=1e-10)
    np.testing.assert_allclose(y[1, :2], theirs[1, :2], rtol=1e-10)


def make_keras(rng, E=4, O=7):
    keras = pytest.importorskip("keras")
    peer = keras.layers.MultiHeadAttention(G, D, value_dim=E, output_shape=O, dtype="float64")
    peer.build((N, T, 8), (N, S, C), (N, S, C))
    peer.set_weights([rng.normal(size=w.shape) for w in peer.weights])
    return peer, rng.normal(size=(N, T, 8)), rng.normal(size=(N, S, C))


def keras_weights(arrays):
    """Its kernels, (features, heads, size) and (heads, size, features), with a row for each output; b_k apart."""
    q, b_q, k, b_k, v, b_v, o, b_o = arrays
    w_q, w_k, w_v = (u.reshape(len(u), -1).T for u in (q, k, v))
    return [w_q, w_k, w_v, o.reshape(-1, o.shape[-1]).T, b_q.ravel(), b_v.ravel(), b_o], b_k


@pytest.mark.parametrize("masked", [False, True])
def test_agrees_with_keras_where_key_and_value_sizes_differ(rng, masked):
    peer, x, c = make_keras(rng)
    mask = rng.random((N, T, S)) < 0.6
    mask[1, 2] = False                                          # keras too gives the bias of the output, on this path
    weights, _ = keras_weights([w.value.detach().numpy() for w in peer.weights])
    y, cache = multihead.forward(x, c, *weights, heads=G, mask=mask[:, None] if masked else None)
    dy = rng.normal(size=y.shape)
    ours = multihead.backward(dy, cache)

    tx, tc = tensor(x, grad=True), tensor(c, grad=True)
    ty, tp = peer(tx, tc, attention_mask=tensor(mask) if masked else None, return_attention_scores=True)
    ty.backward(tensor(dy))
    theirs, db_k = keras_weights([w.value.grad.numpy() for w in peer.weights])
    np.testing.assert_allclose(y, ty.detach().numpy(), rtol=1e-10)
    np.testing.assert_allclose(cache.p, tp.detach().numpy(), rtol=1e-10)
    for got, want in zip(ours, (tx.grad.numpy(), tc.grad.numpy(), *theirs), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12)
    assert np.abs(db_k).max() < 1e-13


def test_kerass_fused_path_averages_all_values_where_no_key_is_left(rng):
    """And works in single precision, whatever it is given."""
    peer, x, c = make_keras(rng)
    mask = np.ones((N, T, S), bool)
    mask[1, 2] = False
    weights, _ = keras_weights([w.value.detach().numpy() for w in peer.weights])
    y, _ = multihead.forward(x, c, *weights, heads=G, mask=mask[:, None])
    theirs = peer(tensor(x), tensor(c), attention_mask=tensor(mask)).detach().numpy()
    *_, w_v, w_o, _, b_v, b_o = weights
    np.testing.assert_allclose(theirs[1, 2], (c[1].mean(0) @ w_v.T + b_v) @ w_o.T + b_o, rtol=1e-5)
    np.testing.assert_array_equal(y[1, 2], b_o)
    np.testing.assert_allclose(y[0], theirs[0], rtol=1e-4)
    np.testing.assert_allclose(y[1, :2], theirs[1, :2], rtol=1e-4)
