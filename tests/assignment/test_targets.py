"""Four targets of one sheet: students get stubs and public tests, no line of a solution; all is written or nothing."""

import ast
import json
import os
import subprocess
import sys

import pytest

from visattn import ops
from visattn.assignment import records, sheet, targets
from visattn.assignment.records import BEGIN, END, Cell, Sheet


@pytest.fixture(scope="module")
def made():
    return sheet.of_operators("hw1", ["softmax", "squeeze_excite"], key="0123")


def small(**changes):
    """A sheet by hand: one answer, a public and a hidden test."""
    cells = (Cell("text", "about", "# Ratios"),
             Cell("given", "setup", "import numpy as np"),
             Cell("answer", "ratio",
                  f"def ratio(a, b):\n    {BEGIN}\n    whole = a + b\n    return a / whole\n    {END}"),
             Cell("test", "half", "assert ratio(1, 1) == 0.5, 'half of it'",
                  records.Test("half", 2, "the half", exercise="ratio")),
             Cell("test", "third", "assert abs(ratio(1, 2) - 1 / 3) < 1e-9", records.Test("third", 1, "", True)),
             Cell("written", "why", "Why?", points=3, solution="Because."))
    return Sheet("hw2", "Ratios", cells, key="k")._replace(**changes)


def sources(text):
    return [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(text)["cells"]]


@pytest.mark.parametrize("target", targets.TARGETS)
def test_students_and_instructor_get_a_folder_each(target, made, tmp_path):
    paths = targets.write(made, tmp_path / "hw1", target)
    assert {path.relative_to(tmp_path / "hw1").parts[0] for path in paths} == {"student", "instructor"}
    assert records.read(tmp_path / "hw1/instructor/assignment.json") == made
    assert (tmp_path / "hw1/instructor/visattn.key").read_text() == "0123\n"
    assert os.stat(tmp_path / "hw1/instructor").st_mode & 0o077 == 0
    assert [path.name for path in tmp_path.iterdir()] == ["hw1"]


@pytest.mark.parametrize("target", targets.TARGETS)
def test_what_students_get_has_neither_solutions_nor_hidden_tests_nor_the_key(target, made):
    for path, text in targets.files(made, target).items():
        if path.startswith("student/"):
            for word in ("SOLUTION", "0123", '"edges", ', '"gradients", ', "'edges'"):
                assert word not in text, (path, word)
            assert not targets.leaks(made, path, text)


@pytest.mark.parametrize("name", dir(ops))
def test_no_eight_tokens_of_a_solution_reach_students(name):
    for parts, kinds in ((("forward", "backward", "derivation"), targets.TARGETS),
                         (("forward", "backward"), ("plain",)), (("backward",), ("plain", "pytest"))):
        try:
            one = sheet.of_operators("hw1", [name], parts=parts)
        except ValueError:                              # its backward is no list of assignments
            continue
        for target in kinds:
            made = targets.files(one, target)           # refuses by itself where a text tells one
            answers = {cell.name for cell in one.cells if cell.kind == "answer"}
            kept = [targets.leaks(one, path, text).keys() for path, text in made.items() if "instructor/" in path]
            assert answers == set().union(*kept), "a solution that the instructor does not have cannot be looked for"


def test_a_text_that_tells_a_solution_is_refused(tmp_path):
    told = Cell("text", "hint", "As you know, whole = a + b\n    return a / whole, and that is it.")
    with pytest.raises(ValueError, match=r"student/hw2\.ipynb would tell the solution of ratio: "):
        targets.write(small(cells=(*small().cells, told)), tmp_path / "hw2")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_there_is_refused_or_kept(made, tmp_path):
    targets.write(small(), tmp_path / "hw")
    with pytest.raises(FileExistsError, match="hw is there already; --force keeps it"):
        targets.write(small(title="Other"), tmp_path / "hw")
    for _ in range(2):
        targets.write(small(title="Other"), tmp_path / "hw", force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hw", "hw.1", "hw.2"]
    assert records.read(tmp_path / "hw.1/instructor/assignment.json").title == "Ratios"


def test_what_cannot_be_written_whole_is_not_written(tmp_path, monkeypatch):
    def full(*args, **more):
        raise OSError("no space left on the device")

    monkeypatch.setattr(records, "write", full)
    with pytest.raises(OSError, match="no space"):
        targets.write(small(), tmp_path / "hw")
    assert not list(tmp_path.iterdir())


def test_an_unknown_target_is_named(tmp_path):
    with pytest.raises(ValueError, match="there is no 'canvas'; there is plain, nbgrader, otter, pytest"):
        targets.write(small(), tmp_path / "hw", "canvas")


def test_the_solution_of_the_plain_notebook_runs():
    cells = sources(targets.files(small(), "plain")["instructor/hw2_solution.ipynb"])
    exec("\n".join(text for kind, text in cells if kind == "code"), {})


def test_the_students_plain_notebook_says_what_else_is_tried():
    cells = sources(targets.files(small(), "plain")["student/hw2.ipynb"])
    assert ("code", "def ratio(a, b):\n    raise NotImplementedError") in cells
    assert ("code", "# the half: 2 points\nassert ratio(1, 1) == 0.5, 'half of it'") in cells
    assert any("### When it is graded" in text and "- third (1)" in text for _, text in cells)
    assert not any("1 / 3" in text or "Because" in text for _, text in cells)


def test_every_notebook_is_valid_and_its_cells_are_found_by_name(made):
    for target in ("plain", "nbgrader", "otter"):
        for path, text in targets.files(made, target).items():
            if path.endswith(".ipynb"):
                book = json.loads(text)
                assert (book["nbformat"], book["nbformat_minor"]) >= (4, 5)
                named = {cell["metadata"].get("visattn", {}).get("name") for cell in book["cells"]}
                assert {"softmax_forward", "squeeze_excite_backward", "squeeze_excite_mistake"} <= named, path


def test_nbgrader_cells_have_metadata_of_schema_3():
    text = targets.files(small(), "nbgrader")["instructor/source/hw2/hw2.ipynb"]
    marks = {c["metadata"]["nbgrader"]["grade_id"]: c for c in json.loads(text)["cells"] if "nbgrader" in c["metadata"]}
    assert {name: (c["metadata"]["nbgrader"]["grade"], c["metadata"]["nbgrader"]["solution"],
                   c["metadata"]["nbgrader"].get("points")) for name, c in marks.items()} == {
        "setup": (False, False, None), "ratio": (False, True, None), "half": (True, False, 2),
        "third": (True, False, 1), "why_asks": (False, False, None), "why": (True, True, 3)}
    assert "".join(marks["third"]["source"]).splitlines()[1::2] == ["### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS"]
    assert "".join(marks["why"]["source"]) == "Because."


def test_a_test_that_ends_in_a_value_would_be_taken_for_a_score():
    cells = (*small().cells[:3], Cell("test", "half", "ratio(1, 1)", records.Test("half", 2, "")))
    for target in ("plain", "nbgrader"):
        for path, text in targets.files(small(cells=cells), target).items():
            if path.endswith(".ipynb"):
                last = ast.parse(next(t for _, t in sources(text) if t.startswith("# 2 points"))).body[-1]
                assert ast.unparse(last) == "None"


def test_otter_gets_a_case_with_its_points_for_every_test():
    cells = sources(targets.files(small(), "otter")["instructor/hw2.ipynb"])
    raw = [text.partition("\n")[0] for kind, text in cells if kind == "raw"]
    assert raw == ["# ASSIGNMENT CONFIG",
                   "# BEGIN QUESTION", "# BEGIN SOLUTION", "# END SOLUTION", "# BEGIN TESTS", "# END TESTS",
                   "# END QUESTION",
                   "# BEGIN QUESTION", "# BEGIN PROMPT", "# END PROMPT", "# BEGIN SOLUTION", "# END SOLUTION",
                   "# END QUESTION"]
    tests = [text for kind, text in cells if "BEGIN TEST CONFIG" in text]
    assert [("points: 2" in t, "hidden: true" in t, "def test_third(ratio):" in t) for t in tests] == [
        (True, False, False), (False, True, True)]
    answer = next(text for kind, text in cells if "BEGIN PROMPT" in text and kind == "code")
    exec(answer, space := {})
    assert space["ratio"](1, 3) == 0.25


def test_the_folder_for_pytest_passes_with_the_solution_and_fails_with_the_stub(made, tmp_path):
    targets.write(made, tmp_path / "hw1", "pytest")

    def outcome(folder):
        done = subprocess.run([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--tb=short", "-q"],
                              cwd=tmp_path / "hw1" / folder, capture_output=True, text=True,
                              env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"})
        return done.stdout

    assert f"{len(made.tests)} passed" in outcome("instructor")
    text = outcome("student")
    public = sum(not test.hidden for test in made.tests)
    assert f"{public} failed" in text
    assert "nothing is written here yet" in text
