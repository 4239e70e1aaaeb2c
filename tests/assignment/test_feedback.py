"""Marks as tables that programs may rely on, and pages in which a student's text is text."""

import csv
import io
import json
import re
from html.parser import HTMLParser

import pytest

from visattn.assignment import classroom, feedback, marks, similar
from visattn.assignment.sheet import of_operators

SHEET = of_operators("hw1", ["softmax"], key="key", title="Homework <1>")
EVIL = "<script>alert('x')</script> \x1b[2J\u202e & \"quoted\""


def graded(student, passed=(), status="graded", mistakes=(), **more):
    outcomes = [{"test": t.name, "passed": t.name in passed, "says": "right" if t.name in passed else "it is off",
                 "mistakes": [] if t.name in passed else list(mistakes)} for t in SHEET.tests]
    points = sum(t.points for t in SHEET.tests if t.name in passed)
    return {"schema": 1, "student": student, "status": status, "problem": "", "points": points, "outcomes": outcomes,
            "notes": [], "written": {}, "code": "", "pages": {}, "reads": {}} | more


ALL = [test.name for test in SHEET.tests]
CLASS = [
    graded("ada", ALL, written={"softmax_cost": "Much, and why."}),
    graded("bob", ALL[:2], mistakes=["no_row_sum"], notes=["softmax_fwd is taken for softmax_forward"],
           pages={"softmax": "<h2>the report of bob</h2>"}, reads={"softmax": ["eq. (1), lesson 1"]}),
    graded("eve", status="unreadable", problem="eve.ipynb: it is empty"),
    graded("joe", ALL[:1], mistakes=["no_row_sum", "other_axis"],
           notes=["made for another student's variant: the notebook says 'ada', it was handed in by 'joe'"]),
]


class Outline(HTMLParser):
    """Tags, addresses and ids of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.links, self.open = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for key, value in attributes if key in ("href", "src")]
        if tag not in ("meta", "link", "br", "path", "rect"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_table_has_what_its_documentation_says():
    told = set(re.findall(r"^\| `([\w.\[\]]+)` \|", marks.__doc__, re.M))
    table = marks.as_json(SHEET, CLASS)
    assert {name for name in told if "[" not in name} == set(table)
    assert {name.partition("].")[2] for name in told if "[" in name} == set(table["students"][0])
    assert json.loads(json.dumps(table)) == table


def test_the_result_has_what_its_documentation_says():
    told = set(re.findall(r"^ *\| `(\w+)` \|", classroom.graded.__doc__, re.M))
    assert told == set(CLASS[0])


def test_a_learning_system_reads_the_csv():
    rows = list(csv.DictReader(io.StringIO(marks.as_csv(marks.as_json(SHEET, CLASS)))))
    assert [row["student"] for row in rows] == ["ada", "bob", "eve", "joe"]
    assert rows[0]["points"] == rows[0]["out_of"] == str(sum(t.points for t in SHEET.tests))
    assert rows[0]["percent"] == "100.0"
    assert [rows[1][name] for name in ALL] == ["2", "1", "0", "0", "0"]
    assert (rows[2]["status"], rows[2]["problem"]) == ("unreadable", "eve.ipynb: it is empty")


@pytest.mark.parametrize("name", ["=1+1", "+x", "-x", "@x", "a\nb,c"])
def test_a_spreadsheet_takes_no_name_for_a_formula(name):
    text = marks.as_csv(marks.as_json(SHEET, [graded(name)]))
    row = list(csv.reader(io.StringIO(text)))[1]
    assert not row[0].startswith(("=", "+", "-", "@"))
    assert "\n" not in row[0]


def test_a_students_page_says_what_was_asked_found_repaired_and_what_to_read():
    page = feedback.student(SHEET, CLASS[1])
    assert "3 of 6 points" in page
    assert page.count("it is off") == 3
    for text in ("the gradient of x, on plain inputs", "softmax_fwd is taken for softmax_forward", "eq. (1), lesson 1",
                 "<h2>the report of bob</h2>", "Homework &lt;1&gt;", "No answer was found"):
        assert text in page
    assert "could be graded" not in page
    assert "Nothing could be graded: eve.ipynb: it is empty." in feedback.student(SHEET, CLASS[2])


def test_what_is_for_the_instructor_alone_is_on_no_students_page():
    assert "another student" not in feedback.student(SHEET, CLASS[3])
    assert "another student" in feedback.instructor(SHEET, CLASS, {g["student"]: "#" for g in CLASS})
    for cell in (cell for cell in SHEET.cells if cell.kind == "written"):
        assert cell.solution.split("\n")[0] not in feedback.student(SHEET, CLASS[0])


@pytest.mark.parametrize("where", ["student", "problem", "notes", "written", "code", "says"])
def test_a_students_text_is_text(where):
    evil = {"notes": [EVIL], "written": {"softmax_cost": EVIL}}.get(where, EVIL)
    one = graded("ada") if where == "says" else graded("ada") | {where: evil}
    if where == "says":
        one["outcomes"][0]["says"] = EVIL
    for page in (feedback.student(SHEET, one), feedback.instructor(SHEET, [one], {one["student"]: "#"})):
        assert "<script" not in page
        assert "\x1b" not in page
        assert "\u202e" not in page
    assert "&lt;script&gt;" in feedback.student(SHEET, one)


def test_the_instructor_sees_the_class():
    page = feedback.instructor(SHEET, CLASS, {g["student"]: f"feedback/{g['student']}.html" for g in CLASS})
    for text in ("4 submissions", "1 could not be graded", "the median is 3 of 6", "no row sum",
                 "eve.ipynb: it is empty", "No two stand out", "Much, and why.", "What a full answer says",
                 "unreadable"):
        assert text in page
    assert page.count('href="feedback/bob.html"') == 2


def test_figures_have_axes_and_say_what_there_is_to_see():
    table = marks.as_json(SHEET, CLASS)
    some = feedback.distribution(table), feedback.failing(SHEET, CLASS[:2]), feedback.mistakes(CLASS)
    for figure in some:
        assert figure.along
        assert figure.down
        assert figure.says.endswith(".")
        assert all(0 <= bar.percent <= 100 for bar in figure.bars)
    assert sum(bar.number for bar in some[0].bars) == 3
    assert some[0].says == "Half of the class has 3 of 6 points or more; 1 of 3 have all, 0 have none."
    assert some[1].says == ("Most often missed: softmax_masks (the output of softmax under masks: rows that may attend "
                            "to little, or to nothing), by 1 of 2. Least often: softmax_output, by 0.")
    assert [(bar.label, bar.number) for bar in some[2].bars] == [("no row sum", 2), ("other axis", 1)]
    assert some[2].says == ("The most frequent is no row sum, in 2 submissions. 1 of 4 miss something without a "
                            "mistake that is known by name.")
    assert [figure.ticks for figure in some] == [["0", "1"], ["0", "25", "50", "75", "100"], ["0", "1", "2"]]
    assert feedback.mistakes(CLASS[1:2]).says == "None is in two submissions."
    assert feedback.mistakes(CLASS[:1]) is None
    assert feedback.distribution(marks.as_json(SHEET, CLASS[:1])) is None


def test_pairs_that_are_nearly_the_same_are_shown_with_a_warning():
    code = "def softmax_forward(x):\n" + "\n".join(f"    part_{i} = np.sqrt(x + {i}) * {i}" for i in range(30))
    two = [graded(name, code=code) for name in ("ada", "bob")]
    page = feedback.instructor(SHEET, two, {"ada": "#", "bob": "#"})
    assert similar.WARNING in page
    assert "100 %" in page


def test_a_class_of_nobody_who_could_be_graded_has_a_page():
    page = feedback.instructor(SHEET, CLASS[2:3], {"eve": "#"})
    assert "1 submission" in page
    assert "the median" not in page


def test_pages_need_nothing_else_and_are_well_formed(tmp_path):
    odd = graded("Ada Lovelace / ../../etc", ALL)
    files = feedback.write(SHEET, [*CLASS, odd], tmp_path)
    assert files == [tmp_path / "index.html", tmp_path / "feedback"]
    pages = sorted(tmp_path.rglob("*.html"))
    assert len(pages) == 6
    assert all(page.parent in (tmp_path, tmp_path / "feedback") for page in pages)
    for page in pages:
        outline = Outline(page.read_text(encoding="utf-8"))
        assert outline.open == []
        for link in outline.links:
            assert link == "data:," or (tmp_path / link).is_file()
        assert not {"script", "img", "iframe"} & set(outline.tags)
