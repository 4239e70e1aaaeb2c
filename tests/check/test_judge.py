"""Verdicts: what is right passes, what is wrong is said for what it is: a promise, a precision, a mistake by name."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from visattn import ops
from visattn.check import changes, conclusion, run
from visattn.check.runner import Limits
from visattn.check.verdicts import ORDER


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def attention(q, k, v):
    p = softmax(q @ k.swapaxes(-1, -2) * q.shape[-1] ** -0.5)
    return p @ v, (q, k, v, p)


def attention_backward(do, cache):
    q, k, v, p = cache
    dp = do @ v.swapaxes(-1, -2)
    ds = p * (dp - (dp * p).sum(-1, keepdims=True)) * q.shape[-1] ** -0.5
    return ds @ k, ds.swapaxes(-1, -2) @ q, p.swapaxes(-1, -2) @ do


def part(report, name="y"):
    return next(p for p in report.parts if p.name == name)


def test_a_right_function_passes_in_every_part():
    report = run("attention", attention, attention_backward)
    assert report.passed
    assert report.verdict == "pass"
    assert [(p.name, p.verdict) for p in report.parts] == [(n, "pass") for n in ("y", "dq", "dk", "dv")]
    assert report.precisions == ("float64", "float32")
    assert all(p.ratio <= 1 for p in report.parts)
    assert sum("no bias" in note for note in report.notes) == 1             # said once, though in two precisions


def test_the_reference_is_right():
    assert run("squeeze_excite", ops.squeeze_excite).passed


def test_a_missing_row_sum_is_named_once_for_both_gradients():
    def backward(do, cache):
        q, k, v, p = cache
        ds = p * (do @ v.swapaxes(-1, -2)) * q.shape[-1] ** -0.5
        return ds @ k, ds.swapaxes(-1, -2) @ q, p.swapaxes(-1, -2) @ do

    report = run("attention", attention, backward)
    assert report.verdict == "wrong"
    assert part(report).verdict == part(report, "dv").verdict == "pass"
    for name in ("dq", "dk"):
        suspect = part(report, name).suspect
        assert suspect.names == ("no_row_sum",)
        assert suspect.operators == ("visattn.ops.primitives.softmax",)
        assert suspect.evidence > 5
    assert report.says == "wrong: dq, dk: no row sum."


def test_the_gradient_of_a_wrong_output_can_be_right_for_it():
    def forward(q, k, v):
        p = softmax(q @ k.swapaxes(-1, -2))
        return p @ v, (q, k, v, p)

    def backward(do, cache):
        q, k, v, p = cache
        dp = do @ v.swapaxes(-1, -2)
        ds = p * (dp - (dp * p).sum(-1, keepdims=True))
        return ds @ k, ds.swapaxes(-1, -2) @ q, p.swapaxes(-1, -2) @ do

    report = run("attention", forward, backward)
    assert part(report).suspect.names == ("unscaled",)
    assert all(part(report, name).consistent for name in ("dq", "dk", "dv"))
    assert not report.passed


def test_probes_tell_the_scale_of_an_output_that_is_wrong():
    report = run("attention", lambda q, k, v: softmax(q @ k.swapaxes(-1, -2)) @ v)
    assert any("scale" in f.name and not f.fine for f in report.findings)


def test_float32_that_comes_back_as_float64_is_a_broken_promise():
    report = run("softmax", lambda x, axis=-1: softmax(x.astype(float), axis))
    assert report.verdict == "contract"
    assert "float64" in part(report).says
    assert "** 0.5" in part(report).says


@pytest.mark.parametrize(("coarse", "named"), [
    (np.float16, "float16"),
    (lambda x: (x.astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32), "bfloat16"),
])
def test_coarser_arithmetic_than_claimed_is_said_to_be_that(coarse, named):
    def forward(x, axis=-1):
        to = coarse if not isinstance(coarse, type) else lambda a: a.astype(coarse)
        e = np.asarray(np.exp(to(x).astype(np.float32) - to(x).max(axis, keepdims=True).astype(np.float32)), np.float32)
        e = to(e).astype(np.float32)
        return to(e / e.sum(axis, keepdims=True)).astype(x.dtype)

    report = run("softmax", forward, only=["plain_0", "plain_1", "plain_2"])
    assert report.verdict == "precision"
    assert named in part(report).says


def test_double_precision_computed_in_single_is_said_to_be_that():
    report = run("softmax", lambda x, axis=-1: softmax(x.astype(np.float32), axis).astype(x.dtype), only=["plain_0"])
    assert report.verdict == "precision"
    assert "float32" in part(report).says


def test_a_running_sum_in_single_is_seen_where_everything_else_is_double():
    """Also where nothing is multiplied: numbers of few digits would add up exactly."""
    def forward(x):
        s = np.zeros(x.shape[:2], np.float32)
        for i, j in np.ndindex(x.shape[2:]):
            s += x[:, :, i, j]
        return s.astype(x.dtype) / (x.shape[2] * x.shape[3])

    report = run("global_average_pool2d", forward)
    assert report.verdict == "precision"
    assert "float32" in part(report).says


def test_a_gradient_that_is_summed_in_single_is_seen_where_everything_else_is_double():
    def backward(dy, cache):
        dx, dw, *b = ops.linear.backward(dy, cache)
        db = np.zeros(dy.shape[-1], np.float32)
        for row in dy.reshape(-1, dy.shape[-1]):
            db += row
        return dx, dw, *[db.astype(dy.dtype) for _ in b]

    report = run("linear", ops.linear.forward, backward)
    assert {p.name: p.verdict for p in report.parts} == {"y": "pass", "dx": "pass", "dw": "pass", "db": "precision"}


def test_a_small_change_of_the_formula_is_no_matter_of_precision():
    """Off by 1e-9: far below float32, and yet no rounding, for it stays where the arguments move."""
    def forward(x, g, b, eps=1e-5):
        c = x - x.mean(-1, keepdims=True)
        return g * c / np.sqrt((c * c).mean(-1, keepdims=True) + x.dtype.type(eps * 1.0001)) + b

    report = run("layernorm", forward)
    assert report.verdict == "wrong"


def test_what_overflows_is_a_matter_of_range():
    def forward(x, axis=-1):
        e = np.exp(x)
        return e / e.sum(axis, keepdims=True)

    report = run("softmax", forward)
    assert report.verdict == "range"
    assert part(report).suspect.names == ("no_maximum",)


def wrote(x, axis=-1):
    x -= x.max(axis, keepdims=True)
    return softmax(x, axis)


def changing(x, axis=-1, calls=[]):                                 # noqa: B006
    calls.append(0)
    return softmax(x, axis) * (1 + 1e-3 * (len(calls) % 2))


@pytest.mark.parametrize(("what", "forward", "says"), [
    ("softmax", wrote, "x was written"),
    ("softmax", changing, "the same call"),
    ("relu", lambda x: np.maximum(x, 0, out=x), "x was written"),
    ("dropout", lambda x, mask, rate: x[...], ""),
    ("softmax", lambda x, axis=-1: softmax(x, axis)[..., :1], "shape"),
    ("softmax", lambda x, axis=-1: None, "None"),
    ("softmax", lambda x, axis=-1: softmax(x, axis).astype(complex), "complex"),
    ("softmax", lambda x, axis=-1: softmax(x, axis).astype(object), "object"),
    ("softmax", lambda x, axis=-1: "a string", "str"),
    ("lstm_cell", lambda x, h, c, wx, wh, bx, bh: h, ""),
])
def test_a_broken_promise_is_said(what, forward, says):
    report = run(what, forward, only=["plain_0", "plain_1"])
    assert report.verdict in ("contract", "failed", "wrong")
    assert says in part(report).says


def test_what_raises_has_failed_and_says_where():
    def forward(x, axis=-1):
        raise IndexError("nothing there")

    report = run("softmax", forward)
    assert report.verdict == "failed"
    assert "IndexError" in part(report).says
    assert "nothing there" in part(report).says


def test_what_a_function_says_it_does_not_do_is_neither_right_nor_wrong():
    def forward(x, axis=-1):
        raise NotImplementedError("not for you")

    report = run("softmax", forward)
    assert report.verdict == "unsupported"
    assert not report.passed


def test_a_signature_that_does_not_fit_is_said_by_name():
    report = run("softmax", lambda x, temperature: x)
    assert report.verdict == "failed"
    assert "temperature" in report.says


def nan_rows(q, k, v, mask=None):
    a = q @ k.swapaxes(-1, -2) * q.shape[-1] ** -0.5
    with np.errstate(all="ignore"):
        return softmax(a if mask is None else np.where(mask, a, a.dtype.type(-np.inf))) @ v


def test_a_mask_one_key_short_is_named_where_it_leaves_the_first_query_nothing():
    """No other row is ever empty: the convention, NaN, sleeps until the mistake is made."""
    def forward(q, k, v, is_causal=False):
        a = np.where(np.arange(k.shape[-2]) < np.arange(q.shape[-2])[:, None], 1, 0) if is_causal else None
        return nan_rows(q, k, v, None if a is None else a == 1)

    report = run("attention", forward)
    assert part(report).verdict == "range"
    assert part(report).suspect.names == ("causal_strict",)
    assert "empty_rows_are_nan" in [f.value for f in report.findings if f.name == "convention"]


def test_a_mistake_of_a_gradient_is_named_also_where_it_reads_nothing_of_a_wrong_forward():
    """The output overflows; the gradient, from weights of its own, does not, but lacks 1/N."""
    def forward(logits, labels):
        with np.errstate(all="ignore"):
            e = np.exp(logits)
            each = np.log(e.sum(-1)) - logits[np.arange(len(labels)), labels]
        return each.mean(), (softmax(logits), labels)

    def backward(dy, cache):
        p, labels = cache
        dx = p.copy()
        dx[np.arange(len(labels)), labels] -= 1
        return (dx * dy,)

    report = run("cross_entropy", forward, backward)
    assert {p.name: p.suspect.names for p in report.parts} == {
        "y": ("no_maximum",), "dlogits": ("gradient_of_the_sum",)}


def test_two_conventions_are_recognised_one_of_the_output_and_one_of_a_gradient():
    op = changes.changed(ops.spatial_gate, *(c for c in changes.own(ops.spatial_gate.__name__)
                                             if c.name in ("maximum_first", "ties_shared")))
    report = run("spatial_gate", op.forward, op.backward)
    assert report.passed
    assert [f.value for f in report.findings if f.name == "convention"] == ["maximum_first", "ties_shared"]


def test_a_mask_read_the_other_way_is_a_convention_also_where_it_leaves_rows_of_nan():
    report = run("attention", lambda q, k, v, mask=None: nan_rows(q, k, v, None if mask is None else ~mask))
    assert report.passed
    assert {f.value for f in report.findings if f.name == "convention"} == {"true_is_ignored", "empty_rows_are_nan"}


def test_nan_and_infinity_are_told_apart():
    def nan(x, axis=-1):
        return np.where(x > 1, np.nan, softmax(x, axis))

    assert part(run("softmax", nan)).says.startswith("Not a number, where the exact result is finite: 0/0")
    infinite = part(run("softmax", lambda x, axis=-1: np.where(x > 1, np.inf, softmax(x, axis))))
    assert infinite.says.startswith("Infinite, where the exact result is finite")


def test_a_convention_is_right_and_is_named_with_the_library():
    report = run("attention", nan_rows)
    assert report.passed
    finding = next(f for f in report.findings if f.name == "convention")
    assert "torch" in finding.says
    assert finding.value == "empty_rows_are_nan"


def test_a_convention_is_wrong_where_it_is_to_be():
    report = run("attention", nan_rows, strict=True)
    assert not report.passed


def test_a_convention_and_a_mistake_are_told_apart():
    def backward(do, cache):
        q, k, v, p = cache
        ds = p * (do @ v.swapaxes(-1, -2)) * q.shape[-1] ** -0.5
        return ds @ k, ds.swapaxes(-1, -2) @ q, p.swapaxes(-1, -2) @ do

    def forward(q, k, v, mask=None):
        a = q @ k.swapaxes(-1, -2) * q.shape[-1] ** -0.5
        with np.errstate(all="ignore"):
            p = softmax(a if mask is None else np.where(mask, a, a.dtype.type(-np.inf)))
        return p @ v, (q, k, v, p)

    report = run("attention", forward, backward)
    assert part(report).verdict == "pass"
    assert part(report, "dq").suspect.names == ("no_row_sum",)
    assert any(f.name == "convention" for f in report.findings)


def test_what_no_known_mistake_gives_is_called_unknown():
    report = run("softmax", lambda x, axis=-1: softmax(x, axis) * x.dtype.type(1.01))
    assert report.verdict == "wrong"
    assert part(report).suspect is None
    assert "unknown mistake" in part(report).says.lower()


def test_the_error_map_points_at_the_worst_element():
    def forward(x, axis=-1):
        y = softmax(x, axis)
        y[1, 2, 3] += x.dtype.type(0.5)
        return y

    report = run("softmax", forward, only=["plain_0"])
    found = part(report).map
    assert found.worst == (1, 2, 3)
    assert found.shape == (2, 3, 5)
    assert found.got == pytest.approx(found.wanted + 0.5)
    assert found.ratio[1, 2, 3] == found.ratio.max()


def test_the_first_intermediate_that_differs_is_said():
    def forward(q, k, v):
        a = q @ k.swapaxes(-1, -2)
        p = softmax(a)
        return {"y": p @ v, "a": a, "p": p}

    report = run("attention", forward)
    assert next(f for f in report.findings if f.name == "first divergence").value == "a"


def test_an_argument_that_a_cache_names_is_no_intermediate():
    def forward(q, k, v, mask=None):
        y, p = ops.attention.forward(q, k, v, mask=mask)[0] + 1, 0 * q
        return {"y": y, "q": p, "mask": p}

    assert not [f for f in run("attention", forward).findings if f.name == "first divergence"]


def test_an_option_that_is_fixed_need_not_be_taken():
    def forward(q, k, v):
        return ops.attention.forward(q, k, v, scale=0.3)[0]

    report = run("attention", forward, options={"scale": 0.3})
    assert report.passed
    assert not [note for note in report.notes if "has no" in note and "scale" in note]


def test_a_mistake_of_any_part_of_an_operator_is_found():
    names = {c.name: c for c in changes.changes_of(ops.multihead, "mistake") if c.op == ops.attention.__name__}
    wrong = changes.changed(ops.multihead, names["unscaled"])
    report = run("multihead", wrong.forward, wrong.backward)
    assert part(report).suspect.names == ("unscaled",)
    assert part(report).suspect.operators == ("visattn.ops.pairs.attention",)


def test_options_can_be_fixed():
    def pool(x, kernel=2):
        N, C, H, W = x.shape
        H, W = H // 2 * 2, W // 2 * 2
        return x[..., :H, :W].reshape(N, C, H // 2, 2, W // 2, 2).max((3, 5))

    assert run("max_pool2d", pool, options={"kernel": 2}).passed
    assert run("max_pool2d", lambda x: pool(x), options={"kernel": 2}).passed       # built in
    assert not run("max_pool2d", pool, options={"kernel": 3}).passed


def test_the_same_seed_gives_the_same_report():
    one, two = (run("attention", attention, attention_backward, only=["plain_0", "offset"]) for _ in range(2))
    plain = [r._replace(seconds=0, cases=tuple(c._replace(seconds=0) for c in r.cases),
                        parts=tuple(p._replace(map=None) for p in r.parts)) for r in (one, two)]
    assert plain[0] == plain[1]
    other = run("attention", attention, attention_backward, seed=1, only=["plain_0", "offset"])
    assert [p.ratio for p in one.parts] != [p.ratio for p in other.parts]


def test_bad_requests_are_refused_by_name():
    with pytest.raises(LookupError, match="no operator or model 'attenton'; did you mean"):
        run("attenton", attention)
    with pytest.raises(LookupError, match="no case 'plane'"):
        run("attention", attention, only=["plane"])
    with pytest.raises(ValueError, match="precision must be one of"):
        run("attention", attention, precision="single")
    with pytest.raises(ValueError, match="attention has no option 'kausal'"):
        run("attention", attention, options={"kausal": True})


def test_a_file_runs_in_a_process_of_its_own(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("import os, numpy as np\nPID = os.getpid()\n"
                    "def forward(x):\n    open('trace', 'w').write('x')\n    return np.maximum(x, 0)\n")
    report = run("relu", file=str(file))
    assert report.passed
    assert "process" in report.isolation[0]
    assert not (Path.cwd() / "trace").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["mine.py"]


def dropped_tail(q, k, v):
    """Tiles of 64 keys, of which the last, incomplete one is forgotten; below 64 all is well."""
    p = softmax(q @ k.swapaxes(-1, -2) * q.shape[-1] ** -0.5)
    n = max(v.shape[-2] // 64 * 64, min(v.shape[-2], 64))
    return p[..., :n] @ v[..., :n, :]


def test_a_mistake_that_needs_many_keys_breaks_a_law_at_that_size():
    small = ["plain", "bare"]
    assert run("attention", dropped_tail, only=small).passed
    report = run("attention", dropped_tail, only=small, sizes={"T": 80, "S": 100})
    assert report.verdict == "wrong"
    assert "S = 100" in part(report).says
    right = run("attention", lambda q, k, v: attention(q, k, v)[0], only=small, sizes={"T": 80, "S": 100})
    assert right.passed
    assert any("laws that need no reference hold at T = 80, S = 100" in note for note in right.notes)


HOSTILE = sorted((Path(__file__).parent / "hostile").glob("*.py"))


@pytest.mark.parametrize("file", HOSTILE, ids=lambda p: p.stem)
def test_no_hostile_file_passes(file):
    report = run("softmax", file=str(file), limits=Limits(start=5, first=4, call=3, total=12),
                 only=["plain_0", "plain_1", "offset"])
    assert report.verdict not in ("pass", "imprecise", "unsupported"), report.says
    assert report.seconds < 30


def test_verdicts_are_in_order():
    assert ORDER.index("failed") < ORDER.index("wrong") < ORDER.index("precision") < ORDER.index("pass")
    assert conclusion.sentence(SimpleNamespace(verdict="pass", name="y", suspect=None, says="", ratio=0.5),
                          [SimpleNamespace(verdict="pass", name="y", ratio=0.5)], []).startswith("Right: y within 0.5")
