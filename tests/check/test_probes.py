"""Probes read out of a function what it does: of the reference what is meant, of a mistake the mistake."""

import inspect

import numpy as np
import pytest

from visattn import ops, tree
from visattn.check import probes
from visattn.check.changes import changed, mistake
from visattn.check.probes import gates, pairs, primitives, sampling

FAMILIES = (gates, pairs, primitives, sampling)
PROBED = [pytest.param(getattr(ops, name), id=name) for family in FAMILIES for name in family.QUESTIONS]


def ask(op, reference=None, without=()):
    """{name: finding} of probing an operator, and how often it was called."""
    calls = []

    def call(args, options):
        calls.append(1)
        return tree.leaves(op.forward(**args, **options)[0])

    takes = set(inspect.signature((reference or op).forward).parameters) - set(without)
    found = probes.probe(reference or op, call, takes)
    assert len({f.name for f in found}) == len(found)
    return {f.name: f for f in found}, len(calls)


def wrong(op, line, instead, of=None):
    """{name: finding} that are not fine, of an operator with a line of it, or of `of`, changed."""
    change = mistake("a_mistake", line, instead, "It is wrong.")._replace(op=(of or op).__name__)
    found, calls = ask(changed(op, change), op)
    assert calls <= probes.CALLS
    return {name: f for name, f in found.items() if not f.fine}


@pytest.mark.parametrize("probed", PROBED)
def test_of_the_reference_everything_is_fine(probed):
    op = probed
    found, calls = ask(op)
    assert found
    assert calls <= probes.CALLS
    assert [f for f in found.values() if not f.fine] == []
    assert all(f.says.endswith(".") for f in found.values())


@pytest.mark.parametrize("probed", PROBED)
def test_a_function_that_raises_or_gives_nothing_has_no_findings(probed):
    op = probed

    def raises(args, options):
        raise RuntimeError("no")

    takes = set(inspect.signature(op.forward).parameters)
    assert probes.probe(op, raises, takes) == []
    assert probes.probe(op, lambda args, options: None, takes) == []
    assert probes.probe(op, lambda args, options: [np.zeros(1)], takes | {"x"}) is not None
    assert probes.probe(op, raises, set()) == []


def test_an_operator_that_nothing_is_known_of_has_no_findings():
    assert ask(ops.linear) == ({}, 0)


def test_options_that_are_not_taken_are_not_asked_for():
    found, _ = ask(ops.attention, without=("causal", "scale", "softcap", "mask"))
    assert "effective scale" in found
    assert not {"mask", "softcap", "scale that is given", "causal mask, top_left", "nothing to see"} & set(found)


def test_float32_inside_is_fine_too():
    def call(args, options):
        args = {name: np.asarray(a, np.float32) for name, a in args.items()}
        return tree.leaves(op.forward(**args, **options)[0])

    for op in (ops.attention, ops.layernorm, ops.grid_sample, ops.channel_gate, ops.softmax):
        found = probes.probe(op, call, set(inspect.signature(op.forward).parameters))
        assert found
        assert [f for f in found if not f.fine] == []


SCALE = "scale = q.shape[-1] ** -0.5 if scale is None else scale"


@pytest.mark.parametrize(("instead", "law"), [
    ("scale = 1.0 if scale is None else scale", "1"),
    ("scale = 1 / q.shape[-1] if scale is None else scale", "1/D"),
    ("scale = q.shape[-1] ** 0.5 if scale is None else scale", "√D"),
    ("scale = q.shape[-1] ** -0.5 * np.log(2) if scale is None else scale", "ln 2/√D"),
    ("scale = q.shape[-1] ** -0.5 / np.log(2) if scale is None else scale", "log₂e/√D"),
    ("scale = v.shape[-1] ** -0.5 if scale is None else scale", "1/√E"),
    ("scale = (q.shape[-1] * q.shape[-3]) ** -0.5 if scale is None else scale", "1/√(G D)"),
    ("scale = -q.shape[-1] ** -0.5 if scale is None else scale", "-1/√D"),
])
@pytest.mark.parametrize("probed", [ops.attention, ops.grouped_query, ops.multihead], ids=lambda op: op.__name__)
def test_the_law_of_the_scale_is_read(probed, instead, law):
    found = wrong(probed, SCALE, instead, ops.attention)
    assert found["effective scale"].value.startswith(law)
    assert "where 1/√D is meant" in found["effective scale"].says
    assert "scale that is given" not in found


def test_a_scale_that_is_given_is_read():
    found = wrong(ops.attention, SCALE, "scale = q.shape[-1] ** -0.5")
    assert set(found) == {"scale that is given"}
    assert "is ignored" in found["scale that is given"].says
    found = wrong(ops.attention, SCALE, "scale = q.shape[-1] ** -0.5 * (1 if scale is None else scale)")
    assert "once more" in found["scale that is given"].says


CAP = "a = softcap * u"


@pytest.mark.parametrize(("instead", "said"), [("a = u", "caps the scores at 1"), ("a = a", "is ignored")])
def test_a_wrong_cap_is_read(instead, said):
    found = wrong(ops.attention, CAP, instead)
    assert set(found) == {"softcap"}
    assert said in found["softcap"].says


def test_a_cap_that_nobody_asked_for_is_read():
    found = wrong(ops.attention, "a = (scale * q) @ k.swapaxes(-1, -2)",
                  "a = 5 * np.tanh((scale * q) @ k.swapaxes(-1, -2) / 5)")
    assert found["curvature"].value < 0.95


PARTS = 'parts.append(s <= (t if causal == "top_left" else t + S - T))'


@pytest.mark.parametrize(("instead", "corner", "drawn", "said"), [
    ("parts.append(s <= t + S - T)", "top_left", "11100/11110/11111", "bottom right"),
    ("parts.append(s <= t)", "bottom_right", "10000/11000/11100", "top left"),
    ("parts.append(s < (t if causal == 'top_left' else t + S - T))", "top_left", "00000/10000/11000", "one key short"),
    ("parts.append(s <= (t if causal == 'top_left' else t + S - T) + 1)", "top_left", "11000/11100/11110", "too long"),
    ("parts.append(s > (t if causal == 'top_left' else t + S - T))", "top_left", "01111/00111/00011", "turned around"),
    ("pass", "top_left", "11111/11111/11111", "absent"),
])
def test_the_causal_mask_is_drawn(instead, corner, drawn, said):
    found = wrong(ops.attention, PARTS, instead)
    assert found[f"causal mask, {corner}"].value == drawn
    assert said in found[f"causal mask, {corner}"].says
    assert "where 1" in found[f"causal mask, {corner}"].says


WHERE = "p = np.where(mask, x, -np.inf)"


def test_masks_that_hide_the_wrong_keys_or_too_few_are_read():
    found = wrong(ops.attention, WHERE, "p = np.where(mask, x, -10.0)", ops.softmax)
    assert "adds -10" in found["mask"].says
    assert found["causal mask, top_left"].value == "11111/11111/11111"
    assert not found["nothing to see"].fine
    found = wrong(ops.attention, "parts = [] if mask is None else [mask]", "parts = [] if mask is None else [~mask]")
    assert "True hides a key" in found["mask"].says
    found = wrong(ops.attention, "parts = [] if mask is None else [mask]", "parts = []")
    assert "It is ignored" in found["mask"].says


def test_a_transposed_mask_is_read_though_it_only_fits_squares():
    found = wrong(ops.attention, "parts = [] if mask is None else [mask]",
                  "parts = [] if mask is None else [mask.swapaxes(-1, -2)]")
    assert "It is transposed" in found["mask"].says


@pytest.mark.parametrize(("instead", "said"), [
    ("return parts[0] if parts else None", "the mask alone"),
    ("return parts[-1] if parts else None", "causal mask alone"),
    ("return reduce(np.logical_or, parts) if parts else None", "either of them")])
def test_masks_of_which_one_is_lost_are_read(instead, said):
    found = wrong(ops.attention, "return reduce(np.logical_and, parts) if parts else None", instead)
    assert set(found) == {"mask and causal"}
    assert said in found["mask and causal"].says


BIASED = ("p, _ = softmax.forward(a if bias is None else a + bias, mask=allowed) if a.shape[-1] else (a, None)",
          "p, _ = softmax.forward(a if bias is None else {}, mask=allowed)")


@pytest.mark.parametrize(("scores", "said"), [
    ("a", "is ignored"), ("a * bias", "is multiplied with the scores"), ("a + scale * bias", "by the scale, too"),
    ("a - bias", "counts -3")])
def test_a_wrong_bias_is_read(scores, said):
    assert said in wrong(ops.attention, BIASED[0], BIASED[1].format(scores))["bias"].says


def test_what_a_cap_must_not_touch_is_read():
    found = wrong(ops.attention, CAP, "a = softcap * np.tanh((a if bias is None else a + bias) / softcap)\n"
                  "a = a if bias is None else a - bias")
    assert set(found) == {"bias and softcap"}
    found = wrong(ops.attention, "p, _ = softmax.forward(a if bias is None else a + bias, mask=allowed) "
                  "if a.shape[-1] else (a, None)",
                  "a = a if softcap is None or allowed is None else softcap * np.tanh(np.where(allowed, a, -np.inf))\n"
                  "p, _ = softmax.forward(a if bias is None else a + bias, mask=None if softcap else allowed)")
    assert "The cap comes first, then the mask" in found["softcap and mask"].says


@pytest.mark.parametrize(("hidden", "said"), [(-np.inf, "NaN"), (-1e9, "the mean of all values")])
def test_what_a_query_with_no_key_gets_is_read(hidden, said):
    def call(args, options):
        a = args["q"] @ args["k"].swapaxes(-1, -2) / 2
        a = np.where(options.get("mask", True), a, hidden)
        e = np.exp(a - a.max(-1, keepdims=True))
        return [e / e.sum(-1, keepdims=True) @ args["v"]]

    found = {f.name: f for f in probes.probe(ops.attention, call, {"q", "k", "v", "mask"})}
    assert found["nothing to see"].value == said
    assert not found["nothing to see"].fine
    assert found["mask"].fine


def test_softmax_over_the_queries_is_read():
    found = wrong(ops.attention, "o = weigh(p, v, allowed)",
                  "o = weigh(softmax.forward(a, axis=-2)[0], v, allowed)")
    assert "softmax runs over the queries" in found["row sums"].says


def test_what_is_added_to_the_sum_is_read():
    found = wrong(ops.attention, "p /= p.sum(axis, keepdims=True)", "p /= p.sum(axis, keepdims=True) + 1", ops.softmax)
    assert all(0 < x < 0.95 for x in found["row sums"].value)


def test_exponentials_that_overflow_are_read():
    found = wrong(ops.attention, "p = x - x.max(axis, keepdims=True)", "p = x.copy()", ops.softmax)
    assert found["overflow"].value == 710
    found = wrong(ops.attention, "p = x - x.max(axis, keepdims=True)", "p = x.astype(np.float32)", ops.softmax)
    assert found["overflow"].value == 89
    found = wrong(ops.attention, "p = x - x.max(axis, keepdims=True)", "p = x - x.max(axis, keepdims=True, initial=0)",
                  ops.softmax)
    assert set(found) == {"underflow"}


def test_the_heads_that_are_read_are_named():
    found = wrong(ops.grouped_query,
                  "o, heads = attention.forward(q, np.repeat(k, R, axis=1), np.repeat(v, R, axis=1),\n"
                  "mask=mask, causal=causal, scale=scale)",
                  "o, heads = attention.forward(q, np.tile(k, (1, R, 1, 1)), np.tile(v, (1, R, 1, 1)),\n"
                  "                             mask=mask, causal=causal, scale=scale)")
    assert found["key heads"].value == [0, 1, 2, 0, 1, 2]
    assert "not np.tile" in found["key heads"].says


def test_heads_that_are_mixed_are_read():
    found = wrong(ops.multihead, "return x.reshape(N, T, heads, GD // heads).swapaxes(1, 2)",
                  "return x.reshape(N, heads, T, GD // heads)")
    assert not found["one head alone"].fine


def test_examples_that_see_each_other_are_read():
    found = wrong(ops.attention, "o = weigh(p, v, allowed)", "o = weigh(p, v + 0 * v + v.mean(0), allowed)")
    assert "images of a batch" in found["one example alone"].says
    assert "one head alone" not in found


def test_a_leak_is_reported_and_not_held_against_the_function():
    def call(args, options):
        _, cache = ops.attention.forward(args["q"], args["k"], np.nan_to_num(args["v"]), **options)
        return [cache.p @ args["v"]]

    found = {f.name: f for f in probes.probe(ops.attention, call, {"q", "k", "v", "mask"})}
    assert found["masked NaN"].value is True
    assert found["masked NaN"].fine
    assert found["masked 1e30"].value is False


def test_softmax_is_read():
    found = wrong(ops.softmax, "p = x - x.max(axis, keepdims=True)",
                  "p, axis = x - x.max(keepdims=True), (0, 1, 2)[:x.ndim]")
    assert "All weights together" in found["axis"].says
    found = wrong(ops.softmax, "p /= p.sum(axis, keepdims=True)", "p /= p.sum(0, keepdims=True)")
    assert found["axis"].value == 0
    assert "axis = 0" not in found
    found = wrong(ops.log_softmax, "y = a - np.log(np.exp(a).sum(axis, keepdims=True))",
                  "y = (a - np.log2(np.exp2(a).sum(axis, keepdims=True))) * np.log(2)")
    assert found["base"].value == pytest.approx(2)
    found = wrong(ops.softmax, "p = x - x.max(axis, keepdims=True)", "p = x.copy()")
    assert set(found) == {"shift by 1e+05"}
    found = wrong(ops.softmax, "p /= np.where(some, p.sum(axis, keepdims=True), 1)", "p /= p.sum(axis, keepdims=True)")
    assert set(found) == {"nothing left"}


@pytest.mark.parametrize(("probed", "line", "instead", "finding", "said"), [
    (ops.squeeze_excite, "s, _ = sigmoid.forward(h @ w2.T)", "s = h @ w2.T", "gate of nothing", "no sigmoid"),
    (ops.squeeze_excite, "s, _ = sigmoid.forward(h @ w2.T)", "s, _ = sigmoid.forward(sigmoid.forward(h @ w2.T)[0])",
     "gate of nothing", "taken twice"),
    (ops.squeeze_excite, "s, _ = sigmoid.forward(h @ w2.T)", "s = np.clip(h @ w2.T / 6 + 0.5, 0, 1)",
     "range of the gate", "made otherwise"),
    (ops.squeeze_excite, "y = s[:, :, None, None] * x", "y = s[:, :, None, None] * x + x", "gate of nothing",
     "added once more"),
    (ops.squeeze_excite, "z = x.mean(axis=(2, 3))", "z = x.max(axis=(2, 3))", "what is pooled", "where the mean"),
    (ops.squeeze_excite, "z = x.mean(axis=(2, 3))", "z = x[:, :, 0, 0]", "what is pooled", "meant"),
    (ops.channel_gate, "s, _ = sigmoid.forward((h @ w2.T).sum(axis=1))",
     "s = sigmoid.forward(h @ w2.T)[0].sum(axis=1)", "gate of nothing", "two gates are added"),
    (ops.channel_gate, "s, _ = sigmoid.forward((h @ w2.T).sum(axis=1))",
     "s = sigmoid.forward(h @ w2.T)[0].sum(axis=1)", "range of the gate", "two that are added"),
    (ops.channel_gate, "z = np.stack([x.mean(axis=(2, 3)), maxima], axis=1)",
     "z = np.stack([maxima, maxima], axis=1)", "what is pooled", "made from the maximum"),
    (ops.efficient_channel, "s, _ = sigmoid.forward(u @ w)", "s, _ = sigmoid.forward(np.roll(u @ w, 1, 1))",
     "what a gate sees", "00011/11000/11100"),
    (ops.efficient_channel, "s, _ = sigmoid.forward(u @ w)",
     "s, _ = sigmoid.forward(u @ w); y = np.exp(u @ w); s = y / y.sum(1, keepdims=True)", "gate of nothing", "softmax"),
    (ops.spatial_gate, "d = np.stack([x.mean(axis=1), maxima], axis=1)",
     "d = np.stack([x.mean(axis=1), x.mean(axis=1)], axis=1)", "what is pooled", "made from the mean,"),
    (ops.cbam, "y, spatial = spatial_gate.forward(z, w, ties=ties)",
     "y, spatial = spatial_gate.forward(z, w, ties=ties); y = z", "gate of nothing", "one of the two gates"),
])
def test_wrong_gates_are_read(probed, line, instead, finding, said):
    found = wrong(probed, line, instead)
    assert said in found[finding].says


def test_a_gate_that_varies_within_a_channel_is_read():
    found = wrong(ops.squeeze_excite, "y = s[:, :, None, None] * x", "y = s[:, :, None, None] * x ** 2")
    assert not found["one gate a channel"].fine


PLACE = "scale, shift = ((W - 1) / 2, 0) if align_corners else (W / 2, -0.5)"


@pytest.mark.parametrize(("probed", "line", "instead", "finding", "said"), [
    (ops.grid_sample, "u, ug = _place(grid[..., 0], W, padding, align_corners)",
     "u, ug = _place(grid[..., 1], W, padding, align_corners); grid = grid[..., ::-1]", "order of a point", "(y, x)"),
    (ops.grid_sample, PLACE, "scale, shift = W / 2, -0.5",
     "corners, align_corners=True", "outer edges"),
    (ops.grid_sample, PLACE, "scale, shift = W / 2, 0",
     "corners, align_corners=False", "half a pixel too far"),
    (ops.grid_sample, 'if padding != "zeros":', "if True:", "outside, zeros", "the border"),
    (ops.grid_sample, 'if padding == "reflection":', "if False:", "outside, reflection", "the border, where"),
    (ops.grid_sample, "m = np.floor(u) + np.arange(2, dtype=u.dtype, like=u).reshape(2, 1, 1, 1)",
     "m = np.trunc(u) + np.arange(2, dtype=u.dtype, like=u).reshape(2, 1, 1, 1)", "outside, zeros", "the edge"),
    (ops.grid_sample, "m = np.rint(u)[None]", "m = np.floor(u)[None]",
     "between pixels, nearest", "1, 1, 1, 1 is meant"),
    (ops.grid_sample, "low, span = (0, max(W - 1, 1)) if align_corners else (-0.5, W)", "low, span = -0.5, W",
     "outside, reflection, align_corners=True", "is meant"),
    (ops.grid_sample, 'if mode == "nearest":', "if True:", "between pixels, bilinear", "that is nearest"),
    (ops.grid_sample, "k = np.stack([m[1] - u, u - m[0]])", "k = np.stack([u - m[0], m[1] - u])",
     "between pixels, bilinear", "0.75, 0.75, 0.5625, 0.75 is meant"),
    (ops.affine_grid, "target = np.stack([*np.broadcast_arrays(x, y[:, None]), np.ones_like(x + y[:, None])], axis=-1)",
     "target = np.stack([*np.broadcast_arrays(y[:, None], x), np.ones_like(x + y[:, None])], axis=-1)",
     "order of a point", "(y, x)"),
    (ops.affine_grid, "return 2 * j / max(n - 1, 1) - (n > 1) if align_corners else (2 * j + 1) / n - 1",
     "return 2 * j / max(n - 1, 1) - (n > 1)", "corners, align_corners=False", "the centres of the outermost"),
    (ops.glimpse, "j = 2 * np.arange(n, dtype=like.dtype, like=like) + (1 - n)",
     "j = 2 * np.arange(n, dtype=like.dtype, like=like) - n", "middle", "column 3.5"),
    (ops.glimpse, "grid = loc[:, None, None] + _offsets(size * s, H, W, like=loc)",
     "grid = loc[:, None, None, ::-1] + _offsets(size * s, H, W, like=loc)", "order of a point", "(y, x)"),
    (ops.glimpse,
     "patch, look = grid_sample.forward(x, grid, align_corners=False)",
     "patch, look = grid_sample.forward(x, loc[:, None, None] + (grid - loc[:, None, None]) * s, align_corners=False)",
     "widths of the patches", "where 1 and 2"),
    (ops.layernorm, "c = x - x.mean(-1, keepdims=True)", "c = x - x.mean(1, keepdims=True)", "normalised over",
     "where each token over its features"),
    (ops.layernorm, "rstd = 1 / np.sqrt((c * c).mean(-1, keepdims=True) + eps)",
     "rstd = 1 / np.sqrt((c * c).sum(-1, keepdims=True) / (c.shape[-1] - 1) + eps)", "variance", "less one"),
    (ops.layernorm, "rstd = 1 / np.sqrt((c * c).mean(-1, keepdims=True) + eps)",
     "rstd = 1 / (np.sqrt((c * c).mean(-1, keepdims=True)) + eps)", "eps", "added to the root"),
    (ops.layernorm, "rstd = 1 / np.sqrt((c * c).mean(-1, keepdims=True) + eps)",
     "rstd = 1 / np.sqrt((c * c).mean(-1, keepdims=True) + 1e-3)", "eps", "0.001, where 1e-05"),
    (ops.layernorm, "y = g * n + b", "y = g * (n + b)", "scale and shift", "2 n + 6"),
    (ops.batchnorm, "n = (x - mean[:, None, None]) * rstd[:, None, None]",
     "n = (x - x.mean((2, 3), keepdims=True)) / np.sqrt(x.var((2, 3), keepdims=True) + eps)",
     "normalised over", "each channel of each image"),
    (ops.batchnorm, "var = ((x - mean[:, None, None]) ** 2).sum(NHW) / m",
     "var = ((x - mean[:, None, None]) ** 2).sum(NHW) / (m - 1)", "variance", "less one"),
    (ops.spatial_self_attention, "mean, c_mean = attention.forward(q, k, tokens, scale=1)",
     "mean, c_mean = attention.forward(q, k, tokens, scale=1); mean = 3 * mean", "weights of a plain image", "3 times"),
])
def test_wrong_samplers_and_norms_are_read(probed, line, instead, finding, said):
    found = wrong(probed, line, instead)
    assert said in found[finding].says
