"""Laws that need no reference hold for what is right, at any size, and break for what is wrong."""

import numpy as np
import pytest

from visattn import models, ops, tree
from visattn.check import identities
from visattn.check.changes import changed, mistake

KNOWN = [pytest.param(getattr(ops, name), id=name) for name in identities.LAWS]


def calling(op, dtype="float64", gradient=True):
    def call(args, options, dy):
        given = [tree.cast(a, dtype) for a in args.values()]
        y, cache = op.forward(*given, **options)
        if dy is None or not gradient:
            return tree.leaves(y), None
        return tree.leaves(y), op.backward(np.asarray(dy[0], dtype), cache)

    return call


def broken(op, line, instead, of=None, sizes=None, precision="float32"):
    """Names of the laws that an operator breaks with a line of it, or of `of`, changed."""
    change = mistake("a_mistake", line, instead, "It is wrong.")._replace(op=(of or op).__name__)
    found = identities.check(op, calling(changed(op, change), precision), sizes, precision)
    assert found
    return {f.name.partition(" (")[0] for f in found if not f.fine}


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("known", KNOWN)
def test_every_law_holds_for_the_reference(known, precision):
    for seed in range(3):
        found = identities.check(known, calling(known, precision), None, precision, np.random.default_rng(seed))
        assert found
        assert [f for f in found if not f.fine] == []


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_laws_hold_at_sizes_for_which_nobody_wants_a_reference(precision):
    sizes = {"T": 512, "S": 512, "D": 64, "E": 64}
    for op in (ops.attention, ops.grouped_query, ops.layernorm, ops.softmax, ops.linear):
        found = identities.check(op, calling(op, precision), sizes, precision)
        assert found
        assert [f for f in found if not f.fine] == []
    sizes = {"C": 32, "H": 40, "W": 56}
    for op in (ops.conv2d, ops.batchnorm, ops.channel_gate, ops.grid_sample):
        assert all(f.fine for f in identities.check(op, calling(op, precision), sizes, precision))


TILE = 16


def in_tiles(bug=""):
    """Attention as fused kernels compute it, in float32: tile by tile, and p once more in the backward pass."""

    def call(args, options, dy):
        q, k, v = (a.astype(np.float32) for a in args.values())
        (T, D), S = q.shape[-2:], k.shape[-2]
        mask = np.broadcast_to(options.get("mask", True), (1, 1, T, S))
        mask = mask & np.tri(T, S, dtype=bool) if options.get("causal") else mask
        scale, hidden = np.float32(D ** -0.5), np.float32(-np.inf)
        o, m, total = np.zeros((*q.shape[:-1], v.shape[-1]), np.float32), np.float32(-1e30), np.float32(0)
        for s in range(0, S - TILE if bug == "tail" else S, TILE):
            a = np.where(mask[..., s:s + TILE], scale * (q @ k[..., s:s + TILE, :].swapaxes(-1, -2)), hidden)
            new = np.maximum(m, a.max(-1, keepdims=True))
            e, keep = np.exp(a - new), np.exp(m - new)
            total = (total if bug == "sum not rescaled" else total * keep) + e.sum(-1, keepdims=True)
            o = (o if bug == "output not rescaled" else o * keep) + e @ v[..., s:s + TILE, :]
            o = o / total if bug == "divided in every tile" else o
            m = a.max(-1, keepdims=True) if bug == "maximum of the last tile" else new
        if bug == "one more in the sum":
            total = total + 1
        if bug not in ("divided in every tile", "not divided"):
            o = o / total
        if dy is None:
            return [o], None
        do, shown = dy[0].astype(np.float32), True if bug == "mask missing in backward" else mask
        lse = m + {"log of the wrong base": np.log2}.get(bug, np.log)(total)
        lse = m if bug == "p not divided in backward" else lse
        p = np.exp(np.where(shown, scale * (q @ k.swapaxes(-1, -2)), hidden) - lse)
        dp, mean = do @ v.swapaxes(-1, -2), (do * o).sum(-1, keepdims=True)
        da = p * dp - mean if bug == "precedence" else p * dp if bug == "no mean" else p * (dp - mean)
        dq = da[..., TILE:] @ k[..., TILE:, :] if bug == "a lost block" else da @ k
        dk, dv = da.swapaxes(-1, -2) @ q, p.swapaxes(-1, -2) @ do
        return [o], (scale * dq, dk if bug == "dk without scale" else scale * dk, dv)

    return call


LARGE = {"T": 256, "S": 320, "D": 32}


@pytest.mark.parametrize("sizes", [None, LARGE])
def test_an_honest_attention_in_tiles_keeps_the_laws(sizes):
    found = identities.check(ops.attention, in_tiles(), sizes, "float32")
    assert len(found) > 15
    assert [f for f in found if not f.fine] == []


@pytest.mark.parametrize("sizes", [None, LARGE])
@pytest.mark.parametrize("bug", [
    "tail", "sum not rescaled", "output not rescaled", "divided in every tile", "maximum of the last tile",
    "one more in the sum", "not divided", "mask missing in backward", "log of the wrong base",
    "p not divided in backward", "precedence", "no mean", "a lost block", "dk without scale"])
def test_every_bug_of_the_tiles_breaks_a_law(bug, sizes):
    found = identities.check(ops.attention, in_tiles(bug), sizes, "float32")
    assert [f.name for f in found if not f.fine]


DA, DQ = "da, = softmax.backward(dp, softmax.Cache(p, mask, -1))", "dq = scale * weigh(da, k, mask)"
DK, DV = "dk = scale * weigh(da.swapaxes(-1, -2), q, turned)", "dv = weigh(p.swapaxes(-1, -2), do, turned)"
SUM, WEIGH = "p /= p.sum(axis, keepdims=True)", "o = weigh(p, v, allowed)"


@pytest.mark.parametrize("sizes", [None, {"T": 256, "S": 256, "D": 32, "E": 32}])
@pytest.mark.parametrize(("line", "instead", "laws"), [
    (DA, "da = p * dp", {"Σ dk = 0"}),
    (DA, "da = p * (dp - dp.mean(-1, keepdims=True))", {"Σ dk = 0"}),
    (DA, "da = p * dp - (dp * p).sum(-1, keepdims=True)", {"Σ dk = 0"}),
    (DQ, "dq = weigh(da, k, mask)", {"⟨q, dq⟩ = ⟨k, dk⟩"}),
    (DQ, "dq = scale * scale * weigh(da, k, mask)", {"⟨q, dq⟩ = ⟨k, dk⟩"}),
    (DK, "dk = weigh(da.swapaxes(-1, -2), q, turned)", {"⟨q, dq⟩ = ⟨k, dk⟩"}),
    (DK, "dk = -scale * weigh(da.swapaxes(-1, -2), q, turned)", {"⟨q, dq⟩ = ⟨k, dk⟩"}),
    (DQ, "S = k.shape[-2] // 2; dq = scale * (da[..., :S] @ k[..., :S, :])", {"⟨q, dq⟩ = ⟨k, dk⟩"}),
    (DV, "dv = weigh(np.exp2(np.log(p + 1e-30)).swapaxes(-1, -2), do, turned)", {"Σ dv = Σ do", "⟨o, do⟩ = ⟨v, dv⟩"}),
    (DV, "dv = 1.01 * weigh(p.swapaxes(-1, -2), do, turned)", {"Σ dv = Σ do", "⟨o, do⟩ = ⟨v, dv⟩"}),
    (DV, "dv = weigh((p * p).swapaxes(-1, -2), do, turned)", {"Σ dv = Σ do", "⟨o, do⟩ = ⟨v, dv⟩"}),
    (WEIGH, "o = p[..., :-1] @ v[..., :-1, :] / p[..., :-1].sum(-1, keepdims=True)",
     {"order of the keys"}),
    (WEIGH, "o = weigh(p, v, allowed); o = o * (1 - 1e-3)", {"ones stay ones", "⟨o, do⟩ = ⟨v, dv⟩"}),
    ("a = (scale * q) @ k.swapaxes(-1, -2)", "a = (scale * q) @ abs(k).swapaxes(-1, -2)", {"k + c"}),
])
def test_broken_attention_breaks_a_law(line, instead, laws, sizes):
    assert laws <= broken(ops.attention, line, instead, sizes=sizes)


def test_weights_that_do_not_sum_to_one_break_a_law():
    assert "ones stay ones" in broken(ops.attention, SUM, "p /= p.sum(axis, keepdims=True) + 1e-2", ops.softmax)


def test_a_mask_that_backward_forgets_breaks_a_law():
    change = "p = np.exp(q @ k.swapaxes(-1, -2) * scale); p /= p.sum(-1, keepdims=True); " + DV
    assert {"⟨o, do⟩ = ⟨v, dv⟩"} <= broken(ops.attention, DV, change)


def test_groups_that_are_added_otherwise_break_a_law():
    assert broken(ops.grouped_query, "return d.reshape(N, G, Gq // G, S, D).sum(2)",
                  "return d.reshape(N, Gq // G, G, S, D).sum(1)")
    assert broken(ops.grouped_query, "return d.reshape(N, G, Gq // G, S, D).sum(2)",
                  "return d.reshape(N, G, Gq // G, S, D)[:, :, 0].copy()")


def test_another_scale_is_another_attention_and_breaks_no_law():
    line = "scale = q.shape[-1] ** -0.5 if scale is None else scale"
    assert broken(ops.attention, line, "scale = 1.0 if scale is None else scale") == set()
    assert broken(ops.attention, line, "scale = 1 / q.shape[-1]") == set()


@pytest.mark.parametrize(("known", "line", "instead"), [
    (ops.softmax, SUM, "p /= p.sum(0, keepdims=True)"),
    (ops.softmax, "dx = dp - np.expand_dims(mean, axis)", "dx = dp.copy()"),
    (ops.log_softmax, "dx = dy - np.exp(y) * dy.sum(axis, keepdims=True)",
     "dx = dy - np.exp(y) * dy.mean(axis, keepdims=True)"),
    (ops.cross_entropy, "dlogits = (p - t.astype(p.dtype)) * (dy / max(N, 1))", "dlogits = p * (dy / max(N, 1))"),
    (ops.layernorm, "dx = rstd * (dn - dn.mean(-1, keepdims=True) - n * (dn * n).mean(-1, keepdims=True))",
     "dx = rstd * (dn - n * (dn * n).mean(-1, keepdims=True))"),
    (ops.layernorm, "dx = rstd * (dn - dn.mean(-1, keepdims=True) - n * (dn * n).mean(-1, keepdims=True))",
     "dx = rstd * (dn - dn.mean(-1, keepdims=True))"),
    (ops.layernorm, "rstd = 1 / np.sqrt((c * c).mean(-1, keepdims=True) + eps)",
     "rstd = 1 / np.sqrt((c * c).sum(-1, keepdims=True) / (c.shape[-1] - 1) + eps)"),
    (ops.layernorm, "dg = (dy * n).reshape(-1, len(g)).sum(0)", "dg = (dy * n).reshape(-1, len(g)).mean(0)"),
    (ops.batchnorm, "db = dy.sum(NHW)", "db = dy.sum(NHW) * 1.01"),
    (ops.batchnorm, "dy = dy - (db / m)[:, None, None] - n * (dg / m)[:, None, None]",
     "dy = dy - (db / m)[:, None, None]"),
    (ops.linear, "dx = dy @ w", "dx = dy @ abs(w)"),
    (ops.linear, "y = x @ w.T if b is None else x @ w.T + b", "y = x @ w.T + 1e-3"),
    (ops.conv2d, "dw += dwu @ u.swapaxes(1, 2)", "dw += dwu @ u[..., ::-1, :].swapaxes(1, 2)"),
    (ops.conv2d, "tap += du[:, k]", "tap += du[:, -1 - k]"),
    (ops.depthwise, "tap += wk[:, k] * dy", "tap += wk[:, 0] * dy"),
    (ops.average_pool2d, "share = dy / area", "share = dy"),
    (ops.global_max_pool2d, "return (share(dy, wins, axis=(2, 3)),)",
     "return (share(dy, wins | True, axis=(2, 3)) * 1.5,)"),
    (ops.relu, "return (np.where(y > 0, dy, 0),)", "return (dy,)"),
    (ops.dropout, "return (np.where(mask, dy / (1 - rate), 0),)", "return (np.where(mask, dy, 0),)"),
    (ops.embedding, "np.add.at(dw, ids, dy)", "dw[ids] = dy"),
    (ops.grid_sample, "k = np.stack([m[1] - u, u - m[0]])", "k = np.stack([m[1] - u, u - m[0]]) ** 2"),
    (ops.grid_sample, "dx = dframed[:, :, 1:-1, 1:-1].swapaxes(0, 1)", "dx = dframed[:, :, 1:-1, :-2].swapaxes(0, 1)"),
    (ops.affine_grid, 'dtheta = np.einsum("nhwi,hwj->nij", dgrid, target)',
     'dtheta = np.einsum("nhwi,hwj->nij", dgrid, target[::-1])'),
    (ops.glimpse, "dpatch = (dy[:, k] / s ** 2).repeat(s, axis=2).repeat(s, axis=3)",
     "dpatch = (2 * dy[:, k] / s ** 2).repeat(s, axis=2).repeat(s, axis=3)"),
    (ops.squeeze_excite, "da = (db @ w2) * (h > 0)", "da = db @ w2"),
    (ops.squeeze_excite, "dw2 = db.T @ h", "dw2 = 2 * db.T @ h"),
    (ops.squeeze_excite, "z = x.mean(axis=(2, 3))", "z = x[:, :, 1:].mean(axis=(2, 3))"),
    (ops.squeeze_excite, "ds = (dy * x).sum(axis=(2, 3))", "ds = abs(dy * x).sum(axis=(2, 3))"),
    (ops.channel_gate, "s, _ = sigmoid.forward((h @ w2.T).sum(axis=1))",
     "s = sigmoid.forward(h @ w2.T)[0].sum(axis=1)"),
    (ops.channel_gate, "dw2 = db.T @ h.sum(axis=1)", "dw2 = db.T @ h[:, 0]"),
    (ops.efficient_channel, "s, _ = sigmoid.forward(u @ w)", "s = u @ w"),
    (ops.spatial_gate, "y = s * x", "y = s * x * s.mean() + 0 * x + x.max()"),
    (ops.cbam, "y, spatial = spatial_gate.forward(z, w, ties=ties)",
     "y, spatial = spatial_gate.forward(z, w, ties=ties); y = y + x"),
    (ops.multihead, "dx, dw_q, *db_q = linear.backward(merge(dq), cache.q)",
     "dx, dw_q, *db_q = linear.backward(merge(2 * dq), cache.q)"),
    (ops.multihead, "dh, dw_o, *db_o = linear.backward(dy, cache.y)",
     "dh, dw_o, *db_o = linear.backward(dy, cache.y); dw_o = dw_o / 2"),
    (ops.spatial_self_attention, "dtokens_k, dw_k = linear.backward(dk, cache.k)",
     "dtokens_k, dw_k = linear.backward(-dk, cache.k)"),
    (ops.non_local, "return da @ phi, da.swapaxes(1, 2) @ theta", "return da @ phi, da @ theta"),
    (ops.additive, "dv = weigh(p.swapaxes(-1, -2), do, turned)", "dv = 2 * weigh(p.swapaxes(-1, -2), do, turned)"),
])
def test_what_is_wrong_breaks_a_law(known, line, instead):
    assert broken(known, line, instead)


def test_without_a_gradient_only_the_laws_of_the_output_are_told():
    found = identities.check(ops.softmax, calling(ops.softmax, gradient=False), precision="float64")
    assert [f.name for f in found] == ["rows sum to 1", "x + c"]
    with_gradient = {f.name for f in identities.check(ops.attention, calling(ops.attention), precision="float64")}
    without = identities.check(ops.attention, calling(ops.attention, gradient=False), precision="float64")
    assert {f.name for f in without} < with_gradient


def test_nothing_is_said_of_what_has_no_law_or_does_not_answer():
    def raises(args, options, dy):
        raise RuntimeError("no")

    assert identities.check(ops.gelu, calling(ops.gelu)) == []
    for known in identities.LAWS:
        assert identities.check(getattr(ops, known), raises) == []
        assert identities.check(getattr(ops, known), lambda args, options, dy: None) == []


def test_not_a_number_keeps_no_law():
    found = identities.check(ops.relu, lambda args, options, dy: ([args["x"] * np.nan], (args["x"],)))
    assert found
    assert not any(f.fine for f in found)


def coarse(a):
    """float32 with the digits of bfloat16."""
    bits = np.asarray(a, np.float32).view(np.uint32)
    return ((bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)).view(np.float32)


def test_coarse_arithmetic_keeps_the_laws_of_its_precision_and_not_those_of_a_finer_one():
    def call(args, options, dy):
        (y,), grads = calling(ops.attention, "float32")(args, options, dy)
        return [coarse(y)], grads and tuple(coarse(a) for a in grads)

    assert all(f.fine for f in identities.check(ops.attention, call, precision="bfloat16"))
    finer = identities.check(ops.attention, call, precision="float32")
    assert {f.name for f in finer if not f.fine} >= {"Σ dv = Σ do"}


def test_what_is_given_is_exact_in_the_coarsest_precision():
    seen = []

    def call(args, options, dy):
        seen.extend([*args.values(), *(dy or [])])
        return calling(ops.attention)(args, options, dy)

    identities.check(ops.attention, call, precision="bfloat16")
    for a in seen:
        as_bits = np.ascontiguousarray(a, np.float32).view(np.uint32)
        np.testing.assert_array_equal(a, np.asarray(a, np.float32))
        assert not (as_bits & 0xFFFF).any()


# The gradient and its own forward pass.


@pytest.mark.parametrize("known", [ops.attention, ops.layernorm, ops.squeeze_excite, ops.grid_sample, ops.gelu])
def test_a_right_gradient_is_consistent(known):
    args, options = known.example(np.random.default_rng(0))
    named = dict(zip(identities.gradcheck.argument_names(known, args), args))
    found = identities.consistent(calling(known), named, options)
    assert list(found) == list(named)
    assert all(ok for ok, _ in found.values())
    assert all(error < 1e-7 for _, error in found.values())


def attention_args():
    (q, k, v, _), _ = ops.attention.example(np.random.default_rng(0))
    return {"q": q, "k": k, "v": v}


def test_a_gradient_may_be_right_for_a_wrong_forward():
    change = mistake("unscaled", "scale = q.shape[-1] ** -0.5 if scale is None else scale", "scale = 1.0", "No.")
    found = identities.consistent(calling(changed(ops.attention, change)), attention_args())
    assert all(ok for ok, _ in found.values())


def test_a_wrong_gradient_is_named_by_its_argument():
    found = identities.consistent(calling(changed(ops.attention, mistake("m", DQ, "dq = weigh(da, k, mask)", "No."))),
                                  attention_args())
    assert [name for name, (ok, _) in found.items() if not ok] == ["q"]
    assert found["q"][1] > 0.1


def test_one_wrong_element_does_not_hide():
    change = mistake("m", "return (dy * y * (1 - y),)",
                     "dx = dy * y * (1 - y); dx.flat[7] *= 1 + 2e-5; return (dx,)", "")
    x = np.random.default_rng(0).normal(size=(8, 8))
    found = identities.consistent(calling(changed(ops.sigmoid, change)), {"x": x})
    assert not found["x"][0]


def test_a_gradient_of_zeros_is_inconsistent_and_none_is_left_out():
    def call(args, options, dy):
        return [args["x"] * args["w"]], (np.zeros_like(args["x"]), None)

    x = np.random.default_rng(0).normal(size=(3, 4))
    found = identities.consistent(call, {"x": x, "w": x})
    assert list(found) == ["x"]
    assert not found["x"][0]
    assert identities.consistent(lambda *_: None, {"x": x}) == {}


def test_trees_of_weights_are_moved_too():
    args, options = models.encoder_block.example(np.random.default_rng(0))
    found = identities.consistent(calling(models.encoder_block), dict(zip(("x", "p"), args)), options)
    assert all(ok for ok, _ in found.values())
    assert list(found) == ["x", "p"]
