"""Copies are found whatever their names and remarks; right answers of people who did not copy are not."""

import random
import re

import pytest

from visattn.assignment import similar
from visattn.assignment.records import solved, unsolved
from visattn.assignment.sheet import of_operators

SHEET = of_operators("hw1", ["attention"], key="key")
SOLUTION = "\n\n\n".join(solved(c.source) for c in SHEET.cells if c.kind == "answer")
STUB = "\n\n\n".join(unsolved(c.source) for c in SHEET.cells if c.kind == "answer")
LINES = ("total = total + weight * 3", "part = np.sqrt(part) - offset", "rest = part[:, None] @ rest.T",
         "kept = [x for x in rest if x > limit]", "offset, limit = limit % 7, offset // 2", "rows = np.cumsum(rows, 0)",
         "weight = max(weight, limit) ** 0.5", "part = np.where(part > 0, part, -part)", "limit -= len(kept)",
         "rest = np.concatenate([rest, part], axis=-1)", "if offset > limit: offset = 0", "rows[1:] += rows[:-1]")


def person(number, extra=LINES, head="attention_forward(q, k, v)"):
    """An answer of somebody's own: lines in an order that only they have."""
    order = [*range(len(extra))]
    random.Random(number).shuffle(order)
    body = [extra[i].replace("2", str(number % 9 + 1)) for i in order] * 2
    return f"def {head}:\n" + "\n".join(f"    {line}" for line in body) + "\n"


def renamed(code):
    """A copy that somebody tried to hide."""
    for i, name in enumerate(("total", "weight", "part", "offset", "rest", "kept", "limit", "rows")):
        code = re.sub(rf"\b{name}\b", f"name_{i}", code)
    return code.replace("):\n", '):\n    """Mine."""\n    # all my own work\n', 1)


CLASS = {f"student{i}": person(i) for i in range(12)}


def test_a_copy_with_other_names_and_remarks_is_found_and_nobody_else():
    found = similar.pairs(CLASS | {"copy": renamed(CLASS["student3"])}, SHEET)
    assert [(pair.one, pair.other) for pair in found] == [("copy", "student3")]
    assert found[0].share > 0.95
    assert found[0].usual < found[0].share / 2


def test_a_class_of_its_own_words_has_no_pairs():
    assert similar.pairs(CLASS, SHEET) == []


def test_stubs_and_what_is_given_are_nobodys():
    assert similar.pairs({f"s{i}": STUB for i in range(5)}, SHEET) == []
    given = "\n".join(c.source for c in SHEET.cells if c.kind == "given") + "\n\n\n"
    assert similar.pairs({name: given + code for name, code in CLASS.items()}, SHEET) == []
    assert similar.pairs({name: given + CLASS[name] for name in ("student1", "student2")}, SHEET) == []


def test_what_most_of_the_class_has_is_no_sign():
    assert similar.pairs({name: SOLUTION + "\n\n\n" + code for name, code in CLASS.items()}, SHEET) == []


def test_short_answers_say_nothing():
    short = "def attention_forward(q, k, v):\n    return q, None\n"
    assert similar.pairs({"a": short, "b": short}, SHEET) == []


def test_two_of_two_are_compared():
    found = similar.pairs({"a": CLASS["student1"], "b": renamed(CLASS["student1"])}, SHEET)
    assert [(p.one, p.other) for p in found] == [("a", "b")]


@pytest.mark.parametrize("code", ["def f(:\n", "x = '''", "\0", "(" * 300, ""])
def test_what_is_no_python_is_no_trouble(code):
    assert similar.pairs({"a": code, "b": code}, SHEET) == []
