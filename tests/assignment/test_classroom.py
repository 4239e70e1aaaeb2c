"""A class is graded whatever is in it: nobody is lost, nobody's marks depend on others, on the order, or on a kill."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from visattn import cli
from visattn.assignment import classroom, feedback, marks, records, submissions
from visattn.assignment.sheet import of_operators

ROOT = Path(__file__).parents[2]
SHEET = of_operators("hw1", ["softmax"], key="key", written=False)
EVERY = frozenset(test.name for test in SHEET.tests)


def benchmark():
    """The module that makes a class: benchmarks/classroom.py."""
    spec = importlib.util.spec_from_file_location("benchmark_classroom", ROOT / "benchmarks" / "classroom.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


made = benchmark()


def small_class():
    """One of many kinds, and what each must earn."""
    answers = {c.name: records.solved(c.source) for c in SHEET.cells if c.kind == "answer"}
    no_row_sum = next(c for c in made.changes.own(made.ops.softmax.__name__) if c.name == "no_row_sum")
    crash = "def softmax_forward(x, *, axis=-1, mask=None):\n    import os\n    os._exit(3)\n"
    book = made.notebook(SHEET, answers)
    return [
        made.Member("right", "right", {"right/hw1.ipynb": book}, None),
        made.Member("file", "right", {"file.py": made.module(SHEET, answers)}, None),
        made.Member("mistake", "mistakes", {"mistake.ipynb": made.notebook(SHEET, made.mistaken(SHEET, no_row_sum))},
                    made.earned(SHEET, no_row_sum)),
        made.Member("stub", "nothing", {"stub.ipynb": made.notebook(SHEET, {})}, made.NONE),
        made.Member("crash", "hostile", {"crash.py": crash.encode()}, made.NONE),
        made.Member("broken", "unreadable", {"broken.ipynb": book[:99]}, made.NONE, "unreadable"),
    ]


@pytest.fixture(scope="module")
def graded_class(tmp_path_factory):
    """(folder, members, results) of the small class."""
    folder = tmp_path_factory.mktemp("class")
    found = small_class()
    made.put(found, folder / "submissions")
    records.write(SHEET, folder / "assignment.json")
    results = classroom.run(folder / "submissions", SHEET, folder / "out", jobs=2)
    return folder, found, results


def table(results):
    return marks.as_json(SHEET, results)


# --- with workers that grade

def test_nobody_is_lost_and_no_mark_is_wrong(graded_class):
    _, found, results = graded_class
    assert made.wrong(SHEET, found, table(results)) == ([], [])
    assert made.NONE < found[2].passes < EVERY


def test_what_is_done_is_not_done_again_and_the_table_is_the_same(graded_class, monkeypatch):
    folder, _, results = graded_class
    monkeypatch.setattr(classroom.Workers, "graded", lambda *a: pytest.fail("graded again"))
    assert classroom.run(folder / "submissions", SHEET, folder / "out") == results


def test_one_who_hands_in_again_is_graded_again_alone(graded_class, monkeypatch, tmp_path):
    folder, found, _ = graded_class
    asked = []
    monkeypatch.setattr(classroom.Workers, "graded", lambda self, order, limit: asked.append(order.student) or {
        **classroom.stopped(order, ""), "status": "graded"})
    made.put(found, tmp_path / "submissions")
    (tmp_path / "submissions" / "stub.ipynb").write_bytes(found[0].files["right/hw1.ipynb"])
    out = tmp_path / "out" / classroom.RESULTS
    out.mkdir(parents=True)
    for path in (folder / "out" / classroom.RESULTS).iterdir():
        (out / path.name).write_bytes(path.read_bytes())
    classroom.run(tmp_path / "submissions", SHEET, tmp_path / "out")
    assert asked == ["stub"]
    asked.clear()
    classroom.run(tmp_path / "submissions", SHEET._replace(title="another"), tmp_path / "out")
    assert len(asked) == len(found)


def test_reports_and_where_to_read_are_kept_and_no_path_of_this_machine(graded_class):
    folder, _, results = graded_class
    mistake = next(g for g in results if g["student"] == "mistake")
    assert "gradient" in mistake["pages"]["softmax"]
    assert mistake["reads"]["softmax"]
    text = json.dumps(results) + feedback.student(SHEET, mistake)
    assert "visattn-graded-" not in text
    assert str(folder) not in text


def test_killed_and_started_again_it_ends_with_the_same_table(graded_class, tmp_path):
    folder, _, results = graded_class
    call = made.command(folder / "submissions", tmp_path / "out", 2)
    process = subprocess.Popen(call, stdout=subprocess.DEVNULL, start_new_session=True)
    out = tmp_path / "out" / classroom.RESULTS
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (out.is_dir() and [*out.glob("*.json")]):
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert [*out.glob("*.json")]
    assert subprocess.run(call, stdout=subprocess.DEVNULL).returncode == 1              # one could not be graded
    assert json.loads((tmp_path / "out" / "scores.json").read_text()) == table(results)
    assert (tmp_path / "out" / "index.html").is_file()
    assert len([*(tmp_path / "out" / "feedback").iterdir()]) == len(results)


@pytest.mark.graders
def test_a_dask_cluster_gives_the_same_table(graded_class, tmp_path):
    distributed = pytest.importorskip("distributed")
    folder, _, results = graded_class
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
        found = classroom.run(folder / "submissions", SHEET, tmp_path / "out", dask=cluster.scheduler_address)
    assert table(found) == table(results)


# --- with workers that only pretend to

PRETENDS = """
import json, os, sys, time
for line in sys.stdin:
    sheet, student, files, notes, key = json.loads(line)
    if student.startswith("dies"):
        os.kill(os.getpid(), 9)
    if student.startswith("hangs"):
        time.sleep(600)
    if student.startswith("babbles"):
        print("I am right")
    elif student.startswith("fault"):
        print(json.dumps({"fault": "ValueError: no"}))
    else:
        print(json.dumps({"student": student, "status": "graded", "points": len(files), "process": os.getpid()}))
    sys.stdout.flush()
"""


@pytest.fixture
def pretend(monkeypatch):
    monkeypatch.setattr(classroom, "COMMAND", (sys.executable, "-c", PRETENDS))


def handed_in(folder, *students):
    folder.mkdir()
    for student in students:
        (folder / f"{student}.py").write_text("x = 1")
    return folder


def test_a_worker_that_dies_hangs_or_babbles_costs_no_other(pretend, tmp_path):
    names = [f"{what}{i}" for i in range(3) for what in ("dies", "hangs", "babbles", "fault", "ada", "bob")]
    began = time.monotonic()
    results = classroom.run(handed_in(tmp_path / "in", *names), SHEET, tmp_path / "out", jobs=3, limit=1.5)
    assert time.monotonic() - began < 60
    found = {g["student"]: g for g in results}
    assert list(found) == sorted(names)
    for name, graded in found.items():
        assert graded["status"] == ("graded" if name.startswith(("ada", "bob")) else "stopped"), name
    assert "SIGKILL" in found["dies0"]["problem"]
    assert found["hangs0"]["problem"] == "it was not graded within 2 s"
    assert found["babbles0"]["problem"] == "grading it failed: its answer is no JSON"
    assert found["fault1"]["problem"] == "grading it failed: ValueError: no"


def test_a_stopped_submission_is_tried_again_the_next_time(pretend, tmp_path, monkeypatch):
    folder = handed_in(tmp_path / "in", "ada", "dies")
    classroom.run(folder, SHEET, tmp_path / "out", jobs=1)
    monkeypatch.setattr(classroom, "COMMAND", (sys.executable, "-c", PRETENDS.replace('"dies"', '"nobody"')))
    asked, graded = [], classroom.Workers.graded
    monkeypatch.setattr(classroom.Workers, "graded", lambda self, order, limit: asked.append(order.student)
                        or graded(self, order, limit))
    assert [g["status"] for g in classroom.run(folder, SHEET, tmp_path / "out")] == ["graded", "graded"]
    assert asked == ["dies"]


def test_a_machine_that_is_gone_costs_its_submission_alone(tmp_path, monkeypatch):
    def graded(self, order, limit):
        if order.student == "bob":
            raise OSError("no route to host")
        return {**classroom.stopped(order, ""), "status": "graded"}

    monkeypatch.setattr(classroom.Workers, "graded", graded)
    results = classroom.run(handed_in(tmp_path / "in", "ada", "bob", "eve"), SHEET, tmp_path / "out")
    assert [g["status"] for g in results] == ["graded", "stopped", "graded"]
    assert results[1]["problem"] == "its worker is gone: no route to host"


def test_workers_are_used_again_ended_and_leave_no_folder(pretend, tmp_path, monkeypatch):
    monkeypatch.setattr(classroom.tempfile, "tempdir", str(tmp_path))
    results = classroom.run(handed_in(tmp_path / "in", *(f"s{i}" for i in range(12))), SHEET, tmp_path / "out", jobs=2)
    processes = {g["process"] for g in results}
    assert len(processes) <= 2
    for number in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(number, 0)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("visattn")] == []


def test_results_are_in_the_order_of_names_however_they_come(pretend, tmp_path):
    names = ["zoe", "ada", "Bob", "émile", "ада", "a b", "a_b", "a/b".replace("/", "-")]
    results = classroom.run(handed_in(tmp_path / "in", *names), SHEET, tmp_path / "out", jobs=4)
    assert [g["student"] for g in results] == sorted(names)
    assert len({path.name.casefold() for path in (tmp_path / "out" / classroom.RESULTS).iterdir()}) == len(names)


def test_names_of_files_are_of_any_system():
    names = classroom.file_names(["ada", "Ada", "../../etc/passwd", "", "a" * 300, "con\x00", "ада", "."])
    assert names["ada"] == "ada"
    assert len({name.casefold() for name in names.values()}) == 8
    assert all(name.isascii() and name and not name.startswith(".") and len(name) < 120 and "/" not in name
               for name in names.values())


def test_a_key_tells_submissions_sheets_and_students_apart():
    contents = [submissions.Content("a.py", b"x = 1", 1.0)]
    handed = submissions.Handed("ada", (), ())
    keys = {classroom.digest(sheet, who, some) for sheet, who, some in (
        (SHEET, handed, contents), (SHEET._replace(key="other"), handed, contents),
        (SHEET, handed._replace(student="bob"), contents), (SHEET, handed._replace(notes=("late",)), contents),
        (SHEET, handed, [contents[0]._replace(data=b"x = 2")]), (SHEET, handed, []))}
    assert len(keys) == 6
    assert classroom.digest(SHEET, handed, [contents[0]._replace(when=2.0)]) in keys
    two = [*contents, submissions.Content("b.py", b"x = 1", 2.0)]
    newer = [contents[0]._replace(when=3.0), two[1]]                # of several files, the newest may count
    assert classroom.digest(SHEET, handed, two) != classroom.digest(SHEET, handed, newer)


def test_half_a_result_is_no_result(pretend, tmp_path):
    folder = handed_in(tmp_path / "in", "ada")
    classroom.run(folder, SHEET, tmp_path / "out")
    path = tmp_path / "out" / classroom.RESULTS / "ada.json"
    for text in (path.read_text()[:40], "[]", ""):
        path.write_text(text)
        assert [g["points"] for g in classroom.run(folder, SHEET, tmp_path / "out")] == [1]
    assert json.loads(path.read_text())["points"] == 1


# --- the command

def command(capsys, *arguments):
    status = cli.main(["assignment", "grade", *map(str, arguments)])
    return status, *capsys.readouterr()


def test_the_command_says_what_is_wrong_in_one_line(tmp_path, capsys, monkeypatch):
    sheet = records.write(SHEET, tmp_path / "assignment.json")
    folder = handed_in(tmp_path / "in", "ada")
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    for arguments, why in (
            ((tmp_path / "no", "--assignment", sheet, "--out", tmp_path / "out"), "no such folder of submissions"),
            ((tmp_path / "empty", "--assignment", sheet, "--out", tmp_path / "out"), "holds no submissions"),
            ((folder, "--assignment", tmp_path / "no.json", "--out", tmp_path / "out"), "no.json"),
            ((folder, "--assignment", tmp_path / "file", "--out", tmp_path / "out"), "is no assignment"),
            ((folder, "--assignment", sheet, "--out", tmp_path / "file"), "file"),
            ((folder, "--assignment", sheet), "--out")):
        status, _, err = command(capsys, *arguments)
        assert status == 2
        assert why in err
        assert len(err.strip().splitlines()) == 1
    monkeypatch.setitem(sys.modules, "distributed", None)
    status, _, err = command(capsys, folder, "--assignment", sheet, "--out", tmp_path / "out", "--dask", "tcp://x:1")
    assert status == 2
    assert "distributed is not installed: pip install" in err


def test_the_command_grades_a_class_again_from_what_is_there(graded_class, capsys):
    folder, _, results = graded_class
    status, out, _ = command(capsys, folder / "submissions", "--assignment", folder / "assignment.json", "--out",
                             folder / "out", "--json")
    assert status == 1
    assert json.loads(out) == table(results)
    status, out, _ = command(capsys, folder / "submissions", "--assignment", folder / "assignment.json", "--out",
                             folder / "out")
    assert status == 1
    assert "6 submissions, 1 that could not be graded" in out
    assert (folder / "out" / "scores.csv").read_text().startswith("student,points,out_of,percent,status,softmax_output")
