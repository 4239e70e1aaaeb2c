"""Whatever a learning system exports, everybody is found, and what they wrote is read, not run."""

import json
import warnings
import zipfile
from pathlib import Path

import pytest

from visattn.assignment import reading, records, submissions
from visattn.assignment.records import Cell, solved, unsolved
from visattn.assignment.sheet import of_operators
from visattn.assignment.submissions import Content

SHEET = of_operators("hw1", ["softmax", "attention"], key="key")
ALONE = of_operators("hw1", ["softmax"], key="key")
VARIED = of_operators("hw1", ["softmax"], varied=True, key="key")
GIVEN = of_operators("hw1", ["attention"], key="key")


def notebook(sheet=SHEET, answer=solved, change=lambda cells: cells):
    """The bytes of a notebook as a target makes them."""
    cells = []
    for cell in sheet.cells:
        code = cell.kind in ("given", "answer", "test")
        source = answer(cell.source) if cell.kind == "answer" else cell.source
        if cell.kind == "written":
            cells.append(book_cell(f"{cell.name}_asks", cell.source, code=False))
            source = "*Your answer, in place of this line.*"
        cells.append(book_cell(cell.name, source, code))
    return book(change(cells))


def book_cell(name, source, code=True):
    return {"cell_type": "code" if code else "markdown", "source": source.splitlines(keepends=True),
            "metadata": {"visattn": {"name": name}} if name else {}, "outputs": [], "execution_count": None}


def book(cells):
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}).encode()


def read(data, sheet=SHEET, name="hw1.ipynb", student="ada"):
    return reading.read(student, [Content(name, data, 0.0)], sheet)


def defined(submission):
    """What the code defines, by running it: it is ours."""
    space = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec("import numpy as np\nfrom typing import NamedTuple\n" + submission.code, space)
    return space


def works(submission, op="softmax"):
    import numpy as np

    p, _ = defined(submission)[f"{op}_forward"](np.zeros((2, 4)))
    return bool(np.allclose(p, 0.25))


# --- folders and archives

def put(folder, files):
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def packed(path, files, **options):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, **options) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def found(path, sheet=SHEET):
    return {h.student: [f.name for f in h.files] for h in submissions.collect(path, sheet)}


LAYOUTS = {
    "files": ({"ada.py": b"x", "bob.ipynb": b"x"}, {"ada": ["ada.py"], "bob": ["bob.ipynb"]}),
    "folders": ({"ada/hw1.ipynb": b"x", "bob/b.py": b"x"}, {"ada": ["hw1.ipynb"], "bob": ["b.py"]}),
    "one folder": ({"ada/hw1.ipynb": b"x"}, {"ada": ["hw1.ipynb"]}),
    "named after it": ({"hw1_ada.py": b"x", "bob-hw1.py": b"x"}, {"ada": ["hw1_ada.py"], "bob": ["bob-hw1.py"]}),
    "nbgrader": ({"submitted/ada/hw1/hw1.ipynb": b"x", "submitted/ada/hw2/hw2.ipynb": b"x", "gradebook.db": b"x",
                  "submitted/bob/hw1/hw1.ipynb": b"x", "source/hw1/hw1.ipynb": b"x"},
                 {"ada": ["hw1/hw1.ipynb"], "bob": ["hw1/hw1.ipynb"]}),
    "nbgrader inside": ({"ada/hw1/hw1.ipynb": b"x", "bob/hw1/hw1.ipynb": b"x"},
                        {"ada": ["hw1/hw1.ipynb"], "bob": ["hw1/hw1.ipynb"]}),
    "Moodle": ({"Ada Lovelace_12345_assignsubmission_file_/hw1.ipynb": b"x",
                "Ada Lovelace_12345_assignsubmission_onlinetext_/onlinetext.html": b"x",
                "Bob Ross_77_assignsubmission_file_hw1.py": b"x"},
               {"Ada Lovelace": ["hw1.ipynb", "onlinetext.html"], "Bob Ross": ["hw1.py"]}),
    "two of one name": ({"Ada L_1_assignsubmission_file_/hw1.py": b"x", "Ada L_2_assignsubmission_file_/hw1.py": b"x"},
                        {"Ada L 1": ["hw1.py"], "Ada L 2": ["hw1.py"]}),
    "Canvas": ({"lovelaceada_12345_67890_hw1.ipynb": b"x", "rossbob_LATE_99_67891_hw1-2.ipynb": b"x"},
               {"lovelaceada": ["hw1.ipynb"], "rossbob": ["hw1-2.ipynb"]}),
    "Blackboard": ({"hw1_ada_attempt_2026-11-29-10-00-00_hw1.ipynb": b"x",
                    "hw1_ada_attempt_2026-11-29-10-00-00.txt": b"x"},
                   {"ada": ["hw1_ada_attempt_2026-11-29-10-00-00.txt", "hw1.ipynb"]}),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_everybody_is_found_in_what_learning_systems_export(layout, tmp_path):
    files, wanted = LAYOUTS[layout]
    put(tmp_path / "class", files)
    packed(tmp_path / "class.zip", files)
    (tmp_path / "with an archive").mkdir()
    packed(tmp_path / "with an archive" / "export.zip", files)
    for path in (tmp_path / "class", tmp_path / "class.zip", tmp_path / "with an archive"):
        there = {student: sorted(names) for student, names in found(path).items()}
        if layout == "one folder" and path.name == "with an archive":
            wanted = {"export": ["ada/hw1.ipynb"]}
        if layout == "Blackboard":
            there = {student: [n for n in names if n.endswith("ipynb")] for student, names in there.items()}
            wanted = {"ada": ["hw1.ipynb"]}
        assert there == {student: sorted(names) for student, names in wanted.items()}


def test_a_zip_of_zips_is_a_class(tmp_path):
    one = {"hw1/hw1.ipynb": b"x"}
    inner = {f"{who}.zip": packed(tmp_path / f"{who}.zip", one).read_bytes() for who in ("ada", "bob")}
    for who in ("ada", "bob"):
        (tmp_path / f"{who}.zip").unlink()
    assert found(packed(tmp_path / "class.zip", inner)) == {"ada": ["hw1/hw1.ipynb"], "bob": ["hw1/hw1.ipynb"]}
    handed = submissions.collect(tmp_path / "class.zip", SHEET)[0]
    assert [c.data for c in submissions.contents(handed)] == [b"x"]


def test_an_archive_of_one_student_is_that_students(tmp_path):
    packed(tmp_path / "ada.zip", {"hw1.ipynb": b"x", "notes/more.py": b"x"})
    packed(tmp_path / "bob.zip", {"src/hw1.py": b"x"})
    assert found(tmp_path) == {"ada": ["hw1.ipynb", "notes/more.py"], "bob": ["src/hw1.py"]}


def test_nothing_leads_out_of_a_folder_or_an_archive(tmp_path):
    (tmp_path / "secret.py").write_text("x = 1")
    put(tmp_path / "class", {"ada/hw1.py": b"y = 1"})
    (tmp_path / "class" / "eve").symlink_to(tmp_path)
    (tmp_path / "class" / "ada" / "link.py").symlink_to(tmp_path / "secret.py")
    link = zipfile.ZipInfo("link.py")
    link.external_attr = 0o120777 << 16
    packed(tmp_path / "class" / "bob.zip", {"../../secret.py": b"x", "/etc/passwd.py": b"x", "..\\up.py": b"x",
                                            link: b"/etc/passwd", "hw1.py": b"y = 2"})
    assert found(tmp_path / "class") == {"ada": ["hw1.py"], "bob": ["hw1.py"]}


def test_a_bomb_a_lie_and_what_is_no_archive_are_their_owners_alone(tmp_path):
    packed(tmp_path / "bomb.zip", {"hw1.py": b"#" * (30 << 20)})
    packed(tmp_path / "deep.zip", {"a.zip": packed(tmp_path / "x", {"b.zip": packed(tmp_path / "y", {
        "c.zip": packed(tmp_path / "z", {"d.zip": b"PK"}).read_bytes()}).read_bytes()}).read_bytes()})
    for name in "xyz":
        (tmp_path / name).unlink()
    (tmp_path / "broken.zip").write_bytes(b"PK\3\4 and no more")
    (tmp_path / "fine.py").write_bytes(b"x = 1")
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        for i in range(submissions.MEMBERS + 1):
            archive.writestr(f"{i}", b"")
    problems = {h.student: reading.read(h.student, submissions.contents(h), SHEET).problem
                for h in submissions.collect(tmp_path, SHEET)}
    assert "times its size" in problems["bomb"]
    assert "archives in archives in archives" in problems["deep"]
    assert "the archive is not read" in problems["broken"]
    assert "20,001 files" in problems["many"]
    assert problems["fine"] == ""


def test_a_gigabyte_is_not_read(tmp_path):
    with (tmp_path / "ada.ipynb").open("wb") as file:
        file.truncate(1 << 30)
    handed, = submissions.collect(tmp_path, SHEET)
    assert [c.data for c in submissions.contents(handed)] == [b""]
    submission = reading.read(handed.student, submissions.contents(handed), SHEET)
    assert submission.problem == "ada.ipynb: it has 1 GiB; at most 32 MiB are read"


def test_an_empty_folder_is_a_student_who_handed_in_nothing(tmp_path):
    put(tmp_path, {"bob.pdf": b"%PDF"})
    (tmp_path / "ada").mkdir()
    problems = {h.student: reading.read(h.student, submissions.contents(h), SHEET).problem
                for h in submissions.collect(tmp_path, SHEET)}
    assert problems == {"ada": "nothing was handed in",
                        "bob": "there is no notebook and no Python file, only bob.pdf"}


def test_no_folder_and_an_empty_one_are_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder of submissions"):
        submissions.collect(tmp_path / "nowhere", SHEET)
    with pytest.raises(ValueError, match="holds no submissions"):
        submissions.collect(tmp_path, SHEET)
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(ValueError, match="neither a folder of submissions nor an archive"):
        submissions.collect(tmp_path / "a.txt", SHEET)


# --- one submission

@pytest.mark.parametrize(("data", "name", "why"), [
    (b"", "hw1.ipynb", "it is empty"), (b" \n", "hw1.py", "it is empty"),
    (b"hello", "hw1.ipynb", "it is not a notebook"), (b"[1, 2]", "hw1.ipynb", "it has no cells"),
    (b"[" * 200_000, "hw1.ipynb", "it is not a notebook"), (b'{"cells": 3}', "hw1.ipynb", "it has no cells"),
    ("é".encode("utf-16"), "hw1.ipynb", "encoding is not UTF-8"), (b"\xff\xfe\xfa", "hw1.py", "encoding is not UTF-8"),
    (b"x = 1\0", "hw1.py", "zero bytes"), (b"def f(:\n", "hw1.py", "it is not Python, line 1"),
    (b"x = " + b"(" * 5000, "hw1.py", "it is not Python"), (b"# " + b"x" * (2 << 20), "hw1.py", "more than 1,048,576"),
])
def test_what_cannot_be_read_is_said_in_one_sentence(data, name, why):
    submission = read(data, name=name)
    assert why in submission.problem
    assert submission.problem.startswith(f"{name}: ")
    assert "\n" not in submission.problem


def test_a_notebook_is_read_whole_and_so_is_a_file():
    for data, name in ((notebook(), "hw1.ipynb"), ("\n\n".join(
            solved(c.source) for c in SHEET.cells if c.kind in ("given", "answer")).encode(), "hw1.py")):
        submission = read(data, name=name)
        assert submission.problem == ""
        assert submission.notes == ()
        assert works(submission)


def test_a_stub_is_left_a_stub():
    space = defined(read(notebook(answer=unsolved)))
    with pytest.raises(NotImplementedError):
        space["softmax_forward"](1)


def test_statements_are_kept_where_answers_use_them_and_never_run_for_others():
    cells = [book_cell("", "EPS = 1e-9\nTABLE = {}\nTABLE['a'] = EPS\nunused = 1 / 0\nopen('x', 'w')\n"
                           "for i in range(3):\n    WEIGHTS = i\n"),
             book_cell("", "def softmax_forward(x, *, axis=-1, mask=None):\n    return TABLE, WEIGHTS\n")]
    code = read(book(cells)).code
    space = defined(read(book(cells)))
    assert "open" not in code
    assert "unused" not in code
    assert space["softmax_forward"](0) == ({"a": 1e-9}, 2)


def test_a_statement_that_fails_takes_no_other_with_it():
    cells = [book_cell("", "import a_package_that_nobody_has\nTABLE = 1 / 0\ndef helper(x=undefined): return x\n"
                           "def softmax_backward(dp, cache): return TABLE, helper\n")]
    submission = read(notebook(change=lambda made: made + cells))
    assert works(submission)


def test_magics_go_and_cells_that_are_no_python_are_left_out_by_number():
    cells = [book_cell("", "%matplotlib inline\n!pip install numpy\nhere = !ls\nA = 1\nnp.exp?\n"),
             book_cell("", "%%bash\nrm -rf /\n"), book_cell("", "%%time\nB = 2\n"), book_cell("", "def f(:\n"),
             book_cell("", "def g():\n    nonlocal x\n"),
             book_cell("", "def softmax_forward(x, *, axis=-1, mask=None):\n    s = '''\n%d\n''' % 3\n"
                           "    return A, B, s\n")]
    submission = read(book(cells))
    assert defined(submission)["softmax_forward"](0) == (1, 2, "\n3\n")
    assert any(note.startswith("cell 4 is left out, for it is not Python, line 1") for note in submission.notes)
    assert any(note.startswith("cell 5 is left out") for note in submission.notes)


def test_a_warning_is_no_mistake():
    text = 'def softmax_forward(x, *, axis=-1, mask=None):\n    "\\d"\n    return x is 1, 2\n'
    assert defined(read(text.encode(), name="hw1.py"))["softmax_forward"](3) == (False, 2)


def test_what_is_given_comes_from_the_sheet():
    def change(cells):
        for cell in cells:
            if cell["metadata"]["visattn"]["name"] == "given":
                cell["source"] = ["def softmax_forward(x, **options):\n", "    return x, None\n"]
        return [*cells, book_cell("", "def softmax_forward(x, **options):\n    return 0 * x, None\n")]

    submission = read(notebook(GIVEN, change=change), GIVEN)
    assert works(submission)
    assert any("softmax_forward is given" in note for note in submission.notes)
    without = read(notebook(GIVEN, change=lambda cells: [c for c in cells if "given" not in str(c["metadata"])]), GIVEN)
    assert works(without)


def test_a_missing_answer_counts_as_not_written_and_the_rest_stays():
    gone = read(notebook(change=lambda cells: [c for c in cells if "softmax_backward" not in str(c["metadata"])]))
    assert works(gone)
    with pytest.raises(NotImplementedError):
        defined(gone)["softmax_backward"](0, 0)
    assert "softmax_backward is missing: it counts as not written" in gone.notes


@pytest.mark.parametrize("stub_last", [True, False])
def test_of_a_cell_that_is_there_twice_the_last_that_is_written_counts(stub_last):
    answer = next(c for c in SHEET.cells if c.name == "softmax_forward")
    wrong = book_cell("softmax_forward", unsolved(answer.source, ["return 0, 0"]))
    stub = book_cell("softmax_forward", unsolved(answer.source))
    submission = read(notebook(change=lambda cells: [*cells, wrong, *([stub] if stub_last else [])]))
    assert defined(submission)["softmax_forward"](0) == (0, 0)
    assert any(note.startswith(f"softmax_forward is there {2 + stub_last} times") for note in submission.notes)


@pytest.mark.parametrize("name", ["softmax_fwd", "Softmax_Forward", "SoftmaxForward", "softmaxForward"])
def test_another_way_to_write_a_name_is_understood(name):
    data = notebook().replace(b"def softmax_forward", f"def {name}".encode())
    submission = read(data)
    assert works(submission)
    assert f"{name} is taken for softmax_forward" in submission.notes


def test_where_a_renamed_answer_stands_beside_the_stub_it_is_the_answer():
    answer = next(c for c in SHEET.cells if c.name == "softmax_forward")
    mine = book_cell("", solved(answer.source).replace("def softmax_forward", "def softmax_fwd"))
    stubbed = notebook(change=lambda cells: [book_cell("softmax_forward", unsolved(answer.source)) if
                                             c["metadata"]["visattn"]["name"] == "softmax_forward" else c
                                             for c in cells] + [mine])
    assert works(read(stubbed))


def test_forward_alone_is_meant_where_there_is_one_exercise_and_not_where_there_are_two():
    data = notebook(ALONE).replace(b"def softmax_forward", b"def forward")
    assert works(read(data, ALONE))
    two = read(notebook().replace(b"def softmax_forward", b"def forward"))
    assert "softmax_forward is missing: it counts as not written" in two.notes


def test_two_that_could_be_meant_are_taken_for_neither():
    text = b"def softmax_fwd(x): return 1, 2\ndef SoftmaxForward(x): return 3, 4\n"
    submission = read(text, name="hw1.py", sheet=ALONE)
    assert submission.notes == ("softmax_forward and softmax_backward are missing: they count as not written",)


def test_an_answer_in_a_test_cell_is_kept_and_the_test_is_not():
    def change(cells):
        kept = [c for c in cells if c["metadata"]["visattn"]["name"] != "softmax_forward"]
        answer = next(c for c in SHEET.cells if c.name == "softmax_forward")
        for cell in kept:
            if cell["metadata"]["visattn"]["name"] == "softmax_output":
                cell["source"] = [solved(answer.source) + "\nexpect = print\n"]
        return kept

    submission = read(notebook(change=change))
    assert works(submission)
    assert "expect" not in submission.code


def test_of_several_files_the_most_complete_is_graded_and_said():
    half = notebook(change=lambda cells: cells[:12])
    submission = reading.read("ada", [Content("final_final.ipynb", half, 9.0), Content("hw1.ipynb", notebook(), 1.0),
                                      Content("test_hw1.py", b"x = 1", 3.0)], SHEET)
    assert works(submission)
    assert "hw1.ipynb is graded, the most complete or else the newest; not final_final.ipynb" in submission.notes


def test_of_two_that_are_complete_the_newest_counts():
    old, new = notebook(answer=lambda text: unsolved(text, ["return 1, 1"])), notebook()
    submission = reading.read("ada", [Content("b.ipynb", old, 1.0), Content("a.ipynb", new, 2.0)], SHEET)
    assert works(submission)


def test_two_files_that_complete_each_other_are_read_together():
    answers = {c.name: solved(c.source) for c in SHEET.cells if c.kind == "answer"}
    files = [Content(f"{op}.py", "\n\n".join(text for name, text in answers.items() if name.startswith(op)).encode(), 0)
             for op in ("softmax", "attention")]
    submission = reading.read("ada", files, SHEET)
    assert works(submission)
    assert "missing" not in " ".join(submission.notes)


def test_words_are_read_by_name_and_below_the_question_where_names_are_lost():
    def answered(cells, names=True):
        made = []
        for cell in cells:
            name = cell["metadata"]["visattn"]["name"]
            if name == "softmax_cost":
                cell["source"] = ["It costs **much**."]
            if not names:
                cell["metadata"] = {}
            made.append(cell)
        return made

    for names in (True, False):
        submission = read(notebook(change=lambda cells, names=names: answered(cells, names)))
        assert submission.written == {"softmax_cost": "It costs **much**."}


def test_words_are_read_from_the_file_beside_the_code():
    text = "# hw1\n\n## softmax_cost\n\n" + next(c for c in SHEET.cells if c.name == "softmax_cost").source
    text += "\n\nMuch.\n\n## attention_cost\n\n*Your answer, in place of this line.*\n\n## another\n\nnothing\n"
    files = [Content("hw1.py", b"x = 1", 0), Content("answers.md", text.encode(), 0)]
    assert reading.read("ada", files, SHEET).written == {"softmax_cost": "Much."}


@pytest.mark.parametrize(("student", "name", "variant", "told"), [
    ("ada", "Ada ", "", None), ("ada", "bob", "", "made for another student's variant"),
    ("Ada Lovelace", "Lovelace, Ada", "Lovelace, Ada", "its variant is that of"),
    ("Ada Lovelace 123", "123", "123", "its variant is that of"),
    ("lovelaceada", "Ada Lovelace", "Ada Lovelace", "its variant is that of"),
    ("ada", "", "", "no name stands"),
])
def test_whose_variant_it_is(student, name, variant, told):
    data = notebook(VARIED).replace(b'student = \\"\\"', f'student = \\"{name}\\"'.encode())
    submission = read(data, VARIED, student=student)
    assert submission.variant == variant
    assert [note for note in submission.notes if told and told in note] or told is None
    assert told or submission.notes == ()


def test_old_notebooks_are_read_too():
    cells = [{"cell_type": "code", "input": [f"def softmax_forward(x, *, axis=-1, mask=None):\n    return {i}, 0\n"]}
             for i in (1, 2)]
    old = json.dumps({"nbformat": 3, "worksheets": [{"cells": cells}]}).encode()
    assert defined(read(old))["softmax_forward"](0) == (2, 0)


def test_every_target_is_read_as_it_is_handed_out(tmp_path):
    pytest.importorskip("nbformat")
    from visattn.assignment import targets

    for target in targets.TARGETS:
        for name, text in targets.files(SHEET, target).items():
            if name.startswith("student/"):
                put(tmp_path / target, {name.removeprefix("student/"): text.encode()})
    for handed in submissions.collect(tmp_path, SHEET):
        submission = reading.read(handed.student, submissions.contents(handed), SHEET)
        assert (submission.problem, submission.notes, submission.written) == ("", (), {}), handed.student
        with pytest.raises(NotImplementedError):
            defined(submission)["attention_backward"](0, 0)


def test_the_sheet_is_the_one_that_is_meant():
    assert isinstance(SHEET.cells[0], Cell)
    assert records.from_json(records.as_json(SHEET)) == SHEET
    assert Path(submissions.__file__).is_file()
