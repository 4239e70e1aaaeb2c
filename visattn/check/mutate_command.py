"""`visattn mutate`: which of the known mistakes a test-suite lets through.

Exit status: 0 all are killed; 1 some survive; 2 a mistake of the user's, and a suite that fails without any change;
3 a fault of ours.
"""

import csv
import io
import json
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from visattn import _atomic
from visattn.check import mutate as kill

mutate = typer.Typer(name="mutate", add_completion=False, rich_markup_mode="rich")

PANEL = 90                                  # rows of a picture beside each other, before a second panel begins


@mutate.command()
def matrix(
    suite: Annotated[str, typer.Option(
        "--suite", help="A path as pytest takes it, or file.py:function, or module:function: called with the operator's"
                        " module, it rejects by raising or returning False.", metavar="PATH", show_default=False)],
    op: Annotated[list[str] | None, typer.Option("--op", help="Only the mistakes of this operator; may be repeated.",
                                                 metavar="NAME", show_default=False)] = None,
    parts: Annotated[bool, typer.Option("--parts", help="Also those of the operators that these are made of.")] = False,
    out: Annotated[Path | None, typer.Option(
        "--out", help="Folder for the matrix as JSON, CSV and pictures; a second run goes on from what is there.",
        show_default=False)] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes at a time; by default one for each core.",
                                             show_default=False)] = None,
    limit: Annotated[float | None, typer.Option(
        min=0.1, help="Seconds for each mistake, after which it counts as killed; by default 30, and five times what "
                      "its tests take.", show_default=False)] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget what is in the folder, and begin again.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on stdout.")] = False,
) -> None:
    """Run a test-suite once for each known mistake, and say which it lets through.

    The operator is changed in the memory of the process that runs the tests: no file is touched.
    Exit status 0 only if every mistake makes the suite fail.

    Example: [bold]visattn mutate --suite tests --op attention --out build/mutate[/bold]
    """
    try:
        with progress() as (start, step):
            found = kill.run(suite, op or None, parts=parts, out=out, jobs=jobs, limit=limit, fresh=fresh, start=start,
                             step=step)
    except RuntimeError as fault:
        print(f"visattn: {' '.join(str(fault).split())}", file=sys.stderr)
        raise typer.Exit(3) from None
    files = [] if out is None else write(found, out)
    if as_json:
        print(json.dumps(plain(found), indent=2, ensure_ascii=False))
    else:
        show(found, files)
    if not found.passed:
        raise typer.Exit(1)


def plain(found: kill.Matrix) -> dict[str, Any]:
    """The matrix as JSON has it."""
    killed = sum(o.killed for o in found.outcomes)
    return {"suite": found.suite, "passed": found.passed, "tests": found.tests, "mistakes": len(found.outcomes),
            "killed": killed, "survived": len(found.outcomes) - killed, "seconds": round(found.seconds, 1),
            "baseline_seconds": round(found.baseline_seconds, 1), "outcomes": [o._asdict() for o in found.outcomes]}


def show(found: kill.Matrix, files: list[Path]) -> None:
    """The matrix by operator, and the survivors with what they are."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("operator")
    for column in ("mistakes", "killed", "survived"):
        table.add_column(column, justify="right")
    table.add_column("")
    for name, outcomes in found.by_operator().items():
        survived = sum(not o.killed for o in outcomes)
        table.add_row(name, str(len(outcomes)), str(len(outcomes) - survived), str(survived or "-"),
                      "[red]✗[/red]" if survived else "[green]✓[/green]")
    console.print(table)
    for o in found.survivors:
        of = "" if o.of == o.op else f" (of {o.of})"
        reached = ", and no test calls the function it is in" if o.why == "not reached" else ""
        console.print(f"[red]✗ {o.op}[/red]: [bold]{o.mistake}[/bold]{of} survives{reached}: {escape(o.says)}")
        console.print(f"    [dim]{escape(' / '.join(o.line.split(chr(10))))}[/dim]\n"
                      f"    {escape(' / '.join(o.instead.split(chr(10))))}")
    killed = len(found.outcomes) - len(found.survivors)
    console.print(f"[{'green' if found.passed else 'red'}]{escape(found.suite)} kills {killed} of "
                  f"{len(found.outcomes)} mistakes[/], with {found.tests} test{'s' if found.tests != 1 else ''}, in "
                  f"{found.seconds:.0f} s")
    for file in files:
        console.print(str(file), soft_wrap=True)


def write(found: kill.Matrix, folder: Path) -> list[Path]:
    """matrix.json, matrix.csv, and, where Matplotlib is there, matrix.svg and matrix.png."""
    text = io.StringIO()
    fields = ("op", "of", "mistake", "killed", "by", "why", "seconds", "says")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(fields)
    table.writerows([getattr(o, field) for field in fields] for o in found.outcomes)
    files = [_atomic.write(folder / "matrix.json", json.dumps(plain(found), indent=1, ensure_ascii=False).encode()),
             _atomic.write(folder / "matrix.csv", text.getvalue().encode())]
    try:
        fig = picture(found)
    except ImportError as missing:
        print(f"visattn: no picture: {missing}", file=sys.stderr)
        return files
    from visattn import plot

    return [*files, plot.save(fig, folder / "matrix.svg"), plot.save(fig, folder / "matrix.png")]


def picture(found: kill.Matrix) -> Any:
    """Mistakes by operator, downwards; across, the file of the test that failed first, and those that survive."""
    from visattn import plot

    def column(o: kill.Outcome) -> str:
        return Path(o.by.partition("::")[0]).name if o.killed else "survived"

    columns = list(dict.fromkeys(column(o) for o in found.outcomes if o.killed))
    columns.sort(key=lambda name: (name.startswith("test_"), name))
    columns += ["survived"] if found.survivors else []
    panels = -(-len(found.outcomes) // PANEL)
    high = -(-len(found.outcomes) // panels)
    names = [f"{o.op}: {o.mistake}" for o in found.outcomes]
    fig, axes = plot.figure(1, panels, size=(panels * (4.2 + 0.2 * len(columns)), 1.9 + 0.15 * high), squeeze=False)
    for i, ax in enumerate(axes[0]):
        part = slice(i * high, (i + 1) * high)
        cells = [[0 if column(o) != c else 1 if o.killed else 2 for c in columns] for o in found.outcomes[part]]
        plot.verdicts(ax, cells, names[part], columns, x="first file to fail", y="mistake")
    with plot.style():
        killed = len(found.outcomes) - len(found.survivors)
        fig.suptitle(f"{found.suite} kills {killed} of {len(found.outcomes)} mistakes", x=0.01, ha="left", fontsize=10)
    return fig


@contextmanager
def progress() -> Any:
    """(start, step) for `run`, as a bar on stderr where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
               TextColumn("[dim]{task.fields[doing]}"))
    survived = 0
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("running the suite without a change", total=None, doing="")

        def start(total: int) -> None:
            bar.update(task, description="mistakes", total=total, completed=0)

        def step(outcome: kill.Outcome | None) -> None:
            nonlocal survived
            if outcome is not None:
                survived += not outcome.killed
                bar.update(task, advance=1, doing=f"{outcome.op}: {outcome.mistake}"
                           + (f", {survived} survived" if survived else ""))

        yield start, step
