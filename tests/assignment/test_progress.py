"""What a learner's files pass is judged anew, whatever notebook it was begun in."""

import pytest
from answers import code, mistaken

from visattn.assignment import progress as module
from visattn.assignment import sheet
from visattn.assignment.ready import READY
from visattn.assignment.workspace import workspace

SOFTMAX = sheet.of_operators("hw", ["softmax"], written=False)


def test_a_file_is_judged_by_the_operators_it_defines(tmp_path):
    (tmp_path / "right.py").write_text("import numpy as np\nfrom typing import NamedTuple\n" + code(SOFTMAX))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "wrong.py").write_text(mistaken(SOFTMAX, "softmax", "no_row_sum"))
    (tmp_path / "notes.txt").write_text("softmax_forward")
    (tmp_path / "empty.py").write_text("")
    rows = module.progress(tmp_path)
    assert [(r.file, r.op, r.passed, r.of) for r in rows] == [
        ("right.py", "softmax", 5, 5), ("sub/wrong.py", "softmax", 3, 5)]
    (asks, why), _ = rows[1].left
    assert asks == "the gradient of x, on plain inputs"
    assert "must sum to 0" in why


def test_what_is_given_is_no_work_of_the_learner_s(tmp_path):
    made = sheet.of_operators("hw", ["squeeze_excite"], written=False)
    (tmp_path / "hw.py").write_text(code(made))
    assert [r.op for r in module.progress(tmp_path)] == ["squeeze_excite"]


def test_a_forward_alone_is_asked_for_the_output_alone(tmp_path):
    (tmp_path / "a.py").write_text("import numpy as np\ndef relu_forward(x):\n    return np.maximum(x, 0), x\n")
    (row,) = module.progress(tmp_path / "a.py")
    assert (row.passed, row.of) == (2, 2)


def test_nothing_to_judge_is_said(tmp_path):
    with pytest.raises(FileNotFoundError):
        module.progress(tmp_path / "nothing")
    with pytest.raises(ValueError, match="defines no operator"):
        module.progress(tmp_path)


def test_a_workspace_brings_what_is_not_there_and_leaves_what_is(tmp_path):
    pytest.importorskip("nbformat")
    mine = tmp_path / "gates.ipynb"
    mine.write_text("my own work")
    made = workspace(tmp_path)
    assert mine.read_text() == "my own work"
    assert {path.stem for path in made} >= set(READY) - {"gates"}
    assert not workspace(tmp_path)
    assert not any("BEGIN SOLUTION" in path.read_text() for path in made)
