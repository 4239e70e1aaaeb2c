"""A marked notebook or script is a sheet; where it is not, one line names the cell."""

import json
import re

import pytest

from visattn.assignment import grading, marked, records, targets
from visattn.assignment.records import BEGIN, END

SCRIPT = f'''# %% [markdown]
# # Ratios
# Of one to the whole.

# %%
import numpy as np

# %% role="answer" name="ratio" points=3
def ratio(a, b):
    """a / (a + b)"""
    {BEGIN}
    whole = a + b
    return a / whole
    {END}

# %% role="test" name="half" points=2
# the half
assert ratio(1, 1) == 0.5, f"ratio(1, 1) is 0.5; got {{ratio(1, 1)}}"

# %% role="test" name="third" points=1 hidden=true
text = """
no indentation"""
assert abs(ratio(1, 2) - 1 / 3) < 1e-9

# %% [markdown] role="written" name="why" points=4
# Why?
# {BEGIN}
# Because.
# {END}
'''


def sheet(tmp_path, text=SCRIPT, name="ratios.py"):
    (tmp_path / name).write_text(text, encoding="utf-8")
    return marked.sheet("hw", tmp_path / name)


def test_a_script_becomes_a_sheet(tmp_path):
    made = sheet(tmp_path)
    assert (made.title, made.points) == ("Ratios", 7)
    assert [(c.kind, c.name) for c in made.cells] == [
        ("text", "text_1"), ("given", "given_2"), ("answer", "ratio"), ("test", "half"), ("test", "third"),
        ("written", "why")]
    assert [(t.points, t.asks, t.hidden, t.exercise, t.op) for t in made.tests] == [
        (2, "the half", False, "ratio", ""), (1, "", True, "ratio", "")]
    why = made.cells[-1]
    assert (why.source, why.solution, why.points) == ("Why?", "Because.", 4)


def test_a_notebook_says_the_same_in_its_metadata(tmp_path):
    import jupytext

    book = jupytext.reads(SCRIPT, fmt="py:percent")
    for cell in book.cells:
        said = {k: cell.metadata.pop(k) for k in ("role", "name", "points", "hidden") if k in cell.metadata}
        cell.metadata = {"visattn": said} if said else {}
    by_script, by_notebook = sheet(tmp_path), sheet(tmp_path, jupytext.writes(book, fmt="ipynb"), "ratios.ipynb")
    assert by_notebook.cells == by_script.cells


def test_a_notebook_of_nbgrader_is_read_as_it_is(tmp_path):
    first = sheet(tmp_path)
    source = targets.files(first, "nbgrader")["instructor/source/hw/hw.ipynb"]
    book = json.loads(source)
    for cell in book["cells"]:
        cell["metadata"].pop("visattn")
    again = sheet(tmp_path, json.dumps(book), "hw.ipynb")
    assert [(t.name, t.points, t.hidden) for t in again.tests] == [("half", 2, False), ("third", 1, True)]
    assert [c for c in again.cells if c.kind == "answer"] == [c for c in first.cells if c.kind == "answer"]
    assert [(c.name, c.solution, c.points) for c in again.cells if c.kind == "written"] == [("why", "Because.", 4)]
    assert not any("HIDDEN TESTS" in c.source for c in again.cells)


@pytest.mark.parametrize(("old", "new", "says"), [
    (f"    {END}\n", "", "cell 3 (ratio): a solution is not closed: ### END SOLUTION is missing"),
    (f"    {BEGIN}\n    whole", "    whole", "cell 3 (ratio): ### END SOLUTION stands without a solution"),
    (f"    {BEGIN}\n", f"    {BEGIN}\n    {BEGIN}\n", "cell 3 (ratio): ### BEGIN SOLUTION stands inside of a solution"),
    ("points=2\n", "\n", "cell 4 (half): a test needs points="),
    ('name="third"', 'name="half"', "cell 5 (half): its name is that of cell 4"),
    ("points=3", "points=4", "cell 3 (ratio): points=4, but its tests have 3 together"),
    ('role="test" name="half"', 'role="quiz" name="half"',
     "cell 4 (half): there is no role 'quiz'; there is text, given, answer, test, written"),
    ("assert ratio(1, 1) == 0.5,", "assert ration(1, 1) == 0.5,", "cell 4 (half): nobody defines ration"),
    ("points=2\n", "points=0\n", "cell 4 (half): points must be a whole number, at least 1; got 0"),
    ("points=2\n", 'points="two"\n', "cell 4 (half): points must be a whole number, at least 1; got 'two'"),
    ("hidden=true", 'hidden="yes"', "cell 5 (third): hidden must be true or false; got 'yes'"),
    ('name="third"', 'name="1/3"',
     "cell 5 (1/3): its name must be letters, digits and _, not beginning with a digit; got '1/3'"),
    (' name="third"', "", "cell 5: a cell with the role test needs a name"),
    ("return a / whole", "return a / / whole", "cell 3 (ratio): line 4 is no Python: invalid syntax"),
    ("import numpy as np", f"{BEGIN}\nimport numpy as np\n{END}",
     "cell 2 (given_2): a solution stands in a cell with the role given"),
    (' name="why" points=4', ' name="why"', "cell 6 (why): a written question needs points="),
    ("# %% [markdown] role", "# %% role", "cell 6 (why): a cell with the role written must be text"),
])
def test_what_does_not_fit_is_one_line_that_names_the_cell(old, new, says, tmp_path):
    assert SCRIPT.count(old) >= 1
    with pytest.raises(ValueError, match=f"^{re.escape(f'{tmp_path}/ratios.py: {says}')}$"):
        sheet(tmp_path, SCRIPT.replace(old, new, 1))


def test_a_file_without_anything_graded_and_one_that_is_no_notebook(tmp_path):
    with pytest.raises(ValueError, match="nothing is graded"):
        sheet(tmp_path, "# %%\nx = 1\n")
    with pytest.raises(ValueError, match="it is no notebook"):
        sheet(tmp_path, "{", "broken.ipynb")
    with pytest.raises(ValueError, match="it must be a notebook"):
        sheet(tmp_path, "", "notes.txt")


def graded(made, change=lambda text: text):
    code = "\n\n".join(records.solved(cell.source) for cell in made.cells if cell.kind in ("given", "answer"))
    found = grading.grade(made, grading.Submission("ada", change(code)))
    return [(o.passed, o.says) for o in found.outcomes]


def test_tests_that_are_code_run_beside_the_answer(tmp_path):
    made = sheet(tmp_path)
    assert graded(made) == [(True, "right"), (True, "right")]
    assert graded(made, lambda t: t.replace("a / whole", "b / whole")) == [
        (True, "right"), (False, "what is tried does not hold")]
    assert graded(made, lambda t: t.replace("a / whole", "a")) == [
        (False, "ratio(1, 1) is 0.5; got 1"), (False, "what is tried does not hold")]
    stub = "def ratio(a, b):\n    raise NotImplementedError\n"
    assert graded(made, lambda t: stub) == [(False, "nothing is written here yet")] * 2


@pytest.mark.parametrize("said", ["print('x')", "import sys; print('x', file=sys.stderr)",
                                  "import warnings; warnings.warn('x')"])
def test_a_right_answer_may_say_something(said, tmp_path):
    assert all(passed for passed, _ in graded(sheet(tmp_path), lambda t: t.replace(
        "    whole = a + b", f"    {said}\n    whole = a + b")))


def test_whatever_an_answer_does_is_an_outcome(tmp_path):
    made = sheet(tmp_path)
    outcomes = graded(made, lambda t: t.replace("whole = a + b", "import os; os._exit(3)"))
    assert [passed for passed, _ in outcomes] == [False, False]
    outcomes = graded(made, lambda t: t.replace("a / whole", "a / nothing"))
    assert "NameError" in outcomes[0][1]
    assert not any("1 / 3" in says for _, says in outcomes), "what is hidden is not told"
