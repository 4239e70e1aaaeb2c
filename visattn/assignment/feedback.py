"""A page for each student, and one for the instructor: HTML that needs no network and no other file.

    write(sheet, results, "graded")         graded/feedback/ada.html …, graded/index.html

A student's page says what was asked, what each test found, where the error sits, what was repaired and what to read.
The instructor's has all marks, which tests fail, the mistakes the class made, what needs a look, and the answers in
words, with what a full answer says.  Whatever a student wrote is text: it is cleaned and escaped.
"""

import statistics
from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from visattn import _atomic
from visattn._extras import need
from visattn.assignment import classroom, marks, reading, similar
from visattn.assignment.classroom import Graded
from visattn.assignment.records import Sheet, Test
from visattn.assignment.sheet import tests_of
from visattn.check import words

FOLDER = Path(__file__).parent / "page"
SHOWN = 14                              # bars of a figure
BINS = 16                               # columns of the distribution of points


class Bar(NamedTuple):
    """One bar of a figure."""

    label: str
    number: int
    of: int                             # the longest that it could be

    @property
    def percent(self) -> float:
        return round(100 * self.number / self.of, 1) if self.of else 0.0


class Figure(NamedTuple):
    """Bars, their axes, and what there is to see."""

    title: str
    bars: list[Bar]
    along: str                          # what the length of a bar is
    down: str                           # what the bars are
    says: str

    @property
    def ticks(self) -> list[str]:
        """Numbers along the axis, evenly."""
        end = 100 if self.along.endswith("%") else self.bars[0].of
        steps = min(4, end)
        return [f"{end * i / steps:g}" for i in range(steps + 1)]


def write(sheet: Sheet, found: list[Graded], out: str | Path) -> list[Path]:
    """All pages; → that of the instructor, and the folder of the students'.  Raises MissingPackage without Jinja."""
    folder = Path(out, "feedback")
    names = classroom.file_names(graded["student"] for graded in found)
    for graded in found:
        _atomic.write(folder / f"{names[graded['student']]}.html", student(sheet, graded).encode("utf-8", "replace"))
    links = {who: f"feedback/{name}.html" for who, name in names.items()}
    page = instructor(sheet, found, links).encode("utf-8", "replace")
    return [_atomic.write(Path(out, "index.html"), page), folder]


def student(sheet: Sheet, graded: Graded) -> str:
    """The page of one student."""
    of = {o["test"]: o for o in graded["outcomes"]}
    exercises = [(name, [(test, of[test.name]) for test in tests]) for name, tests in tests_of(sheet).items()]
    notes = [note for note in graded["notes"] if not note.startswith(reading.ANOTHERS)]
    questions = [(cell, graded["written"].get(cell.name, "")) for cell in sheet.cells if cell.kind == "written"]
    return _page("student.html.j2", sheet=sheet, graded=graded, exercises=exercises, notes=notes, questions=questions,
                 out_of=sum(test.points for test in sheet.tests), earned=earned, right=right)


def instructor(sheet: Sheet, found: list[Graded], links: dict[str, str]) -> str:
    """The page of the class."""
    table = marks.as_json(sheet, found)
    questions = [(cell, [(g["student"], g["written"][cell.name]) for g in found if cell.name in g["written"]])
                 for cell in sheet.cells if cell.kind == "written"]
    graded = [g for g in found if g["status"] == "graded"]
    return _page(
        "class.html.j2", sheet=sheet, table=table, links=links, questions=questions, warning=similar.WARNING,
        figures=[f for f in (distribution(table), failing(sheet, graded), mistakes(graded)) if f is not None],
        alike=similar.pairs({g["student"]: g["code"] for g in graded}, sheet),
        looks=[g for g in found if g["problem"] or g["notes"]], points=[g["points"] for g in graded],
        median=statistics.median(g["points"] for g in graded) if graded else 0)


def earned(tests: Iterable[tuple[Test, dict[str, Any]]]) -> int:
    return sum(test.points for test, outcome in tests if outcome["passed"])


def right(tests: Iterable[tuple[Test, dict[str, Any]]]) -> bool:
    return all(outcome["passed"] for _, outcome in tests)


# --- figures

def distribution(table: dict[str, Any]) -> Figure | None:
    """How many have how many points."""
    points = [row["points"] for row in table["students"] if row["status"] == "graded"]
    if len(points) < 2:
        return None
    wide = -(-(table["out_of"] + 1) // BINS)
    counts = Counter(p // wide for p in points)
    bars = [Bar(str(i * wide) if wide == 1 else f"{i * wide} to {min((i + 1) * wide - 1, table['out_of'])}",
                counts[i], _end(counts)) for i in range(-(-(table["out_of"] + 1) // wide))]
    full = sum(p == table["out_of"] for p in points)
    says = (f"Half of the class has {statistics.median(points):g} of {table['out_of']} points or more; {full} of "
            f"{len(points)} have all, {sum(p == 0 for p in points)} have none.")
    return Figure("How many have how many points", bars, "students", "points", says)


def failing(sheet: Sheet, graded: list[Graded]) -> Figure | None:
    """Which tests fail how often."""
    if not graded:
        return None
    missed = Counter(o["test"] for g in graded for o in g["outcomes"] if not o["passed"])
    bars = [Bar(test.name, missed[test.name], len(graded)) for test in sheet.tests]
    most = max(bars, key=lambda bar: bar.number)
    least = min(bars, key=lambda bar: bar.number)
    asks = next(test.asks for test in sheet.tests if test.name == most.label)
    says = (f"Most often missed: {most.label} ({asks}), by {most.number} of {len(graded)}. Least often: {least.label}, "
            f"by {least.number}.") if most.number else "Nobody misses any test."
    return Figure("Which tests fail", bars, "share of the class that misses it, %", "tests", says)


def mistakes(graded: list[Graded]) -> Figure | None:
    """The known mistakes that the class made."""
    made = Counter(name for g in graded for name in {n for o in g["outcomes"] for n in o["mistakes"]})
    if not made:
        return None
    told = sorted(made.items(), key=lambda item: (-item[1], item[0]))
    most = told[0][1]
    bars = [Bar(name.replace("_", " "), count, _end(made)) for name, count in told[:SHOWN]]
    unknown = sum(any(not o["passed"] for o in g["outcomes"]) and not any(o["mistakes"] for o in g["outcomes"])
                  for g in graded)
    says = f"The most frequent is {bars[0].label}, in {most} submissions" if most > 1 else "None is in two submissions"
    says += f"; {len(told) - SHOWN} rarer ones are not shown" if len(told) > SHOWN else ""
    says += f". {unknown} of {len(graded)} miss something without a mistake that is known by name." if unknown else "."
    return Figure("The mistakes that the class made", bars, "submissions", "mistakes", says)


def _end(counts: Counter[Any]) -> int:
    """Where an axis of counts ends, so that its quarters are whole."""
    most = max(counts.values())
    return most if most < 4 else -(-most // 4) * 4


# --- pages

def _page(template: str, **given: Any) -> str:
    return str(_environment().get_template(template).render(**given))


@cache
def _environment() -> Any:
    jinja2 = need("jinja2")
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(FOLDER), autoescape=True,
                                     undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"line": words.line, "clean": words.clean}
    return environment
