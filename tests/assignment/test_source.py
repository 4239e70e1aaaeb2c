"""An operator's file, taken apart: functions that compute what it computes, and stubs that do not give them away."""

from typing import NamedTuple

import numpy as np
import pytest

from visattn import ops, tree
from visattn.assignment import source

ATTENTION = source.of(ops.attention)


def space(code):
    scope = {"np": np, "NamedTuple": NamedTuple}
    exec(code, scope)
    return scope


def whole(op):
    """The records and both functions of an operator, as an instructor has them."""
    text = source.of(op)
    return "\n".join([text.records, *(f"{f.head}\n{f.body}\n" for f in (text.forward, text.backward))])


def test_the_parts_given_and_the_solution_compute_what_the_operator_computes(operator):
    op = operator
    text, name = source.of(op), op.__name__.rpartition(".")[2]
    scope = space(source.given(source.parts(op)) + "\n\n\n" + whole(op))
    args, options = op.example(np.random.default_rng(0))
    y, cache = op.forward(*args, **options)
    mine, kept = scope[text.forward.name](*args, **options)
    dy = tree.map(np.ones_like, y)
    pairs = zip(tree.leaves(y) + tree.leaves(op.backward(dy, cache)),
                tree.leaves(mine) + tree.leaves(scope[text.backward.name](dy, kept)), strict=True)
    for wanted, got in pairs:
        np.testing.assert_array_equal(got, wanted)
    assert text.forward.name == f"{name}_forward"
    assert type(kept).__name__ == source.prefixed(name, "Cache")


def test_a_head_has_the_signature_without_types_and_the_docstring_with_shapes():
    first, *rest = ATTENTION.forward.head.splitlines()
    assert first == "def attention_forward(q, k, v, bias=None, *, mask=None, causal=None, scale=None, softcap=None):"
    assert "    shapes: q (*B, T, D), k (*B, S, D), v (*B, S, E), bias (*#B, #T, #S), mask (*#B, #T, #S)" in rest
    assert "    scale    None is 1/√D" in rest


def test_a_head_says_nothing_of_the_door(operator):
    assert "raises  " not in source.of(operator).forward.head


def test_no_run_of_a_solution_stands_in_its_own_stub(operator):
    text = source.of(operator)
    shown = "\n".join([text.records, text.forward.head, text.backward.head])
    for function in (text.forward, text.backward):
        assert not source.leaked(function.body, shown)
        lines = [line.partition("  #")[0].strip() for line in function.body.splitlines()]
        for line in [line for line in lines if source.runs(line)][-1:]:
            assert source.leaked(function.body, f"{shown}\n# {line}"), "a line in a comment is a leak"


def test_parts_come_before_those_that_call_them():
    assert source.parts(ops.multihead) == ["linear", "softmax", "attention"]
    names = source.parts(ops.cbam)
    assert names.index("sigmoid") < names.index("channel_gate")
    assert source.parts(ops.softmax) == []


def test_a_helper_of_several_parts_is_given_once():
    assert source.given(source.parts(ops.cbam)).count("def share(") == 1


def test_fixed_options_are_no_arguments_and_not_explained():
    head = source.of(ops.attention, ("causal", "scale", "softcap")).forward.head
    assert head.startswith("def attention_forward(q, k, v, bias=None, *, mask=None):")
    assert "scale" not in head
    assert "mask     True = query t may attend" in head


def test_a_derivation_is_not_told_where_it_is_asked_for():
    head = source.without_derivation(ATTENTION.backward.head)
    assert head.startswith("def attention_backward(do, cache):")
    assert "pᵀ" in ATTENTION.backward.head
    assert "pᵀ" not in head


@pytest.mark.parametrize(("name", "called"), [
    ("forward", "grid_sample_forward"), ("Cache", "GridSampleCache"), ("_taps", "grid_sample_taps"),
    ("THREADS", "GRID_SAMPLE_THREADS")])
def test_what_an_operator_s_own_is_called(name, called):
    assert source.prefixed("grid_sample", name) == called


def test_tokens_leave_out_layout_and_remarks():
    assert source.tokens("x = a @ b   # why\n") == ["x", "=", "a", "@", "b"]
    assert source.tokens("p_s = e^{x_s} / Σ_t") == source.tokens("p_s=e^{x_s}/Σ_t")


def test_runs_find_a_copied_line_under_another_indentation():
    line = "dx = p * (dp - (dp * p).sum(-1, keepdims=True))"
    assert source.runs(f"if True:\n    {line}\n") & source.runs(line)
    assert not source.runs("dx = p * dp") & source.runs(line)


def test_names_that_code_takes_from_elsewhere():
    assert source.free_names("y = f(x)\nfor i in range(3):\n    z = y + w[i]") == ["f", "x", "w"]
