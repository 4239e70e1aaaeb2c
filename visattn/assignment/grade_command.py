"""`visattn assignment grade`: a folder of submissions to marks, and a page for each student and for the instructor.

Exit status: 0 all are graded; 1 some could not be; 2 a mistake of the user's.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from visattn.assignment import classroom, feedback, marks, records


def grade(
    submissions: Annotated[Path, typer.Argument(
        metavar="DIR", help="Folder or archive of submissions: a file, a folder or a zip for each student, or as "
                            "Moodle, Canvas, Blackboard and nbgrader lay them out.", show_default=False)],
    assignment: Annotated[Path, typer.Option(
        "--assignment", help="The assignment.json that was made with it.", show_default=False)],
    out: Annotated[Path, typer.Option(
        "--out", help="Folder for marks and pages; a second run goes on from what is there.", show_default=False)],
    jobs: Annotated[int | None, typer.Option(min=1, help="Submissions at a time; by default one for each core.",
                                             show_default=False)] = None,
    dask: Annotated[str, typer.Option(metavar="ADDRESS", help="Grade on the workers of the Dask scheduler there, such "
                                      "as tcp://host:8786.", show_default=False)] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on stdout.")] = False,
) -> None:
    """Grade all submissions, each in a process that is shut in; one that hangs or dies costs no other.

    Writes scores.csv, scores.json, feedback/STUDENT.html and index.html for the instructor.

    Example: [bold]visattn assignment grade submissions --assignment hw1/instructor/assignment.json --out graded[/bold]
    """
    sheet = records.read(assignment)
    with progress() as (start, step):
        found = classroom.run(submissions, sheet, out, jobs=jobs, dask=dask, start=start, step=step)
    files = [*marks.write(sheet, found, out), *feedback.write(sheet, found, out)]
    if as_json:
        print(json.dumps(marks.as_json(sheet, found), indent=2, ensure_ascii=False))
    else:
        show(sheet, found, files)
    if any(graded["status"] != "graded" for graded in found):
        raise typer.Exit(1)


def show(sheet: records.Sheet, found: list[classroom.Graded], files: list[Path]) -> None:
    """The table of marks, and what needs a look."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from visattn.check import words

    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("student", overflow="fold")
    table.add_column("points", justify="right")
    table.add_column("to look at", overflow="fold")
    most = sum(test.points for test in sheet.tests)
    for graded in found:
        told = words.line("; ".join([*filter(None, [graded["problem"]]), *graded["notes"]]))
        table.add_row(Text(words.line(graded["student"])), f"{graded['points']} / {most}", Text(told, "dim"))
    console.print(table)
    ungraded = sum(graded["status"] != "graded" for graded in found)
    console.print(Text(f"{words.counted(len(found), 'submission')}, {ungraded or 'none'} that could not be graded",
                       "yellow" if ungraded else "green"))
    for file in files:
        console.print(str(file), soft_wrap=True)


@contextmanager
def progress() -> Iterator[tuple[Callable[[int], None], Callable[[Any], None]]]:
    """(start, step) for `classroom.run`, as a bar on stderr where that is a terminal."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from visattn.check import words

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
               TextColumn("[dim]{task.fields[doing]}"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("submissions", total=None, doing="")

        def start(total: int) -> None:
            bar.update(task, total=total, completed=0)

        def step(graded: Any) -> None:
            bar.update(task, advance=1, doing=escape(words.line(graded["student"])))

        yield start, step
