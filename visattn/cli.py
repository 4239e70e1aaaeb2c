"""The command `visattn`.

A mistake of the user's is one line on stderr and exit status 2; a check that does not hold is exit status 1.
What takes time to load is loaded by the command that needs it.
"""

import json
import math
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core
from rich.console import Console

import visattn

# A terminal says how wide it is; a file or a pipe gets lines that hold a table.
WIDTH = None if sys.stdout.isatty() else 140
out = Console(width=WIDTH, highlight=False)
err = Console(stderr=True, highlight=False)

ClickException = typer.BadParameter.__mro__[2]          # Typer brings its own Click or uses another's, by version
LATER = {"train": "visattn.tasks.command:train"}        # sub-apps, loaded when they are asked for
ORDER = ["demo", "verify", "ops", "train", "show", "doctor"]


class Commands(typer.core.TyperGroup):
    """The commands of this file, and those that load when they are named."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted({*self.commands, *LATER}, key=ORDER.index)

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
        print(f"visattn {visattn.__version__}")
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
    as_json: Json = False,
) -> None:
    """Prove the operators: forward against definitions, gradients against finite differences, float32 against float64.

    Exit status 0 only if everything holds.

    Example: [bold]visattn verify attention squeeze_excite[/bold]
    """
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
        out.print(("[green]" if all(r.passed for r in results) else "[red]") + escape(checks.in_words(results)))
    if not all(r.passed for r in results):
        raise typer.Exit(1)


def verification(results: list[Any]) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("operator")
    table.add_column("family", style="dim")
    for column in ("forward − definition", "gradient − difference", "float32, roundings", "forward µs", "backward µs"):
        table.add_column(column, justify="right")
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
    """work(step), with a bar on stderr that moves by one at each step(name), and goes when it is done."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
               TextColumn("[dim]{task.fields[doing]}"))
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
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


if __name__ == "__main__":
    sys.exit(main())
