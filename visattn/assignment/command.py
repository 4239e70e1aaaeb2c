"""`visattn assignment`: from operators to a folder for students and one for their instructor, and to marks.

Exit status: 0 done; 1 something could not be graded; 2 a mistake in the command.
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from visattn.assignment import grade_command
from visattn.assignment.ready import READY

assignment = typer.Typer(name="assignment", add_completion=False, no_args_is_help=True, rich_markup_mode="rich",
                         pretty_exceptions_enable=False,
                         help="Every operator is an exercise: make an assignment, hand it out, grade a class.")
assignment.command(name="grade")(grade_command.grade)


@assignment.command(name="new")
def new(
    name: Annotated[str, typer.Argument(help="Of the assignment and its folder: letters, digits and _.",
                                        metavar="NAME", show_default=False)],
    ops: Annotated[str, typer.Option("--ops", metavar="OP,…", show_default=False, help=(
        f"Operators, in the order of the exercises; `visattn ops` lists them. Not needed for "
        f"{', '.join(READY)}, which are ready."))] = "",
    source: Annotated[Path | None, typer.Option(
        "--from", metavar="FILE", show_default=False,
        help="Instead of --ops: an operator's file of your own, or a notebook or script with marked cells.")] = None,
    parts: Annotated[str, typer.Option("--parts", metavar="PART,…", show_default="forward,backward", help=(
        "What students write: forward, backward, derivation (the gradient line by line, each line graded by itself). "
        "Without forward, forward is given."))] = "",
    target: Annotated[str, typer.Option("--target", help="plain, nbgrader, otter or pytest.")] = "plain",
    given: Annotated[str | None, typer.Option("--given", metavar="OP,…", show_default="their parts", help=(
        "Operators that students may call, or none."))] = None,
    varied: Annotated[bool, typer.Option("--variants", help=(
        "Everybody has options and an order of axes of their own, by the name under which they hand in."))] = False,
    points: Annotated[int | None, typer.Option(min=1, help="In all.", show_default="what the tests say")] = None,
    title: Annotated[str, typer.Option(help="Of the notebook.", show_default="NAME")] = "",
    written: Annotated[bool, typer.Option("--written/--no-written", help="Questions to be answered in words.")] = True,
    lang: Annotated[str, typer.Option(help="The language of its texts.")] = "en",
    to: Annotated[Path | None, typer.Option("--out", metavar="FOLDER", show_default="NAME",
                                            help="A folder of its own.")] = None,
    force: Annotated[bool, typer.Option("--force", help="If the folder is there, keep it beside the new one.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on stdout.")] = False,
) -> None:
    """Make an assignment: a folder for students, without solutions, and one for their instructor.

    The stubs, the tests and the solution come from the operators themselves; tests are `visattn check`.

    Example: [bold]visattn assignment new hw1 --ops softmax,attention --target nbgrader[/bold]
    """
    from visattn.assignment import targets

    made = sheet_for(name, listed(ops), source, listed(parts), None if given is None else listed(given), varied,
                     points, title, written, lang)
    folder = to or Path(name)
    files = targets.write(made, folder, target, force)
    if as_json:
        print(json.dumps(told(made, folder, files), indent=2, ensure_ascii=False))
    else:
        show(made, folder, target)


def sheet_for(name: str, ops: list[str], source: Path | None, parts: list[str], given: list[str] | None, varied: bool,
              points: int | None, title: str, written: bool, lang: str) -> Any:
    """The sheet that these options ask for."""
    from visattn.assignment import marked, own, sheet

    given = [] if given == ["none"] else given
    if source is not None:
        if ops:
            raise ValueError("--ops and --from: give one of them")
        if source.suffix == ".py" and own.is_operator(source):
            return own.sheet(name, source, parts=parts or ["forward", "backward"], title=title, points=points,
                             lang=lang, written=written)
        if varied:
            raise ValueError("--variants: only operators have variants, marked cells have none")
        return marked.sheet(name, source, title=title, points=points, lang=lang)
    ready = READY.get(name)
    if not ops and ready is None:
        raise ValueError(f"--ops: name at least one operator, or take a NAME that is ready: {', '.join(READY)}")
    ops = ops or list(ready.ops if ready else ())
    parts = parts or list(ready.parts if ready else ("forward", "backward"))
    return sheet.of_operators(name, ops, parts=parts, given=given, varied=varied, points=points, lang=lang,
                              title=title or (ready.title if ready else ""), written=written)


def listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def told(made: Any, folder: Path, files: list[Path]) -> dict[str, Any]:
    """What was made, for programs."""
    return {"name": made.name, "title": made.title, "ops": made.ops, "parts": made.parts, "given": made.given,
            "points": made.points, "variants": made.variants, "folder": str(folder), "files": [str(f) for f in files],
            "tests": [test._asdict() for test in made.tests],
            "written": [{"name": cell.name, "points": cell.points} for cell in made.cells if cell.kind == "written"]}


def show(made: Any, folder: Path, target: str) -> None:
    """What was made, as a table, and what to do next."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else 110, highlight=False)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
    for column in ("graded", "points", "seen by", "what is tried"):
        table.add_column(column, justify="right" if column == "points" else "left", overflow="fold")
    for cell in made.cells:
        if cell.test:
            table.add_row(Text(cell.test.name), str(cell.test.points), "the grader" if cell.test.hidden else "students",
                          Text(cell.test.asks, "dim"))
        elif cell.kind == "written":
            table.add_row(Text(cell.name), str(cell.points), "a person", Text("a question in words", "dim"))
    table.add_row("", str(made.points), "", "", style="bold")
    console.print(table)
    console.print(f"\n[bold]{folder}/student[/bold]     hand out all of it: for {target}\n"
                  f"[bold]{folder}/instructor[/bold]  keep all of it: solutions, hidden tests, the key\n\n"
                  f"visattn assignment grade SUBMISSIONS --assignment {folder}/instructor/assignment.json --out graded",
                  soft_wrap=True)


progress = typer.Typer(name="progress", add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)


@progress.command(name="progress")
def progress_(
    path: Annotated[Path, typer.Argument(help="A notebook, a Python file, or a folder of them.", metavar="PATH")] =
        Path("workspace"),
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Everything that does not pass yet.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on stdout.")] = False,
) -> None:
    """What of your own work is right, judged anew: every operator that your notebooks define, and what is left of it.

    Example: [bold]visattn progress workspace[/bold]
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from visattn.assignment import progress as mine
    from visattn.check.command import working

    with working("judging") as step:
        rows = mine.progress(path, step)
    if as_json:
        print(json.dumps([row._asdict() for row in rows], indent=2, ensure_ascii=False))
        return
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
    for column in ("file", "operator", "", "passed", "what is left"):
        table.add_column(column, justify="right" if column == "passed" else "left", overflow="fold")
    for row in rows:
        done = row.passed == row.of
        bar = Text("█" * row.passed, "green") + Text("░" * (row.of - row.passed), "dim")
        left = row.left if verbose else row.left[:1]
        untouched = not row.passed and len({why for _, why in row.left}) == 1
        says = row.left[0][1] if untouched else "\n".join(f"{asks}: {why}" for asks, why in left)
        more = 0 if untouched else len(row.left) - len(left)
        table.add_row(Text(row.file), Text(row.op, "bold"), bar, f"{row.passed} of {row.of}",
                      Text("✓" if done else says + (f"\nand {more} more" if more else ""), "green" if done else ""))
    Console(width=None if sys.stdout.isatty() else 140, highlight=False).print(table)


@assignment.command(name="lab")
def lab(
    folder: Annotated[Path, typer.Argument(help="It may be there already; what is in it is not touched.",
                                           metavar="FOLDER")] = Path("workspace"),
) -> None:
    """A learner's workspace: the notebooks of the lessons, and of the assignments that are ready.

    Example: [bold]visattn assignment lab && jupyter lab workspace[/bold]; then [bold]visattn progress[/bold]
    """
    from visattn.assignment.workspace import workspace

    made = workspace(folder)
    for file in made:
        print(file)
    print(f"{len(made)} new notebooks; visattn progress {folder} says how far you are", file=sys.stderr)
