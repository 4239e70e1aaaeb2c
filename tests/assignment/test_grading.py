"""A submission earns the points of the tests that pass: the solution all, the stub none, a mistake those it spares."""

import pytest
from answers import code, mistaken, stubs

from visattn.assignment import grading, sheet
from visattn.assignment.grading import Submission

HW1 = sheet.of_operators("hw1", ["softmax", "attention"], parts=["forward", "backward", "derivation"], key="secret")
ALL = sum(test.points for test in HW1.tests)


def graded(text, made=HW1):
    return grading.grade(made, Submission("ada", text))


def failed(result):
    return {o.test for o in result.outcomes if not o.passed}


def test_the_solution_earns_everything():
    result = graded(code(HW1))
    assert result.points == ALL
    assert not failed(result)
    assert set(result.reports) == {"softmax", "attention"}


def test_the_stub_earns_nothing():
    result = graded(stubs(HW1))
    assert result.points == 0
    assert {o.says for o in result.outcomes} == {"nothing is written here yet"}


def test_a_missing_row_sum_costs_the_gradients_and_is_named():
    result = graded(mistaken(HW1, "softmax", "no_row_sum"))
    assert failed(result) == {"softmax_dx", "softmax_gradients", "attention_dq", "attention_dk", "attention_gradients",
                              "attention_line_da"}
    by_name = {o.test: o for o in result.outcomes}
    assert by_name["softmax_dx"].mistakes == ("no_row_sum",)
    assert "Every row of dx must sum to 0" in by_name["softmax_dx"].says
    suspect = result.reports["softmax"].parts[1].suspect
    assert (suspect.names, suspect.line, suspect.instead) == (("no_row_sum",), "", "")


def test_a_gradient_that_is_right_for_a_known_wrong_output_keeps_its_points():
    made = sheet.of_operators("hw", ["attention"], written=False)
    text = mistaken(made, "attention", "unscaled")
    result = graded(text, made)
    assert "attention_output" in failed(result)
    passed = {o.test: o.says for o in result.outcomes if o.passed}
    assert passed["attention_dq"] == "right for your own output, whose mistake counts there"


def test_a_gradient_of_an_unknown_output_earns_nothing():
    made = sheet.of_operators("hw", ["relu"], written=False)
    text = ("def relu_forward(x):\n    return np.sin(x), x\n\n"
            "def relu_backward(dy, x):\n    return (dy * np.cos(x),)\n")
    assert graded(text, made).points == 0


def test_without_options_the_formula_and_edges_count():
    made = sheet.of_operators("hw", ["softmax"], written=False)
    text = """
def softmax_forward(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    p = e / e.sum(-1, keepdims=True)
    return p, p

def softmax_backward(dp, p):
    return (p * (dp - (dp * p).sum(-1, keepdims=True)),)
"""
    result = graded(text, made)
    by_name = {o.test: o for o in result.outcomes}
    assert failed(result) == {"softmax_masks", "softmax_gradients"}
    assert by_name["softmax_masks"].says == "your function has no place for mask and axis"


def test_a_forward_alone_earns_what_asks_for_the_output():
    made = sheet.of_operators("hw", ["squeeze_excite"], written=False)
    text = code(made).partition("def squeeze_excite_backward")[0]
    result = graded(text, made)
    assert failed(result) == {"squeeze_excite_dx", "squeeze_excite_dw1", "squeeze_excite_dw2",
                              "squeeze_excite_gradients"}


@pytest.mark.parametrize("prologue", [
    "import warnings; warnings.warn('careful')", "print('hello')", "import sys; print('oh', file=sys.stderr)",
    "import os; os.write(2, b'raw')"])
def test_what_is_printed_or_warned_about_costs_nothing(prologue):
    made = sheet.of_operators("hw", ["softmax"], written=False)
    first = "    if mask is None:\n        p = x -"
    text = code(made).replace(first, f"    {prologue}\n{first}")
    assert prologue in text
    assert graded(text, made).points == sum(t.points for t in made.tests)


@pytest.mark.parametrize("text", ["", "def softmax_forward(:\n", "import os\nos._exit(0)", "while True: pass",
                                  "raise SystemExit"])
def test_code_that_cannot_be_loaded_earns_nothing_and_raises_nothing(text):
    made = sheet.of_operators("hw", ["softmax"], written=False)
    limits = grading.LIMITS._replace(start=3)
    result = grading.grade(made, Submission("ada", text), limits)
    assert result.points == 0
    assert all(o.says for o in result.outcomes)


def test_a_submission_that_could_not_be_read_says_why():
    result = grading.grade(HW1, Submission("ada", problem="hw1.ipynb is empty"))
    assert result.points == 0
    assert {o.says for o in result.outcomes} == {"hw1.ipynb is empty"}


def test_the_reference_is_not_there_to_be_called():
    made = sheet.of_operators("hw", ["softmax"], written=False)
    text = "from visattn import ops\nsoftmax_forward = ops.softmax.forward\nsoftmax_backward = ops.softmax.backward\n"
    assert graded(text, made).points == 0
