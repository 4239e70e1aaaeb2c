"""The command `visattn`.

A mistake of the user's is one line on stderr and exit status 2; a check that does not hold is exit status 1.
What takes time to load is loaded by the command that needs it.
"""

import json
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core
from rich.console import Console

from visattn import __version__

# A terminal says how wide it is; a file or a pipe gets lines that hold a table.
WIDTH = None if sys.stdout.isatty() else 140
out = Console(width=WIDTH, highlight=False)
err = Console(stderr=True, highlight=False)

ClickException: Any = typer.BadParameter.__mro__[2]     # Typer brings its own Click or uses another's, by version
LATER = {                                               # sub-apps, loaded when they are asked for
    "train": "visattn.tasks.command:train",
    "check": "visattn.check.command:check",
    "vectors": "visattn.check.command:vectors",
    "mutate": "visattn.check.mutate_command:mutate",
    "assignment": "visattn.assignment.command:assignment",
    "progress": "visattn.assignment.command:progress",
}
ORDER = ["demo", "check", "verify", "ops", "train", "show", "assignment", "progress", "mutate", "vectors", "doctor"]


class Commands(typer.core.TyperGroup):
    """The commands of this file, and those that load when they are named."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted({*self.commands, *LATER}, key=lambda name: (ORDER.index(name) if name in ORDER else 99, name))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in LATER and cmd_name not in self.commands:
            module, _, name = LATER[cmd_name].partition(":")
            command = typer.main.get_command(getattr(import_module(module), name))
            command.name = cmd_name
            self.commands[cmd_name] = command
        return super().get_command(ctx, cmd_name)


app = typer.Typer(
    cls=Commands, add_completion=False, no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]})

Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on stdout.")]


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 a check does not hold, 2 a mistake of the user's."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        status = app(arguments, prog_name="visattn", standalone_mode=False)
        return complain("stopped", status=130) if status == 130 else status if isinstance(status, int) else 0
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    except ClickException as error:
        return complain(error.format_message(), help_of(error))
    except (typer.Abort, KeyboardInterrupt):
        return complain("stopped", status=130)
    except BrokenPipeError:                             # visattn ops | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ModuleNotFoundError as error:
        return complain(missing(error))
    except (OSError, ValueError, LookupError, ImportError) as error:
        if os.environ.get("VISATTN_TRACEBACK"):
            raise
        return complain(said(error))


def complain(message: str, hint: str = "", status: int = 2) -> int:
    """One line on stderr."""
    print(f"visattn: {' '.join(message.split())}{hint}", file=sys.stderr)
    return status


def said(error: BaseException) -> str:
    """What an exception says, without its type: "no such file: cat.png"."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror.lower()}: {error.filename}" if error.filename else error.strerror
    if isinstance(error, KeyError) and error.args:
        return str(error.args[0])
    return str(error) or type(error).__name__


def missing(error: ModuleNotFoundError) -> str:
    """An optional package that is not there, and the line that gets it."""
    from visattn.doctor import EXTRAS

    if "pip install" in str(error):
        return str(error)
    module = (error.name or "").partition(".")[0]
    package = next((p.package for p in EXTRAS if p.module == module), module)
    return f"this needs {package}, which is not installed: pip install {package}"


def help_of(error: Any) -> str:
    path = error.ctx.command_path if getattr(error, "ctx", None) else "visattn"
    return f" (see: {path} --help)"


def print_json(value: Any) -> None:
    print(json.dumps(plain(value), indent=2, ensure_ascii=False))


def plain(value: Any) -> Any:
    """As JSON has it: a named tuple as an object, and null for what is not a number."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def print_version(wanted: bool) -> None:
    if wanted:
        print(f"visattn {__version__}")
        raise typer.Exit


@app.callback()
def visattn_(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.", is_eager=True,
                                          callback=print_version)] = False,
) -> None:
    """Visual attention, by hand: NumPy that reads like the papers, with gradients derived by hand and proved.

    Begin with [bold]visattn demo[/bold]: it proves, trains and draws, and ends with a page to look at.
    """


@app.command()
def verify(
    op: Annotated[list[str] | None, typer.Argument(help="Operators or models; all of them if none is named.",
                                                   show_default=False, metavar="[OP]...")] = None,
    gpu: Annotated[bool, typer.Option("--gpu", help="Hold the GPU kernels to the references, on the GPU.")] = False,
    place: Annotated[str, typer.Option(help="With --gpu: where the kernels run, cuda, host (on the CPU, g++) or "
                                            "simulator (Numba's).")] = "cuda",
    as_json: Json = False,
) -> None:
    """Prove the operators: forward against definitions, gradients against finite differences, float32 against float64.

    Exit status 0 only if everything holds.

    Example: [bold]visattn verify attention squeeze_excite[/bold], [bold]visattn verify --gpu --place host[/bold]
    """
    if gpu:
        verify_kernels(op or None, place, as_json)
        return
    from visattn import catalogue
    from visattn.check import verify as checks

    chosen = len(catalogue.select(op or None))           # an unknown name is said before any work
    results = with_progress("verifying", chosen, lambda step: checks.verify(op or None, step))
    if as_json:
        print_json({"passed": all(r.passed for r in results),
                    "limits": {"forward": checks.FORWARD, "gradient": checks.GRADIENT, "float32": checks.FLOAT32},
                    "operators": [r for r in results if r.family != "models"],
                    "models": [r for r in results if r.family == "models"]})
    else:
        out.print(verification(results))
        for r in results:
            for problem in r.problems:
                out.print(f"[red]✗ {r.name}[/red]: {escape(problem)}")
        out.print("[dim]forward: how far from the definition; gradient: from finite differences; float32: units of its "
                  "rounding; µs: one forward and one backward at the example[/dim]")
        out.print(("[green]" if all(r.passed for r in results) else "[red]") + escape(checks.in_words(results)))
    if not all(r.passed for r in results):
        raise typer.Exit(1)


def verify_kernels(names: list[str] | None, place: str, as_json: bool) -> None:
    """Every version and precision of the twins, in bounds of the reference's rounding."""
    from rich.table import Table

    from visattn.check import twins
    from visattn.gpu import use

    with use(place):                                        # a place that cannot be is said before any work
        total = len(twins.plan(names, place))
    rows = with_progress("running kernels", total, lambda step: twins.verify(names, place=place, progress=step))
    if as_json:
        print_json({"passed": not any(r.problem for r in rows), "place": place, "rows": rows})
    else:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in ("operator", "version", "precision", "worst error, in bounds", "in", ""):
            table.add_column(column, justify="right" if column.startswith("worst") else "left")
        for r in rows:
            worst = max(r.parts, key=lambda part: part.worst).name if r.parts else ""
            table.add_row(r.name, str(r.version), r.dtype, f"{r.worst:.2f}", worst,
                          f"[red]✗ {escape(r.problem)}[/red]" if r.problem else "[green]✓[/green]")
        out.print(table)
        out.print(f"[dim]run on: {escape(WHERE[place])}; 1 bound is what honest arithmetic in this precision may "
                  "stray from the reference[/dim]")
    if any(r.problem for r in rows):
        raise typer.Exit(1)


WHERE = {"cuda": "the GPU", "host": "the CPU, by the host build of the kernels: no GPU was used",
         "simulator": "the CPU, in Numba's simulator: no GPU was used"}


def verification(results: list[Any]) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("operator")
    table.add_column("family", style="dim")
    for column in ("forward", "gradient", "float32", "µs", "µs back"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("")
    for r in results:
        table.add_row(r.name, r.family, number(r.forward_error, ".0e"), number(r.gradient_error, ".0e"),
                      number(r.float32_error, ".1f"), number(r.forward_us, ",.0f"), number(r.backward_us, ",.0f"),
                      "[green]✓[/green]" if r.passed else "[red]✗[/red]")
    return table


def number(value: float | None, how: str) -> str:
    return "-" if value is None else "0" if value == 0 else format(value, how)


def escape(text: str) -> str:
    return text.replace("[", "\\[")


def with_progress(title: str, total: int, work: Any) -> Any:
    """work(step), with a bar on stderr, where that is a terminal, that moves by one at each step(name)."""
    if not err.is_terminal:
        return work(lambda name: None)
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
               TextColumn("[dim]{task.fields[doing]}"))
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task(title, total=total, doing="")
        steps = iter(range(total))
        return work(lambda name: bar.update(task, completed=next(steps, total), doing=name))


@app.command()
def ops(
    name: Annotated[list[str] | None, typer.Argument(help="Some of them; all if none is named.", show_default=False,
                                                     metavar="[OP]...")] = None,
    as_json: Json = False,
) -> None:
    """The catalogue: what each operator does, the paper it is from, and how it is called.

    Example: [bold]visattn ops --json[/bold]
    """
    from visattn.catalogue import catalogue

    entries = catalogue(name or None)
    if as_json:
        print_json({"operators": [e for e in entries if e.family != "models"],
                    "models": [e for e in entries if e.family == "models"]})
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 1, 0))
    for column, style in (("family", "dim"), ("name", "bold"), ("what it does, and how it is called", ""),
                          ("weights", ""), ("paper", "dim")):
        table.add_column(column, style=style, ratio={"what it does, and how it is called": 5, "paper": 3}.get(column))
    family = ""
    for e in entries:
        table.add_row("" if e.family == family else e.family, e.name,
                      f"{escape(e.claim)}\n[cyan]{escape(e.signature)}[/cyan]", "yes" if e.has_weights else "",
                      escape(e.paper))
        family = e.family
    out.print(table)


@app.command()
def doctor(as_json: Json = False) -> None:
    """What is installed, which GPU is seen, what is missing and the line that gets it.

    Example: [bold]visattn doctor[/bold]
    """
    from visattn.doctor import report

    found = report()
    if as_json:
        print_json(found)
        return
    from rich.table import Table

    threads = found["threads"]
    about = Table(box=None, show_header=False, pad_edge=False)
    about.add_row("visattn", found["visattn"])
    about.add_row("Python", f"{found['python']}, {found['platform']}")
    about.add_row("NumPy", f"{found['numpy']} on {found['blas']}")
    about.add_row("threads", f"{threads['cores']} cores"
                  + (f", {threads['blas']} of them for matrix products" if threads["blas"] else "")
                  + "".join(f", {k}={v}" for k, v in threads["environment"].items()))
    gpu = found["gpu"]
    about.add_row("GPU", f"{', '.join(gpu['seen']) or 'none seen'} (asked {gpu['by']})")
    kernels = found["kernels"]
    about.add_row("kernels", f"run on {kernels['name']} ({kernels['why']})" if kernels["place"] else kernels["why"])
    about.add_row("", f"on the CPU through {kernels['host']}" if kernels["host"].startswith("/") else kernels["host"])
    for kept in found["data"]:
        about.add_row("data", f"{kept['file']}, " + (f"{kept['bytes'] / 1e6:.1f} MB" if kept["bytes"]
                                                     else "not there yet: made by the first `--data mnist5k`"))
    out.print(about)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("package", "version", "what it is for", "how to get it"):
        table.add_column(column)
    for p in found["packages"]:
        table.add_row(p["name"], p["version"] or "[yellow]-[/yellow]", p["purpose"],
                      f"[yellow]{p['install']}[/yellow]" if p["install"] else "")
    out.print()
    out.print(table)


@app.command()
def demo(
    to: Annotated[Path, typer.Option("--out", help="Folder for the page, weights and curves.")] = Path("build/demo"),
    quick: Annotated[bool, typer.Option("--quick", help="Train for a few epochs only.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="All randomness comes from it.")] = 0,
) -> None:
    """Verify everything, train three networks on real digits, and write a page that shows what attention looks at.

    Takes a minute or two; exit status 0 only if everything that was verified holds.

    Example: [bold]visattn demo --out build/demo[/bold]
    """
    from visattn.check.verify import in_words
    from visattn.demo import run

    with stages() as progress, kept_when_interrupted(to):
        made = run.run(to, quick, seed, progress)
    holds = all(r.passed for r in made.results)
    out.print(("[green]" if holds else "[red]") + escape(in_words(made.results)))
    for network in made.networks.values():
        out.print(f"The {run.findings.NAMES[network.config.model]} reads {network.accuracy:.1%} of held-out "
                  f"{'digits' if network.config.data == 'digits' else 'digits on a canvas'} right, after "
                  f"{network.seconds:.0f} s of training.")
    out.print(f"{made.seconds:.0f} s in all. Open [bold]{escape(str(made.page))}[/bold]", soft_wrap=True)
    if not holds:
        raise typer.Exit(1)


def parse_patch(text: str) -> tuple[int, int]:
    row, comma, column = text.partition(",")
    if not (comma and row.strip().isdecimal() and column.strip().isdecimal()):
        raise typer.BadParameter(f"a patch is ROW,COL, such as 3,5; got {text!r}")
    return int(row), int(column)


@app.command()
def show(
    image: Annotated[Path, typer.Argument(help="A PNG or JPEG of your own.", metavar="IMAGE", show_default=False)],
    patch: Annotated[Any, typer.Option("--patch", parser=parse_patch, metavar="ROW,COL", show_default=False,
                                       help="The patch that looks, from 0; by default one with much contrast.")] = None,
    layer: Annotated[int | None, typer.Option(help="One layer, from 0; all if not given.", show_default=False)] = None,
    head: Annotated[int | None, typer.Option(help="One head, from 0; all if not given.", show_default=False)] = None,
    weights: Annotated[Path | None, typer.Option(help="Weights of a transformer; by default those of the demo.",
                                                 show_default=False)] = None,
    to: Annotated[Path | None, typer.Option("--out", help="The figure, .png or .svg; by default IMAGE-attention.png.",
                                            show_default=False)] = None,
) -> None:
    """Where a patch of your image looks: by likeness, and in every head of a transformer that learned digits.

    Uses the transformer that [bold]visattn demo[/bold] trained into build/demo, and trains it if it is not there.

    Example: [bold]visattn show cat.png --patch 3,5 --out looked.png[/bold]
    """
    from visattn.demo import run
    from visattn.demo import show as showing

    asked = showing.query(image, patch)
    figure = to or Path(f"{image.stem}-attention.png")
    if figure.suffix.lower() not in (".png", ".svg"):
        raise typer.BadParameter(f"a figure is written as .png or .svg; got {figure}")
    if figure.exists() and figure.samefile(image):
        raise typer.BadParameter(f"{figure} is the image itself: choose another name with --out")
    found = weights or showing.kept_weights()
    if found is None:
        print("visattn: there is no trained transformer in build/demo yet; training one, which takes half a minute",
              file=sys.stderr)
        with stages() as progress, kept_when_interrupted(Path("build/demo")):
            found = Path(run.train("vit", Path("build/demo"), False, 0, progress).files["weights"])
    shown = showing.show(asked, found, figure, layer, head)
    rows, columns = shown.grid
    print(f"patch {shown.patch[0]},{shown.patch[1]} of {rows} × {columns}, by {shown.weights}", file=sys.stderr)
    print(shown.path)


@contextmanager
def stages() -> Iterator[Any]:
    """progress(task, share, words): a bar for each task on stderr, where that is a terminal; elsewhere a line each."""
    if not err.is_terminal:
        said: set[str] = set()

        def say(task: str, share: float, words: str) -> None:
            if task not in said:
                said.add(task)
                print(task, file=sys.stderr, flush=True)

        yield say
        return
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:32}"), BarColumn(), TimeElapsedColumn(),
               TextColumn("[dim]{task.fields[said]}"))
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=err) as bar:
        def progress(task: str, share: float, words: str) -> None:
            if task not in tasks:
                tasks[task] = bar.add_task(task, total=1.0, said=words)
            bar.update(tasks[task], completed=share, said=words)

        yield progress


@contextmanager
def kept_when_interrupted(folder: Path) -> Iterator[None]:
    """A training run that is interrupted keeps what it has; say so, and leave with the signal's exit status."""
    from visattn.tasks.classify import Interrupted

    try:
        yield
    except Interrupted as stop:
        raise SystemExit(complain(f"{stop}; all of it is in {folder}: the same command goes on from there",
                                  status=stop.status)) from None


if __name__ == "__main__":
    sys.exit(main())
