"""One assignment of all operators, graded by nbgrader, by otter and by our grader: is every mark the same?

    python benchmarks/graders.py [--op softmax …] [--mistakes 5] [--jobs 2] [--save]

Handed in are the solution, the stub, and submissions in which every operator has one of its known mistakes, another in
each; what it calls of other operators is right, so that each stands for itself.  With one small assignment more: right
answers that print, log, warn, write to descriptors, start a process, plot, and are slow.  Each is written into the
notebook that students get from that target.  nbgrader autogrades it, and otter runs it, as they do for a class; what
they gave each test is read from their own records.  Needs the `graders` extra.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from rich.console import Console

from visattn import ops
from visattn.assignment import grading, records, sheet, source, targets
from visattn.assignment.records import Sheet
from visattn.check import changes
from visattn.check.changes import Change

HERE = Path(__file__).parent
NAME = "hw1"
LIKELY = ("softmax", "squeeze_excite")              # of the small assignment of right answers
QUESTION = "_question"
Answers = dict[str, str]                            # {cell: what stands in it}
Marks = dict[str, dict[str, int]]                   # {submission: {test: points}}


# --- what is handed in

def submissions(made: Sheet, mistakes: int) -> dict[str, Answers]:
    """{name: its answers}: the solution, the stub, and each operator with one of its mistakes."""
    answers = [cell for cell in made.cells if cell.kind == "answer"]
    found = {"solution": {cell.name: records.solved(cell.source) for cell in answers},
             "stub": {cell.name: records.unsolved(cell.source) for cell in answers}}
    for number in range(mistakes):
        found[f"mistake_{number + 1}"] = mistaken(made, {op: chosen(op, number, mistakes) for op in made.ops})
    return found


def chosen(op: str, number: int, of: int) -> Change:
    """One of an operator's own mistakes: as far apart in the list as can be, the first again where there are fewer."""
    own = [c for c in changes.own(getattr(ops, op).__name__) if c.kind == "mistake"]
    return own[number * len(own) // of] if len(own) >= of else own[number % len(own)]


def mistaken(made: Sheet, which: dict[str, Change]) -> Answers:
    """Answers with these mistakes, which call right functions of other operators."""
    found: Answers = {}
    for op in made.ops:
        module = getattr(ops, op)
        text = source.of(module, text=changes.changed_source(module.__name__, [which[op]]))
        parts = source.parts(module)
        found[text.forward.name] = renamed(f"{text.records}\n\n\n{text.forward.head}\n{text.forward.body}", parts)
        found[text.backward.name] = renamed(f"{text.backward.head}\n{text.backward.body}", parts)
    called = list(dict.fromkeys(part for op in made.ops for part in source.parts(getattr(ops, op))))
    first = next(iter(found))
    found[first] = f"{renamed(source.given(called), called)}\n\n\n{found[first]}"
    return found


def renamed(text: str, parts: list[str]) -> str:
    """A text in which softmax_forward is right_softmax_forward, for each of these operators."""
    names = [source.prefixed(part, name) for part in parts for name in ("forward", "backward", "Cache")]
    return re.sub(rf"\b({'|'.join(names)})\b", r"right_\1", text) if names else text


SPEAKS = {
    "prints": "print('working'); print('really', file=sys.stderr)",
    "logs": "log.warning('working')",
    "warns": "warnings.warn('careful'); np.log(np.zeros(1))",
    "writes": "os.write(1, b'out'); os.write(2, b'err')",
    "starts_a_process": "subprocess.run([sys.executable, '-c', 'import sys; sys.stderr.write(str(1))'])",
    "plots": "plt.plot([1, 2]); plt.show()",
    "is_slow": "time.sleep(1)",
}
FIRST = """import logging, os, subprocess, sys, time, warnings
import matplotlib.pyplot as plt
logging.basicConfig()
warnings.simplefilter("always")
log, said = logging.getLogger("mine"), []


def speak(what):
    if what not in said:
        said.append(what)
        {line}


"""


def right(made: Sheet, speaks: dict[str, str] = SPEAKS) -> dict[str, Answers]:
    """{what it does: a solution whose every function does that when it is first called}"""
    found = {}
    for name, line in speaks.items():
        answers: Answers = {}
        for cell in (cell for cell in made.cells if cell.kind == "answer"):
            begin = f"    {records.BEGIN}\n"
            text = cell.source.replace(begin, f"{begin}    speak('{cell.name}')\n", 1)
            answers[cell.name] = (FIRST.format(line=line) if not answers else "") + records.solved(text)
        found[name] = answers
    return found


# --- three graders

def by_nbgrader(made: Sheet, handed_in: dict[str, Answers], folder: Path) -> Marks:
    """What nbgrader gives, from its own database."""
    targets.write(made, folder / "nbgrader", "nbgrader")
    course = folder / "nbgrader/instructor"
    for name, answers in handed_in.items():
        write(folder / f"nbgrader/student/{made.name}.ipynb", answers,
              course / f"submitted/{name}/{made.name}/{made.name}.ipynb")
    for command in (["generate_assignment", made.name], ["autograde", made.name, "--create"]):
        run([sys.executable, "-m", "nbgrader", *command], course)
    from nbgrader.api import Gradebook

    found: Marks = {}
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        for name in handed_in:
            grades = book.find_submission_notebook(made.name, made.name, name).grades
            found[name] = {grade.name: grade.auto_score for grade in grades if grade.cell.cell_type == "code"}
    return found


def by_otter(made: Sheet, handed_in: dict[str, Answers], folder: Path) -> Marks:
    """What otter gives, test case by test case."""
    targets.write(made, folder / "otter", "otter")
    course = folder / "otter/instructor"
    run([sys.executable, "-m", "otter", "assign", f"{made.name}.ipynb", "dist", "--no-run-tests"], course)
    archive, = (course / "dist/autograder").glob("*.zip")
    from otter.api import grade_submission

    questions: dict[str, list[Any]] = {}
    for cells in targets.otter.grouped(made):                           # type: ignore[attr-defined]
        tests = [cell.test for cell in cells if cell.test is not None]
        if tests:
            questions[cells[0].name if cells[0].kind == "answer" else cells[0].name + QUESTION] = tests
    found: Marks = {}
    for name, answers in handed_in.items():
        file = write(folder / f"otter/student/{made.name}.ipynb", answers, folder / f"otter/{name}/{made.name}.ipynb")
        with warnings.catch_warnings(action="ignore"):
            results = grade_submission(str(file), str(archive), quiet=True)
        found[name] = {}
        for question, tests in questions.items():
            cases = results.results[question].test_case_results
            assert len(cases) == len(tests), f"{question}: {len(cases)} cases of {len(tests)}"
            found[name] |= {test.name: test.points * case.passed for test, case in zip(tests, cases)}
        assert results.total == sum(found[name].values()), f"{name}: otter's total is {results.total}"
    return found


def by_us(made: Sheet, handed_in: dict[str, Answers], folder: Path) -> Marks:
    """What our grader gives."""
    given = [cell.source for cell in made.cells if cell.kind == "given" and cell.name != "setup"]
    found: Marks = {}
    for name, answers in handed_in.items():
        result = grading.grade(made, grading.Submission(name, "\n\n\n".join([*given, *answers.values()])))
        found[name] = {test.name: test.points * outcome.passed
                       for test, outcome in zip(made.tests, result.outcomes, strict=True)}
    return found


def write(notebook: Path, answers: Answers, to: Path) -> Path:
    """A student's notebook with answers in it."""
    book = json.loads(notebook.read_text(encoding="utf-8"))
    places = {cell["metadata"].get("visattn", {}).get("name"): cell for cell in book["cells"]}
    for name, text in answers.items():
        places[name]["source"] = text
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_text(json.dumps(book), encoding="utf-8")
    return to


def run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:4])}: {done.stderr[-2000:]}")


GRADERS: dict[str, Callable[[Sheet, dict[str, Answers], Path], Marks]] = {
    "nbgrader": by_nbgrader, "otter": by_otter, "visattn": by_us}


class Graded(NamedTuple):
    """What each grader gave, and how long it took."""

    marks: dict[str, Marks]                         # of each grader
    seconds: dict[str, float]


def graded(made: Sheet, handed_in: dict[str, Answers], jobs: int = 1) -> Graded:
    """All graders, so many at a time, each in a process of its own."""
    if not handed_in:
        return Graded({grader: {} for grader in GRADERS}, dict.fromkeys(GRADERS, 0.0))
    with tempfile.TemporaryDirectory(prefix="graders-") as folder, ProcessPoolExecutor(jobs) as pool:
        waiting = {name: pool.submit(_timed, name, made, handed_in, Path(folder)) for name in GRADERS}
        done = {name: future.result() for name, future in waiting.items()}
    return Graded({name: marks for name, (marks, _) in done.items()}, {name: s for name, (_, s) in done.items()})


def _timed(name: str, made: Sheet, handed_in: dict[str, Answers], folder: Path) -> tuple[Marks, float]:
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"       # nbgrader calls alembic
    os.environ["OPENBLAS_NUM_THREADS"] = "1"                                                    # arrays are small
    start = time.perf_counter()
    return GRADERS[name](made, handed_in, folder), time.perf_counter() - start


def differing(found: Graded) -> list[tuple[str, str, dict[str, int]]]:
    """[(submission, test, what each grader gave)] where they do not agree."""
    one = next(iter(found.marks.values()))
    return [(name, test, given) for name, tests in one.items() for test in tests
            if len({*(given := {g: marks[name][test] for g, marks in found.marks.items()}).values()}) > 1]


# --- the table

def main(
    op: Annotated[list[str] | None, typer.Option(help="Operators; by default all.")] = None,
    mistakes: Annotated[int, typer.Option(help="Submissions with mistakes.")] = 5,
    only: Annotated[list[str] | None, typer.Option(help="Submissions, such as solution; by default all.")] = None,
    jobs: Annotated[int, typer.Option(min=1, max=3, help="Graders at a time.")] = 1,
    save: Annotated[bool, typer.Option("--save", help=(
        "Write the table to benchmarks/results; with --only, what is in today's stays beside it."))] = False,
) -> None:
    """Grade everything three times, and print what each operator earned."""
    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    made = sheet.of_operators(NAME, op or dir(ops))
    handed_in = {name: a for name, a in submissions(made, mistakes).items() if name in (only or [name])}
    found = graded(made, handed_in, jobs)
    small = sheet.of_operators(NAME, LIKELY)
    spoken = graded(small, {} if only else right(small), jobs)
    file = HERE / f"results/graders-{date.today()}.json"
    if save and only and file.exists():
        before = json.loads(file.read_text(encoding="utf-8"))
        found, spoken = beside(before["all"], found), beside(before["right"], spoken)
    lines = [*rows(made, found), "", *totals("right answers that", small, spoken)]
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)
    wrong = [*differing(found), *differing(spoken)]
    console.print(f"\n{len(wrong)} marks differ" + "".join(f"\n{name} {test}: {given}" for name, test, given in wrong))
    if save:
        names = {op: {f"mistake_{n + 1}": chosen(op, n, mistakes).name for n in range(mistakes)} for op in made.ops}
        table = {"mistakes": names, "tests": {t.name: t.points for t in made.tests}, "all": found._asdict(),
                 "right": spoken._asdict(), "differing": wrong}
        file.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
        rest = f"; {' and '.join(only)} by --only, after the rest" if only else ""
        head = f"`python benchmarks/graders.py` on {date.today()}{rest}: {len(wrong)} marks differ.\n"
        file.with_suffix(".md").write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    raise typer.Exit(1 if wrong else 0)


def beside(before: dict[str, Any], now: Graded) -> Graded:
    """What was run now, and what was run before of other submissions."""
    marks = {grader: before["marks"][grader] | marks for grader, marks in now.marks.items()}
    return Graded(marks, {grader: before["seconds"][grader] + s for grader, s in now.seconds.items()})


def rows(made: Sheet, found: Graded) -> Iterable[str]:
    """A table of Markdown: what each operator earned, once where all graders agree."""
    names = list(next(iter(found.marks.values())))
    yield "| operator | points | " + " | ".join(n.replace("_", " ") for n in names) + " |"
    yield "|---|--:|" + "--:|" * len(names)
    for op in made.ops:
        tests = [t for t in made.tests if t.exercise == op]
        cells = []
        for name in names:
            given = [int(sum(marks[name][t.name] for t in tests)) for marks in found.marks.values()]
            cells.append(str(given[0]) if len({*given}) == 1 else "/".join(map(str, given)))
        yield f"| {op} | {sum(t.points for t in tests)} | {' | '.join(cells)} |"
    yield from totals("all", made, found)[2:]


def totals(what: str, made: Sheet, found: Graded) -> list[str]:
    """A row for each grader."""
    names = list(next(iter(found.marks.values())))
    most = sum(t.points for t in made.tests)
    lines = [f"| {what} | of | {' | '.join(n.replace('_', ' ') for n in names)} |", "|---|--:|" + "--:|" * len(names)]
    for grader, marks in found.marks.items():
        sums = " | ".join(str(int(sum(marks[name].values()))) for name in names)
        lines.append(f"| {grader}, {found.seconds[grader]:.0f} s | {most} | {sums} |")
    return lines


if __name__ == "__main__":
    typer.run(main)
