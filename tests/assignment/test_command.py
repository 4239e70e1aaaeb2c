"""`visattn assignment new` makes two folders, or says in one line why not and writes nothing."""

import json

import pytest

from visattn.cli import main

pytest.importorskip("nbformat")


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def call(*words):
        status = main(["assignment", *words])
        out, err = capsys.readouterr()
        return status, out, err

    return call


def test_makes_a_folder_for_students_and_one_for_their_instructor(run, tmp_path):
    status, out, _ = run("new", "hw1", "--ops", "softmax,attention")
    assert status == 0
    assert "attention_dq" in out
    assert "hand out all of it" in out
    assert (tmp_path / "hw1" / "student" / "hw1.ipynb").exists()
    assert (tmp_path / "hw1" / "instructor" / "assignment.json").exists()


def test_json_says_what_was_made(run, tmp_path):
    status, out, _ = run("new", "hw1", "--ops", "softmax", "--points", "20", "--variants", "--json", "--out", "made")
    told = json.loads(out)
    assert (status, told["points"], told["variants"], told["ops"]) == (0, 20, True, ["softmax"])
    assert all((tmp_path / file).is_file() for file in told["files"])


@pytest.mark.parametrize("name", ["softmax_and_attention", "gates", "grid_sampling", "through_time"])
def test_four_assignments_are_ready(run, name):
    status, out, _ = run("new", name, "--json")
    assert status == 0
    assert json.loads(out)["title"] != name


@pytest.mark.parametrize(("words", "says"), [
    (["hw1"], "--ops: name at least one operator, or take a NAME that is ready: softmax_and_attention"),
    (["hw1", "--ops", "attenton"], "there is no operator or model 'attenton'; did you mean attention"),
    (["hw1", "--ops", "softmax", "--target", "moodle"], "--target: there is no 'moodle'; there is plain"),
    (["hw1", "--ops", "softmax", "--parts", "front"], "--parts: there is no 'front'"),
    (["hw1", "--ops", "softmax", "--lang", "xx"], "--lang: there is no 'xx'"),
    (["hw1", "--ops", "softmax", "--points", "2"], "--points: 2 do not add up"),
    (["hw 1", "--ops", "softmax"], "NAME must be letters, digits and _"),
    (["hw1", "--ops", "softmax", "--out", "file/below"], "file"),
    (["hw1", "--ops", "softmax", "--from", "file"], "--ops and --from: give one of them"),
])
def test_a_mistake_is_one_line_and_nothing_is_written(run, tmp_path, words, says):
    (tmp_path / "file").write_text("")
    status, out, err = run("new", *words)
    assert status == 2
    assert says in err
    assert len(err.splitlines()) == 1
    assert not out
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_assignment_that_is_there_is_kept(run, tmp_path):
    run("new", "hw1", "--ops", "softmax")
    before = (tmp_path / "hw1" / "instructor" / "assignment.json").read_text()
    status, _, err = run("new", "hw1", "--ops", "attention")
    assert status == 2
    assert "hw1 is there already; --force keeps it beside the new one" in err
    assert (tmp_path / "hw1" / "instructor" / "assignment.json").read_text() == before
    assert run("new", "hw1", "--ops", "attention", "--force")[0] == 0
    assert (tmp_path / "hw1.1" / "instructor" / "assignment.json").read_text() == before


def test_a_workspace_and_what_is_right_in_it(run, capsys):
    status, out, err = run("lab", "ws")
    assert status == 0
    assert "ws/gates.ipynb" in out
    assert "visattn progress ws" in err
    assert main(["progress", "ws/grid_sampling.ipynb", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["op"], row["passed"]) for row in rows] == [("affine_grid", 0), ("grid_sample", 0)]
    assert main(["progress", "nothing"]) == 2
