"""Diagnosis: a known mistake is named, two are named as two, and what is not known is called unknown."""

import inspect

import numpy as np
import pytest

from visattn import ops
from visattn.check import changes, judge, run, tolerance
from visattn.check.compare import compare
from visattn.check.diagnose import TELLS, Diagnosis, Explained, Seen, Tried
from visattn.check.precision import PRECISIONS


def of(op, name):
    """The change of this name, of the operator or of one that it is made of."""
    return next(change for change in changes.changes_of(op) if change.name == name)


def wrong(op, *names):
    """The operator with these changes in it."""
    return changes.changed(op, *(of(op, name) for name in names))


def with_output(op, change):
    """The operator with its output changed, and the gradient left as it is."""
    def forward(*args, **options):
        y, cache = op.forward(*args, **options)
        return change(y), cache

    forward.__signature__ = inspect.signature(op.forward)
    return forward, op.backward


def suspects(report):
    """{part: the names that are said of it}, and "" for what is wrong and unknown."""
    return {part.name: part.suspect.names if part.suspect else "" for part in report.parts
            if part.verdict in ("wrong", "range") and not part.consistent}


def diagnosis(op, function, precision="float64"):
    """What is to be concluded of a function from its answers to the operator's cases."""
    p, seen = PRECISIONS[precision], []
    for case in judge.cases(op, p):
        tried = Tried(function, case, p)
        with np.errstate(all="ignore"):
            right = tolerance.bounds(op, case.args, case.options, case.dy, p, all_ways=False)
        parts = {part: tried.part(part) for part in right.parts() if tried.part(part) is not None}
        seen.append(Seen(case, parts, right, tried.raises))
    return Diagnosis(op, seen, p)


def names(found):
    return [tuple(change.name for change in explained.changes) for explained in found]


@pytest.mark.parametrize(("name", "mistake"), [
    ("softmax", "base_two"), ("softmax", "no_row_sum"), ("gelu", "coefficients_swapped"), ("relu", "leaky"),
    ("layernorm", "no_eps"), ("squeeze_excite", "softmax_for_sigmoid"), ("efficient_channel", "taps_turned_around"),
    ("attention", "causal_strict"), ("grid_sample", "sizes_exchanged"),
])
def test_a_mistake_is_named(name, mistake):
    op = getattr(ops, name)
    said = suspects(run(name, wrong(op, mistake)))
    assert set(said.values()) == {(mistake,)}


def test_a_mistake_that_only_float32_shows_is_named():
    report = run("softmax", wrong(ops.softmax, "no_maximum"), precision="float32")
    assert set(suspects(report).values()) == {("no_maximum",)}


def test_a_mistake_in_a_part_is_named_as_the_part_s():
    report = run("squeeze_excite", wrong(ops.squeeze_excite, "sign"))
    for part in report.parts:
        if part.suspect is not None:
            assert part.suspect.names == ("sign",)
            assert part.suspect.operators == ("visattn.ops.primitives.sigmoid",)
    assert report.parts[0].suspect is not None


def test_two_mistakes_in_one_output_are_named_as_two():
    said = suspects(run("softmax", wrong(ops.softmax, "base_two", "epsilon_in_the_sum")))
    assert set(said["y"]) == {"base_two", "epsilon_in_the_sum"}


def test_a_mistake_in_forward_and_one_in_backward_are_named_apart():
    said = suspects(run("layernorm", wrong(ops.layernorm, "unbiased", "db_averaged")))
    assert said["y"] == ("unbiased",)
    assert said["db"] == ("db_averaged",)


def test_mistakes_in_two_gradients_are_named_for_each_or_for_both():
    said = suspects(run("attention", wrong(ops.attention, "dq_unscaled", "dv_untransposed"), only=["plain_0"]))
    assert {name for of_part in said.values() for name in of_part} <= {"dq_unscaled", "dv_untransposed"}


def test_two_mistakes_that_make_a_difference_only_together_are_found():
    found = diagnosis(ops.gelu, wrong(ops.gelu, "approximation_ignored", "silu")).explain(["y"])
    assert names(found) == [("approximation_ignored", "silu")]


def test_changes_that_take_each_other_s_line_are_no_pair():
    d = diagnosis(ops.gelu, ops.gelu)
    both = of(ops.gelu, "no_root_of_two_over_pi"), of(ops.gelu, "coefficients_swapped")
    assert d.same(("y",), both) == 0


def test_a_right_function_has_no_mistake():
    d = diagnosis(ops.softmax, ops.softmax)
    assert d.explain(["y"]) == []
    assert d.explain(["dx"]) == []


def nearly(y):
    return y * 1.01


def noisy(y):
    return y * (1 + 1e-3 * np.random.default_rng(0).normal(size=y.shape))


def negated(y):
    return -y


def upside_down(y):
    return y[..., ::-1]


@pytest.mark.parametrize("change", [nearly, noisy, negated, upside_down], ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", ["softmax", "squeeze_excite", "layernorm"])
def test_what_is_in_no_catalogue_is_called_unknown(name, change):
    report = run(name, *with_output(getattr(ops, name), change), only=["plain_0", "bare", "tiny", "offset"])
    assert report.parts[0].verdict == "wrong"
    assert suspects(report)["y"] == ""
    assert "unknown" in report.parts[0].says


def test_attention_without_its_last_key_is_called_unknown():
    def forward(q, k, v):
        o, cache = ops.attention.forward(q, k[..., :-1, :], v[..., :-1, :])
        return o, cache

    report = run("attention", forward, only=["plain_0", "bare", "offset"])
    assert suspects(report) == {"y": ""}


def test_a_transposed_output_of_equal_sizes_is_called_unknown():
    d = diagnosis(ops.linear, ops.linear)
    square = [s for s in d.seen if len(s.bounds.y[0].value.shape) == 2]
    turned = [s._replace(parts={"y": [s.parts["y"][0].T]}) for s in square]
    assert Diagnosis(ops.linear, turned, d.p).explain(["y"], kinds=("mistake", "convention")) == []


def test_a_convention_is_no_mistake():
    d = diagnosis(ops.attention, wrong(ops.attention, "causal_from_bottom_right"))
    assert d.explain(["y"], pairs=False) == []
    assert ("causal_from_bottom_right",) in names(d.explain(["y"], kinds=("convention",)))


def test_a_convention_is_accepted_and_said():
    report = run("attention", wrong(ops.attention, "true_is_ignored"))
    assert report.passed
    assert [f.value for f in report.findings if f.name == "convention"] == ["true_is_ignored"]


def test_a_convention_by_which_shapes_are_refused_is_recognised():
    report = run("attention", wrong(ops.attention, "heads_after_tokens"))
    assert report.passed
    assert [f.value for f in report.findings if f.name == "convention"] == ["heads_after_tokens"]


def test_rivals_are_listed():
    d = diagnosis(ops.spatial_self_attention, wrong(ops.spatial_self_attention, "scale_ignored"))
    found = d.explain(["y"])
    assert {("scale_ignored",), ("scale_on_top",)} <= set(names(found))
    suspect = d.suspect(found)
    assert {suspect.names[0], *suspect.rivals} >= {"scale_ignored", "scale_on_top"}


def test_the_evidence_counts_cases_by_four_bounds():
    change = of(ops.softmax, "epsilon_in_the_sum")
    d = diagnosis(ops.softmax, changes.changed(ops.softmax, change), "float32")
    apart = [max(compare(mine, right).worst for mine, right in zip(s.parts["y"], s.bounds.y, strict=True))
             for s in d.seen if not s.raised]
    explained, = d.explain(["y"])
    assert explained == Explained((change,), sum(ratio >= TELLS for ratio in apart))
    assert 0 < explained.evidence < len(d.seen)


def test_no_name_is_said_on_evidence_below_four_bounds():
    change = of(ops.softmax, "epsilon_in_the_sum")
    d = diagnosis(ops.softmax, changes.changed(ops.softmax, change), "bfloat16")
    below = [s for s in d.seen if not any(d.tells((change,), s, part) for part in ("y", "dx"))]
    assert below
    assert Diagnosis(ops.softmax, below, d.p).explain(["y"]) == []


def test_the_gradient_of_another_function_is_said_to_be_that():
    right, other = ops.attention, wrong(ops.attention, "causal_strict")

    def forward(q, k, v, bias=None, **options):
        return right.forward(q, k, v, bias, **options)[0], other.forward(q, k, v, bias, **options)[1]

    forward.__signature__ = inspect.signature(right.forward)
    report = run("attention", forward, other.backward)
    wrong_ones = [part for part in report.parts if part.verdict != "pass"]
    assert {part.name for part in wrong_ones} == {"dq", "dk", "dv"}
    for part in wrong_ones:
        assert "causal_strict" in (*part.suspect.names, *part.suspect.rivals)
        assert "output is right" in part.says


@pytest.mark.parametrize("mistake", ["padding_swapped", "stride_swapped"])
def test_no_other_mistake_is_named_for_gradients_that_an_output_of_another_shape_does_not_have(mistake):
    other = wrong(ops.conv2d, mistake)

    def backward(dy, cache):
        if dy.shape[2:] != tuple(cache.windows.count):
            raise ValueError("dy has not the shape of the output")
        return other.backward(dy, cache)

    report = run("conv2d", other.forward, backward)
    assert {part.suspect.names for part in report.parts if part.suspect} == {(mistake,)}
    assert report.parts[0].suspect.names == (mistake,)


@pytest.mark.parametrize(("name", "convention", "mistake"), [
    ("attention", "causal_from_bottom_right", "cap_not_divided"), ("gelu", "tanh", "sign"),
    ("layernorm", None, "unbiased"),
])
def test_a_mistake_beside_a_convention_is_named_with_it(name, convention, mistake):
    op = getattr(ops, name)
    convention = convention or changes.changes_of(op, "convention")[0].name
    report = run(name, wrong(op, convention, mistake))
    assert not report.passed
    assert report.parts[0].suspect.names == (mistake,)
    assert [f.value for f in report.findings if f.name == "convention"] == [convention]
    assert mistake.replace("_", " ") in report.says
    assert convention.replace("_", " ") in report.says


@pytest.mark.parametrize(("name", "part"), [("grouped_query", "dv"), ("multihead", "dcontext")])
def test_of_two_conventions_that_is_named_by_whose_own_gradients_the_function_is_right(name, part):
    # By the other one, too, the output is right; and differences would pass the gradient, which leaks a little.
    report = run(name, wrong(getattr(ops, name), "filled_with_minus_100"))
    assert [f.value for f in report.findings if f.name == "convention"] == ["masked_row_uniform"]
    assert {p.name: p.suspect.names for p in report.parts if p.suspect} == {part: ("filled_with_minus_100",)}


@pytest.mark.parametrize(("name", "convention"), [("gelu", "tanh"), ("attention", "true_is_ignored")])
def test_an_unknown_mistake_beside_a_convention_stays_unknown(name, convention):
    report = run(name, *with_output(wrong(getattr(ops, name), convention), nearly))
    assert report.parts[0].suspect is None
    assert [f for f in report.findings if f.name == "convention"] == []


@pytest.mark.parametrize("mistake", [None, "mask_ignored"])
def test_nothing_is_named_for_gradients_that_never_came(mistake):
    op = wrong(ops.additive, mistake) if mistake else ops.additive

    def backward(do, cache):
        raise RuntimeError("not yet")

    report = run("additive", op.forward, backward)
    assert {part.name: part.suspect for part in report.parts[1:]} == dict.fromkeys(
        ("dq", "dk", "dv", "dwa", "dua", "dva", "db"))


def test_no_mistake_of_backward_is_named_where_the_output_lacks_a_layer_and_has_its_true_gradient():
    right, missing = ops.multihead, wrong(ops.multihead, "no_output_projection")

    def forward(x, context, w_q, w_k, w_v, w_o, b_q=None, b_v=None, b_o=None, **options):
        y, _ = missing.forward(x, context, w_q, w_k, w_v, w_o, b_q, b_v, b_o, **options)
        zeros = None if b_o is None else np.zeros(len(w_v), x.dtype)
        _, cache = right.forward(x, context, w_q, w_k, w_v, np.eye(len(w_v), dtype=x.dtype), b_q, b_v, zeros, **options)
        return y, (cache, y.shape, w_o)

    def backward(dy, cache):
        cache, shape, w_o = cache
        if dy.shape != shape:
            raise ValueError("dy has not the shape of the output")
        dx, dcontext, dw_q, dw_k, dw_v, _, *db = right.backward(dy, cache)
        return dx, dcontext, dw_q, dw_k, dw_v, np.zeros_like(w_o), *db

    forward.__signature__ = inspect.signature(right.forward)
    report = run("multihead", forward, backward, only=["square", "self_attention", "biased", "plain_0"])
    assert {name for part in report.parts if part.suspect for name in part.suspect.names} == {"no_output_projection"}


def test_a_backward_that_writes_in_its_cache_leaves_that_of_others_alone():
    p, case = PRECISIONS["float64"], judge.cases(ops.relu, "float64")[0]

    class Writes:
        forward = ops.relu.forward

        @staticmethod
        def backward(dy, cache):
            cache.y[...] = 7
            return (dy * cache.y,)

    like = Tried(ops.relu, case, p)
    right = like.part("dx")[0].copy()
    tried = Tried(Writes, case, p, like)
    np.testing.assert_array_equal(tried.part("dx")[0], 7 * case.dy)
    np.testing.assert_array_equal(Tried(ops.relu, case, p, like).part("dx")[0], right)
    np.testing.assert_array_equal(tried.part("y")[0], like.part("y")[0])
