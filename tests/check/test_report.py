"""What people and programs are shown of a check."""

import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from rich.console import Console

from visattn.check import page, report, schema, words
from visattn.check.verdicts import CaseResult, Finding, Map, Part, Report, Suspect

RATIO = np.full((3, 5, 4), 0.1)
RATIO[1, 2:, :] = 3e6
MAP = Map("wide", ("G", "S", "D"), RATIO, (2, 3, 5, 4), (0, 1, 2, 3), 0.1234567, 0.1234599, 1.2e-14)
UNSCALED = Suspect(("unscaled",), ("visattn.ops.pairs.attention",), "dk lacks the factor 1/√D.", "eq. (1), lesson 1",
                   "dk = scale * weigh(da, q)", "dk = weigh(da, q)", "", 1, ("halved", "doubled"))
HALF_PIXEL = UNSCALED._replace(names=("half_pixel",), says="Corners are not aligned.", convention="keras", rivals=())
CASES = (
    CaseResult("plain", "float64", "sizes that all differ", {"y": 0.2, "dk": 0.1}, {"y": "pass", "dk": "pass"}, 0.1),
    CaseResult("wide", "float64", "more keys than queries", {"y": 0.3, "dk": 3e6}, {"y": "pass", "dk": "wrong"}, 0.1),
)
WRONG = Report(
    "attention", "student.py:attention", "numpy", "wrong", "dk lacks the factor 1/√D", ("float64",),
    (Part("y", "pass", "", 0.3, "float64", "wide"),
     Part("dk", "wrong", "The gradient of k is another formula.", 3e6, "float64", "wide", MAP, UNSCALED),
     Part("dv", "unsupported", "It gives none.", np.inf, "", "")),
    CASES, (Finding("effective scale", "1, where 0.41 is meant", 1.0, False), Finding("rows", "sum to 1")),
    ("q is called query",), ("a process of its own", "network: none, in a namespace", "files: not isolated"), 1.25)
RIGHT = WRONG._replace(verdict="pass", says="Right: y, dk.", findings=WRONG.findings[1:], parts=(
    Part("y", "pass", "", 0.3, "float64", "wide"), Part("dk", "pass", "", 0.41, "float64", "plain")))
AS_KERAS = WRONG._replace(op="grid_sample", says="the corners", parts=(
    Part("y", "wrong", "It samples otherwise.", 3e6, "float64", "wide", MAP, HALF_PIXEL),))
SHOUT = "\x1b[2J\x1b[32mright\x1b[0m [green]right[/green] <script>x</script>"
HOSTILE = WRONG._replace(verdict="failed", says=SHOUT, parts=(Part(
    "y", "failed", "ValueError: [bold]\x1b[1A</pre><script>alert(1)</script>\n\u202eline 2 \ud800", np.inf, "", ""),))
ALL = {"wrong": WRONG, "right": RIGHT, "as keras": AS_KERAS, "hostile": HOSTILE,
       "empty": Report("attention", "x", "", "failed", "", (), (), (), (), (), (), 0.0)}


@pytest.fixture(params=ALL)
def any_report(request):
    return ALL[request.param]


# --- text

def test_the_first_line_is_the_verdict_in_words():
    assert report.text(WRONG).splitlines()[0] == "✗ wrong: dk lacks the factor 1/√D"
    assert report.text(RIGHT).splitlines()[0] == "✓ right: y, dk."
    assert report.text(RIGHT._replace(verdict="imprecise")).splitlines()[0] == "✓ right, but imprecise: y, dk."
    failed = WRONG._replace(verdict="failed", says="failed: it raised")
    assert report.text(failed).splitlines()[0] == "✗ no answer: it raised"


def test_a_part_that_is_not_right_is_told_in_full():
    text = report.text(WRONG, width=130)
    for words_ in ("The gradient of k is another formula.", "dk lacks the factor 1/√D.",
                   "the reference       - dk = scale * weigh(da, q)", "gives your answers  + dk = weigh(da, q)",
                   "in visattn/ops/pairs/attention.py", "Read: eq. (1), lesson 1.",
                   "Evidence: 1 of 2 cases tells this apart", "These answers fit as well: halved and doubled.",
                   "dk[0, 1, 2, 3] of case wide: got 0.1234567, wanted 0.1234599", "within 1.2e-14",
                   "12 of 60 elements are off, only where G is 1 and S is 2 or more.",
                   "✗ effective scale: 1, where 0.41 is meant", "q is called query",
                   "Ran: a process of its own; protections: network; files: not isolated\n"):
        assert words_ in text, words_
    assert "Where at G = 1: S down, D across\n    · · · ·\n    · · · ·\n    █ █ █ █" in text


def test_a_right_function_s_report_is_short():
    text = report.text(RIGHT)
    assert len(text.splitlines()) <= 7
    assert "2 cases in float64: the output and 1 gradient" in text
    assert "The largest error is 0.41 of the bound (dk, float64, case plain)." in text
    assert "rows" not in text


def test_an_error_without_end_is_not_the_largest_of_a_right_function():
    by_differences = RIGHT.parts[1]._replace(ratio=np.inf)
    text = report.text(RIGHT._replace(parts=(RIGHT.parts[0], by_differences)), verbose=True)
    assert "The largest error is 0.3 of the bound (y," in text
    assert "not finite" not in text


def test_verbose_lists_every_case_and_what_was_in_order():
    assert "more keys than queries" not in report.text(WRONG)
    text = report.text(WRONG, verbose=True)
    assert re.search(r"wide +float64 +3e6 +dk +more keys than queries", text)
    assert "✓ rows: sum to 1" in text
    assert "Ran: network: none, in a namespace\n" in text


def test_a_convention_is_said_as_one_and_never_red():
    drawn = Console(file=io.StringIO(), force_terminal=True, width=100, color_system="standard", legacy_windows=False)
    report.show(AS_KERAS, drawn, verbose=True)
    text = drawn.file.getvalue()
    before_findings = text.partition("What was seen")[0]
    assert "right, as keras does it: the corners" in text
    assert not re.search(r"\x1b\[[\d;]*31m", before_findings)
    report.show(WRONG, drawn)
    assert re.search(r"\x1b\[[\d;]*31m", drawn.file.getvalue())


def test_a_consistent_gradient_is_told_to_be_right_for_its_own_output():
    part = WRONG.parts[1]._replace(consistent=True, says="")
    for shown in (report.text, report.html):
        assert "It is the gradient of your own output" in shown(WRONG._replace(parts=(part,)))
        assert "It is the gradient of your own output" not in shown(WRONG)


def test_what_is_the_same_of_several_parts_is_said_once():
    twice = WRONG._replace(parts=(WRONG.parts[1], WRONG.parts[1]._replace(name="dq"), WRONG.parts[2]))
    assert "\ndk and dq: wrong\n" in report.text(twice)
    for shown in (report.text(twice), report.html(twice)):
        assert shown.count("The gradient of k is another formula.") == 1
        assert shown.count("Largest at d") == 2
    other = WRONG._replace(parts=(WRONG.parts[1], WRONG.parts[1]._replace(name="dq", suspect=HALF_PIXEL)))
    assert "\ndk: wrong\n" in report.text(other)


def test_what_a_function_says_cannot_draw_on_a_terminal():
    text = report.text(HOSTILE)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e\ud800]", text)
    assert "no answer: right [green]right[/green] <script>x</script>" in text
    text.encode()


def test_text_is_plain_and_within_its_width(any_report):
    text = report.text(any_report, verbose=True, width=80)
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert str(any_report) == report.text(any_report)


# --- words

@pytest.mark.parametrize(("off", "said"), [
    (np.s_[:, :, :], "Every element is off."),
    (np.s_[0, 0, 0], "1 of 60 elements is off, only where G is 0, S is 0 and D is 0."),
    (np.s_[:, 1:3], "24 of 60 elements are off, only where S is 1 or 2."),
    (np.s_[:, 1:4], "36 of 60 elements are off, only where S is 1 to 3."),
    (np.s_[:, :, ::2], "30 of 60 elements are off, only where D is 0 or 2."),
    (np.s_[:, ::2], "36 of 60 elements are off, only where S is even."),
    (np.s_[0:0], "Every element is within the bound."),
])
def test_where_an_error_sits_is_said(off, said):
    ratio = np.full((3, 5, 4), 0.5)
    ratio[off] = 2.0
    assert words.seen(MAP._replace(ratio=ratio)) == said


def test_what_is_not_finite_is_counted():
    ratio = np.full((3, 5), 0.5)
    ratio[1], ratio[1, 0], ratio[1, 1] = 9.0, np.inf, np.nan
    assert words.seen(MAP._replace(ratio=ratio, axes=("T", "S"))) == (
        "5 of 15 elements are off, only where T is 1, 2 of them not finite.")


@pytest.mark.parametrize("shape", [(), (1,), (7,), (100, 100), (9, 70, 80), (0, 3), (1, 1, 1)])
def test_maps_of_any_size_are_drawn(shape, rng):
    ratio = np.exp(rng.normal(size=shape) * 20)
    m = MAP._replace(ratio=np.asarray(ratio), shape=shape, worst=(0,) * len(shape), axes=("N", "H", "W")[-len(shape):])
    found = WRONG._replace(parts=(WRONG.parts[1]._replace(map=m),))
    assert max(map(len, report.text(found).splitlines())) <= 110
    assert len(report.html(found)) < 200_000


def test_a_cell_that_stands_for_many_is_the_worst_of_them():
    table = np.zeros((5, 7))
    table[4, 6] = np.inf
    pooled = words.pooled(table, 2, 3)
    assert pooled.shape == (3, 3)
    assert pooled[2, 2] == np.inf
    assert (pooled.ravel()[:-1] == 0).all()


@pytest.mark.parametrize(("x", "said"), [(0, "0"), (0.001, "<0.01"), (0.2134, "0.213"), (1.03, "1.03"),
                                         (2.3e4, "2.3e4"), (1e13, "1e13"),
                                         (np.inf, "not finite"), (np.nan, "not finite"), (None, "-")])
def test_numbers_are_short(x, said):
    assert words.number(x) == said


def test_two_numbers_are_shown_with_the_digits_that_differ():
    assert words.apart(1.0, 1.0 + 2**-50) == ("1", "1.0000000000000009")
    assert words.apart(1.0, 2.0) == ("1", "2")
    assert words.apart(np.nan, 2.0) == ("nan", "2")


# --- JSON

def fields(value, path=""):
    """The path of every field: "parts[].suspect.names"."""
    if isinstance(value, dict):
        for key, below in value.items():
            here = f"{path}.{key}" if path else key
            yield here
            if here not in ("cases[].ratios", "cases[].verdicts", "findings[].value"):
                yield from fields(below, here)
    elif isinstance(value, list):
        for below in value:
            yield from fields(below, f"{path}[]")


def test_every_field_is_documented_and_every_documented_field_is_there():
    documented = re.findall(r"^\| `([\w.\[\]]+)` \|", schema.__doc__, re.M)
    assert len(documented) == len(set(documented))
    assert set(documented) == set(fields(report.as_json(WRONG)))


def test_json_is_json_whatever_was_found(any_report):
    text = json.dumps(report.as_json(any_report), allow_nan=False, ensure_ascii=False)
    text.encode()
    found = json.loads(text)
    assert found["schema"] == 1
    assert found["passed"] is any_report.passed


def test_numbers_that_json_lacks_are_strings():
    value = {"c": (np.float32("nan"), -np.inf, np.int64(3))}
    found = report.as_json(WRONG._replace(findings=(Finding("a", "b", value),)))
    assert found["parts"][2]["ratio"] == "inf"
    assert found["findings"][0]["value"] == {"c": ["nan", "-inf", 3]}


def test_a_large_map_is_left_out_of_json():
    assert report.as_json(WRONG)["parts"][1]["map"]["ratio"][1][2] == [3e6] * 4
    large = MAP._replace(ratio=np.zeros((1025,)))
    found = report.as_json(WRONG._replace(parts=(WRONG.parts[1]._replace(map=large),),
                                          findings=(Finding("a", "b", np.zeros(1025)),)))
    assert found["parts"][0]["map"]["ratio"] is None
    assert found["findings"][0]["value"] is None


# --- HTML

class Page(HTMLParser):
    """Tags, addresses and text of a page in which every tag is closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.links, self.text = [], [], [], ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for key, value in attrs if key in ("src", "href", "xlink:href")]
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data


@pytest.mark.parametrize("whole", [True, False])
def test_a_page_is_well_formed_and_needs_nothing_else(any_report, whole):
    text = report.html(any_report, whole_page=whole)
    found = Page(text)
    assert set(found.links) <= {"data:,"}
    assert "url(" not in text
    assert "@import" not in text
    assert "script" not in found.tags
    assert ("html" in found.tags) is whole
    text.encode("utf-8", "replace")


def test_a_page_says_what_the_text_says():
    found = " ".join(Page(report.html(WRONG)).text.split())
    for words_ in ("wrong: dk lacks the factor 1/√D", "dk = scale * weigh(da, q)", "dk = weigh(da, q)",
                   "12 of 60 elements are off, only where G is 1", "more keys than queries", "effective scale",
                   "q is called query", "within the bound", "up to 1e7 bounds", "not supported"):
        assert words_ in found, words_


def test_pictures_have_the_operator_s_axes_and_frame_the_largest_error():
    drawn = page.panels(MAP)
    assert [p.title for p in drawn.panels] == ["G = 0", "G = 1", "G = 2"]
    assert {(p.rows, p.columns) for p in drawn.panels} == {("S", "D")}
    assert [p.frame for p in drawn.panels] == [None, (0, 20), None]
    assert dict(drawn.panels[1].paths)["e5"] == "M0 20h40v10h-40zM0 30h40v10h-40zM0 40h40v10h-40z"


def test_tables_beyond_the_fourth_are_counted():
    drawn = page.panels(MAP._replace(ratio=np.arange(6 * 4.0).reshape(6, 2, 2)))
    assert [p.title for p in drawn.panels] == ["G = 2", "G = 3", "G = 4", "G = 5"]
    assert "2 more tables along G not shown" in drawn.says


def test_the_diff_marks_what_differs():
    (_, _, old), (_, _, new) = page.diff(UNSCALED)
    assert "".join(text for text, _ in old) == UNSCALED.line
    assert "".join(text for text, _ in new) == UNSCALED.instead
    assert "scale" in "".join(text for text, differs in old if differs)
    assert not any(differs for _, differs in new)


def test_a_notebook_shows_a_part_of_a_page():
    assert WRONG._repr_html_() == report.html(WRONG, whole_page=False)


def test_without_jinja_a_notebook_shows_the_text(monkeypatch):
    def missing(module, extra="demo"):
        raise page.MissingPackage(f'{module} is not installed: pip install "visattn[demo]"')

    monkeypatch.setattr(page, "need", missing)
    shown = HOSTILE._repr_html_()
    assert shown.startswith("<pre>")
    assert "<script>" not in shown
    with pytest.raises(ImportError, match="pip install"):
        report.html(WRONG)


def test_a_page_needs_no_matplotlib():
    code = ("import sys; sys.modules['matplotlib'] = None\n"
            "from visattn.check import report\nfrom visattn.check.verdicts import *\nimport numpy as np\n"
            "m = Map('c', ('T', 'S'), np.eye(3) * 9, (3, 3), (0, 0), 1., 2., .1)\n"
            "r = Report('o', 'f', 'numpy', 'wrong', '', (), (Part('y', 'wrong', '', 9., 'float64', 'c', m),),"
            " (), (), (), (), 0.)\n"
            "assert 'class=\"panels\"' in report.html(r)")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
