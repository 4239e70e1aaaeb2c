"""One sheet says what is asked, what is given, what is tried and what it is worth."""

import json

import pytest

from visattn import ops
from visattn.assignment import records, sheet
from visattn.check.cases import Integers

HW1 = sheet.of_operators("hw1", ["softmax", "attention"], key="k")


def kinds(made, kind):
    return [cell.name for cell in made.cells if cell.kind == kind]


def test_every_operator_is_an_exercise(operator):
    name = operator.__name__.rpartition(".")[2]
    made = sheet.of_operators("hw", [name])
    tests = {test.name for test in made.tests}
    assert f"{name}_output" in tests
    assert any(test.part.startswith("d") for test in made.tests), "a gradient is asked for"
    assert any(test.hidden for test in made.tests)
    assert kinds(made, "answer") == [f"{name}_forward", f"{name}_backward"]
    assert len({cell.name for cell in made.cells}) == len(made.cells)


def test_tests_ask_for_the_output_each_gradient_masks_options_and_edges():
    asked = {test.name: (test.group, test.part, test.hidden) for test in HW1.tests if test.op == "attention"}
    assert asked == {
        "attention_output": ("formula", "y", False), "attention_dq": ("formula", "dq", False),
        "attention_dk": ("formula", "dk", False), "attention_dv": ("formula", "dv", False),
        "attention_masks": ("masks", "y", True), "attention_options": ("options", "y", True),
        "attention_edges": ("edges", "y", True), "attention_gradients": ("", "gradients", True)}


def test_what_is_asked_for_is_not_given():
    assert HW1.given == ()
    alone = sheet.of_operators("hw", ["attention"])
    assert alone.given == ("softmax",)
    assert "def softmax_forward" in next(cell.source for cell in alone.cells if cell.name == "given")
    assert sheet.of_operators("hw", ["attention"], given=[]).given == ()


def test_an_operator_comes_after_those_that_it_calls():
    """A notebook runs from top to bottom: what attention calls is there when attention is tried."""
    made = sheet.of_operators("hw", ["attention", "relu", "softmax"], written=False)
    assert made.ops == ("softmax", "attention", "relu")
    order = [test.exercise for test in made.tests]
    assert order.index("attention") > max(i for i, name in enumerate(order) if name == "softmax")


def test_with_backward_alone_forward_is_given():
    made = sheet.of_operators("hw", ["softmax"], parts=["backward"])
    assert "softmax_forward" in kinds(made, "given")
    assert kinds(made, "answer") == ["softmax_backward"]
    assert {test.part for test in made.tests} == {"dx", "gradients"}


def test_a_derivation_asks_for_lines_and_does_not_tell_them():
    made = sheet.of_operators("hw", ["attention"], parts=["forward", "backward", "derivation"])
    lines = [test.part for test in made.tests if test.group == "line"]
    assert lines == ["dv", "dp", "da", "dq", "dk"]
    shown = next(cell.source for cell in made.cells if cell.name == "attention_backward")
    assert "pᵀ" not in shown


@pytest.mark.parametrize("points", [29, 60, 100])
def test_points_add_up(points):
    made = sheet.of_operators("hw1", ["softmax", "attention"], points=points)
    assert made.points == points
    assert all(test.points >= 1 for test in made.tests)


@pytest.mark.parametrize(("how", "says"), [
    ({"names": []}, "--ops: name at least one operator"),
    ({"names": ["attenton"]}, "there is no operator or model 'attenton'; did you mean attention"),
    ({"names": ["vit"]}, "--ops: vit is a model"),
    ({"parts": ["front"]}, "--parts: there is no 'front'; there is forward, backward, derivation"),
    ({"parts": []}, "--parts: name at least one of"),
    ({"names": ["conv2d"], "parts": ["derivation"]}, "--parts: derivation: conv2d"),
    ({"points": 3}, "--points: 3 do not add up: 7 graded cells need at least one each"),
    ({"given": ["softmax"]}, "--given: softmax is asked for, and cannot be given"),
    ({"given": ["attention"]}, "--given: softmax is part of what is given, and asked for"),
    ({"given": ["nothing"]}, "--given: there is no operator 'nothing'"),
    ({"lang": "xx"}, "--lang: there is no 'xx'; there is en"),
    ({"name": "my homework"}, "NAME must be letters, digits and _"),
])
def test_what_does_not_go_together_is_said(how, says):
    how = {"name": "hw", "names": ["softmax"], **how}
    with pytest.raises((ValueError, LookupError)) as error:
        sheet.of_operators(how.pop("name"), how.pop("names"), **how)
    assert says in str(error.value)


def test_a_sheet_is_kept_as_json(tmp_path):
    file = records.write(HW1, tmp_path / records.FILE)
    assert records.read(file) == HW1
    assert json.loads(file.read_text())["schema"] == records.SCHEMA


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 99}', '{"schema": 1}', "\xff"])
def test_a_file_that_is_no_sheet_is_refused(tmp_path, text):
    file = tmp_path / "assignment.json"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"no assignment|schema"):
        records.read(file)


def test_an_answer_is_shown_without_its_solution():
    source = "def f(x):\n    ### BEGIN SOLUTION\n    return x + 1\n    ### END SOLUTION\n"
    assert records.unsolved(source) == "def f(x):\n    raise NotImplementedError"
    assert records.solved(source) == "def f(x):\n    return x + 1"
    assert records.solutions(source) == ["    return x + 1"]


def test_questions_in_words_have_an_answer_for_the_instructor():
    written = [cell for cell in HW1.cells if cell.kind == "written"]
    assert {cell.name for cell in written} == {f"{op}_{what}" for op in ("softmax", "attention")
                                               for what in ("cost", "mistake")}
    cost = next(cell for cell in written if cell.name == "attention_cost")
    args, _ = ops.attention.example(Integers(0, ops.attention.__name__))
    B, G, T, D = args[0].shape
    S, E = args[2].shape[-2:]
    assert f"{B * G * T * S * (D + E):,} multiply-adds" in cost.solution
