"""nbgrader, otter and our grader give every test of every operator the same marks, and what students get is what they
make of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("nbgrader")
pytest.importorskip("otter")
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import graders

from visattn import ops
from visattn.assignment import sheet, targets

pytestmark = pytest.mark.graders
SLOW = ("flash",)                                   # half of the time of all; `benchmarks/graders.py` has it
VOICES = ("prints", "logs", "warns", "writes", "plots")


@pytest.fixture(scope="module")
def found():
    """Every operator: the solution, the stub, and a mistake in each; `benchmarks/graders.py` has five."""
    made = sheet.of_operators("hw1", [op for op in dir(ops) if op not in SLOW], written=False)
    return made, graders.graded(made, graders.submissions(made, 1), jobs=2)


def test_all_graders_agree_on_every_test(found):
    assert not graders.differing(found[1])


def test_the_solution_earns_everything_and_the_stub_nothing(found):
    made, graded = found
    for grader, marks in graded.marks.items():
        assert marks["solution"] == {test.name: test.points for test in made.tests}, grader
        assert set(marks["stub"].values()) == {0}, grader


def test_a_mistake_costs_every_operator_something(found):
    made, graded = found
    for op in made.ops:
        tests = [test for test in made.tests if test.exercise == op]
        earned = sum(graded.marks["visattn"]["mistake_1"][test.name] for test in tests)
        assert earned < sum(test.points for test in tests), f"{op}: {graders.chosen(op, 0, 1).name}"


def test_a_right_answer_that_speaks_keeps_its_marks():
    made = sheet.of_operators("hw1", ["softmax"], written=False)
    everything = "; ".join(graders.SPEAKS[voice] for voice in VOICES)
    graded = graders.graded(made, graders.right(made, {"speaks": everything}), jobs=2)
    for grader, marks in graded.marks.items():
        assert marks["speaks"] == {test.name: test.points for test in made.tests}, grader


def cells(path):
    book = json.loads(path.read_text(encoding="utf-8"))
    return [(cell["cell_type"], "".join(cell["source"]), {k: v for k, v in cell["metadata"].items() if k != "visattn"})
            for cell in book["cells"]], book["metadata"]


def command(folder, *words):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run([sys.executable, "-m", *words], cwd=folder, capture_output=True, text=True, check=True,
                          env=os.environ | {"PATH": path})


def test_students_get_what_nbgrader_releases(tmp_path):
    made = sheet.of_operators("hw1", ["softmax"])
    targets.write(made, tmp_path / "hw1", "nbgrader")
    course = tmp_path / "hw1/instructor"
    command(course, "nbgrader", "generate_assignment", "hw1")
    assert cells(course / "release/hw1/hw1.ipynb") == cells(tmp_path / "hw1/student/hw1.ipynb")
    said = command(course, "nbgrader", "validate", "source/hw1/hw1.ipynb")
    assert "Success! Your notebook passes all the tests." in said.stdout


def test_students_get_what_otter_makes(tmp_path):
    import ast

    made = sheet.of_operators("hw1", ["softmax"])
    targets.write(made, tmp_path / "hw1", "otter")
    command(tmp_path / "hw1/instructor", "otter", "assign", "hw1.ipynb", "dist", "--no-run-tests")
    theirs, their_metadata = cells(tmp_path / "hw1/instructor/dist/student/hw1.ipynb")
    ours, our_metadata = cells(tmp_path / "hw1/student/hw1.ipynb")
    assert ours == theirs
    tests = [metadata["otter"].pop("tests") for metadata in (our_metadata, their_metadata)]
    assert our_metadata == their_metadata
    same_code = [{name: ast.dump(ast.parse(text)) for name, text in each.items()} for each in tests]
    assert same_code[0] == same_code[1]
