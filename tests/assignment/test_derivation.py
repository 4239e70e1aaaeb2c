"""A derivation is judged line by line: a right line after a wrong one is right."""

from typing import NamedTuple

import numpy as np
import pytest

from visattn import ops
from visattn.assignment import derivation, source
from visattn.assignment.records import solved

KNOWN = derivation.of(ops.attention)
RIGHT = """
def attention_derivation(do, q, k, v, p, scale):
    dv = p.swapaxes(-1, -2) @ do
    dp = do @ v.swapaxes(-1, -2)
    mean = (dp * p).sum(-1, keepdims=True)
    da = p * (dp - mean)
    dq = scale * da @ k
    dk = scale * da.swapaxes(-1, -2) @ q
    return dq, dk, dv
"""


def verdicts(text, op="attention"):
    """{line: whether it is right}"""
    module = getattr(ops, op)
    written = derivation.read(text, derivation.of(module))
    scope = {"np": np, "NamedTuple": NamedTuple}
    exec(source.given(source.parts(module)), scope)
    exec(derivation.together(written), scope)
    found = derivation.judge(module, written, lambda line, args: scope[f"{op}_line"](**args, line=line)[0])
    return {name: not why for name, why in found.items()}


def test_what_is_given_and_what_is_asked_for_is_read_off_the_reference():
    assert KNOWN.names == ("do", "q", "k", "v", "p", "scale")
    assert KNOWN.lines == ("dv", "dp", "da", "dq", "dk")


def test_right_lines_are_right_in_other_words():
    assert all(verdicts(RIGHT).values())


@pytest.mark.parametrize(("line", "instead", "wrong"), [
    ("da = p * (dp - mean)", "da = p * dp", {"da"}),
    ("dp = do @ v.swapaxes(-1, -2)", "dp = 2 * do @ v.swapaxes(-1, -2)", {"dp"}),
    ("mean = (dp * p).sum(-1, keepdims=True)", "mean = dp.mean(-1, keepdims=True)", {"da"}),
    ("dq = scale * da @ k", "dq = da @ k", {"dq"}),
    ("dv = p.swapaxes(-1, -2) @ do", "dv = p @ do", {"dv"}),
    ("dk = scale * da.swapaxes(-1, -2) @ q", "dk = nothing", {"dk"}),
])
def test_a_wrong_line_costs_itself_alone(line, instead, wrong):
    assert line in RIGHT
    assert {name for name, right in verdicts(RIGHT.replace(line, instead)).items() if not right} == wrong


def test_a_line_that_is_not_there_is_said():
    text = RIGHT.replace("    dq = scale * da @ k\n", "").replace("return dq, dk, dv", "return dk, dv")
    assert {name for name, right in verdicts(text).items() if not right} == {"dq"}


def test_a_line_cannot_read_its_own_right_value():
    """The value of a line is there for others only after it was computed."""
    calls = []

    def call(line, args):
        calls.append((line, set(args)))
        return np.zeros(1)

    derivation.judge(ops.attention, derivation.read(RIGHT, KNOWN), call)
    seen = set()
    for line, args in calls:
        assert line not in args
        assert args - set(KNOWN.names) <= seen
        seen.add(line)


@pytest.mark.parametrize(("text", "says"), [
    ("def attention_derivation(do):\n    raise NotImplementedError", "nothing is written here yet"),
    ("def attention_derivation(do):\n    for i in range(3):\n        dv = 1", "line 2 must be one assignment"),
    ("def attention_derivation(do):\n    dv = 1\n    dv = 2", "line 3 assigns dv again"),
    ("def attention_derivation(do, q):\n    q = 1", "line 2 assigns q again"),
    ("def attention_derivation(do):\n    dv, dp = 1, 2", "line 2 must be one assignment"),
    ("def other(do):\n    dv = 1", "there is no function attention_derivation"),
    ("def attention_derivation(do:\n", "is no Python"),
])
def test_what_is_no_list_of_assignments_is_said(text, says):
    with pytest.raises(derivation.Unreadable, match=says):
        derivation.read(text, KNOWN)


def available():
    for name in dir(ops):
        try:
            derivation.of(getattr(ops, name))
        except derivation.Unavailable:
            continue
        yield name


@pytest.mark.parametrize("name", list(available()))
def test_the_reference_s_own_lines_are_right(name):
    text = solved(derivation.stub(getattr(ops, name)))
    found = verdicts(text, name)
    assert found
    assert all(found.values()), found


def test_an_operator_whose_gradient_is_a_loop_has_no_derivation():
    with pytest.raises(derivation.Unavailable, match="list of assignments"):
        derivation.of(ops.flash)
