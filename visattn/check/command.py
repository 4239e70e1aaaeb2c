"""`visattn check` and `visattn vectors`: the checker from a terminal.

Progress and complaints go to stderr, reports to stdout.  Exit status: 0 right; 1 not right, and a function that cannot
be called is not; 2 a mistake in the command; 3 a defect of visattn itself.
"""

import ast
import gc
import inspect
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import typer

from visattn import _atomic, catalogue
from visattn._extras import MissingPackage
from visattn.check.precision import PRECISIONS

NAMES = ", ".join(PRECISIONS)
DEFECT = 3


class Target(NamedTuple):
    """What is checked: a function in a file, or in a module that can be imported."""

    file: str
    module: str
    name: str


check = typer.Typer(name="check", add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)
vectors = typer.Typer(name="vectors", add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)


@check.command(name="check")
def check_(
    target: Annotated[str, typer.Argument(
        help="file.py:function, file.py with forward and backward or one function in it, or package.module:name.",
        metavar="TARGET", show_default=False)] = "",
    op: Annotated[str, typer.Option("--op", help="The operator that it is meant to be; by default the one that the "
                                    "function or the file is called after.", show_default=False)] = "",
    precision: Annotated[str | None, typer.Option(help=f"One of {NAMES}; by default float64 and float32.",
                                                  show_default=False)] = None,
    framework: Annotated[Literal["auto", "numpy", "torch", "jax", "cupy", "numba", "triton"], typer.Option(
        help="Whose arrays the function takes.")] = "auto",
    backward: Annotated[str, typer.Option(metavar="NAME", show_default=False, help="A gradient written by hand; by "
                                          "default a function called backward, or the framework's own.")] = "",
    option: Annotated[list[str] | None, typer.Option(
        "--option", metavar="NAME=VALUE", show_default=False,
        help="An option that the function has built in, such as align_corners=false.")] = None,
    weights: Annotated[list[str] | None, typer.Option(
        "--weights", metavar="ARG=PATH", show_default=False,
        help="Where a module keeps an argument: w1=fc1.weight; transposed, w1=fc1.weight.T; in the first of three "
             "equal parts, 'w_q=qkv.weight[0/3]', or in rows, 'w_q=qkv.weight[0:64]'. With commas between several.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="A library's convention, where it differs from the "
                                         "reference, is not right.")] = False,
    size: Annotated[list[str] | None, typer.Option(
        "--size", metavar="AXIS=N", show_default=False, help="Sizes at which laws that need no reference are asked, "
        "such as T=4096.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="All inputs come from it.")] = 0,
    only: Annotated[list[str] | None, typer.Option("--only", metavar="CASE", show_default=False,
                                                   help="This case alone; may be given several times.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on stdout.")] = False,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", show_default=False,
                                              help="Write the report as a page, too.")] = None,
    trust: Annotated[bool, typer.Option("--trust", help="Run the function in this process, without protection: "
                                        "for your own code and a debugger.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Every case, and what was in order.")] = False,
    list_cases: Annotated[bool, typer.Option("--list-cases", help="Say what would be tried, and stop.")] = False,
    time_limit: Annotated[float | None, typer.Option(metavar="S", min=0.001, show_default=False,
                                                     help="Seconds that all calls together may take.")] = None,
    memory_limit: Annotated[float | None, typer.Option(metavar="GB", min=0.001, show_default=False,
                                                       help="Memory of the function's process.")] = None,
) -> None:
    """Is your implementation right, forward and backward? And if not, which mistake is it?

    The function runs in a process of its own, with limits on time and memory. Exit status 0 only if it is right.

    Example: [bold]visattn check my_attention.py:forward --op attention[/bold]
    """
    if not target and not list_cases:
        raise ValueError("say what to check: file.py:function, or package.module:function (see: visattn check --help)")
    if html is not None and html.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"a page is written as .html; got {html}")
    where = parse_target(target) if target else Target("", "", "")
    operator = chosen(op, where)
    options, places = given(operator, option or [], weights or [])
    wanted = only or (None if list_cases or options else [])    # all, where it depends on them
    tried = asked(operator, precision, seed, wanted, options)
    if list_cases:
        show_cases(tried, as_json)
        return
    how: dict[str, Any] = {
        **where._asdict(), "backward_name": backward, "framework": framework, "precision": precision,
        "options": options or None, "weights": places or None, "strict": strict, "seed": seed, "trust": trust,
        "sizes": sized(size or []),
        "limits": limited(time_limit, memory_limit), "only": only or None}
    with ours_to_blame():
        from visattn.check import judge, report

        with working("checking") as progress, redirect_stdout(sys.stderr), rarely_collecting():
            found = judge.run(catalogue_name(operator), progress=progress, **how)
        page = report.html(found) if html is not None else ""
    if html is not None:
        _atomic.write(html, page.encode("utf-8", "replace"))
        print(f"the page is {html}", file=sys.stderr)
    with ours_to_blame():
        if as_json:
            print(json.dumps(report.as_json(found), indent=2, ensure_ascii=False, allow_nan=False))
        elif sys.stdout.isatty():
            report.show(found, console(), verbose)
        else:
            print(report.text(found, verbose), end="")
    if not found.passed:
        raise typer.Exit(1)


def sized(given: list[str]) -> dict[str, int] | None:
    """{"T": 4096} of T=4096."""
    sizes = {}
    for text in given:
        axis, _, n = text.partition("=")
        if not axis.strip().isidentifier() or not n.strip().isdecimal() or int(n) < 1:
            raise ValueError(f"a size is AXIS=N, such as T=4096; got {text!r}")
        sizes[axis.strip()] = int(n)
    return sizes or None


@vectors.command(name="vectors")
def vectors_(
    op: Annotated[str, typer.Argument(help="An operator or a model.", metavar="OP", show_default=False)] = "",
    precision: Annotated[list[str] | None, typer.Option(
        "--precision", show_default="float64, float32, float16 and bfloat16",
        help=f"One of {NAMES}; may be given several times.")] = None,
    to: Annotated[Path | None, typer.Option("--out", metavar="FOLDER", show_default="vectors/OP",
                                            help="A folder of their own.")] = None,
    form: Annotated[str, typer.Option("--format", metavar="LIST", help="npz, safetensors, or both.")
                    ] = "npz,safetensors",
    seed: Annotated[int, typer.Option(min=0, help="All inputs come from it.")] = 0,
    only: Annotated[list[str] | None, typer.Option("--only", metavar="CASE", show_default=False,
                                                   help="This case alone; may be given several times.")] = None,
    verify: Annotated[Path | None, typer.Option(
        "--check", metavar="FOLDER", show_default=False,
        help="Make none: are those in this folder as they were written?")] = None,
) -> None:
    """Inputs, exact answers and elementwise error bounds as files: for a check that cannot run Python.

    Right is where |got - y| ≤ bound.y for every element, and so for each gradient; index.json says what is there.

    Example: [bold]visattn vectors attention --precision float16 --out vectors/attention[/bold]
    """
    from visattn.check import vectors as golden

    if verify is not None:
        try:
            index = golden.check(verify)
        except ValueError as damaged:
            print(f"visattn: {damaged}", file=sys.stderr)
            raise typer.Exit(1) from None
        print(f"{verify}: {len(index['cases'])} cases of {index['operator']}, every byte as it was written")
        return
    if not op:
        raise ValueError("say which operator; `visattn ops` lists them")
    formats = [f.strip() for f in form.split(",") if f.strip()]
    operator, = catalogue.select([op])
    folder = to or Path("vectors") / op
    with working("writing") as progress:
        golden.write(operator, folder, precision or golden.PRECISIONS, formats, seed, only or None, progress)
    index = golden.check(folder)
    print(f"{len(index['cases'])} cases of {op} in {' and '.join(formats)}", file=sys.stderr)
    print(folder)


def parse_target(text: str) -> Target:
    """The parts of file.py:function, file.py, or package.module:name."""
    path, colon, name = text.rpartition(":")
    if text.endswith(".py") or not colon:
        path, name = text, ""
    if path.endswith(".py"):
        if name and not is_dotted(name):
            raise ValueError(f"{name!r} in {text!r} is not a name of Python")
        if not Path(path).is_file():
            raise ValueError(f"no such file: {path}")
        return Target(path, "", name)
    if not (colon and is_dotted(path) and is_dotted(name)):
        raise ValueError(f"a target is file.py:function, file.py, or package.module:name; got {text!r}")
    return Target("", path, name)


def is_dotted(text: str) -> bool:
    return all(part.isidentifier() for part in text.split("."))


def chosen(op: str, where: Target) -> Any:
    """The operator that is named, or that the function or its file is called after."""
    if op:
        return catalogue.select([op])[0]
    names = catalogue.everything()
    called = [name for name in (where.name.rpartition(".")[2], Path(where.file).stem, where.module.rpartition(".")[2])
              if name]
    for name in called:
        if name in names:
            return catalogue.select([name])[0]
    within = [name for name in names if any(re.search(rf"(^|_){name}(_|$)", c.lower()) for c in called)]
    near = sorted(within, key=len, reverse=True) or [
        match for name in called for match in get_close_matches(name.lower(), names, n=2)]
    raise ValueError(
        "say which operator it is meant to be with --op" + (f": {' or '.join(dict.fromkeys(near[:3]))}?" if near else
                                                            "; `visattn ops` lists them"))


def catalogue_name(operator: Any) -> str:
    return operator.__name__.rpartition(".")[2]


def given(operator: Any, options: list[str], weights: list[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """The values of --option and --weights, by names that the operator has."""
    parameters = inspect.signature(operator.forward).parameters.values()
    keywords = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    arguments = [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]
    return ({name: value_of(text) for name, text in pairs("--option", options, keywords, operator)},
            dict(pairs("--weights", [part for text in weights for part in text.split(",")], arguments, operator)))


def pairs(flag: str, texts: list[str], names: list[str], operator: Any) -> Iterator[tuple[str, str]]:
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not value:
            raise ValueError(f"{flag} is NAME=VALUE; got {text!r}")
        if name.partition(".")[0] not in names:
            near = get_close_matches(name, names, n=1)
            raise ValueError(f"{catalogue_name(operator)} has no {name!r} for {flag}; " + (
                f"did you mean {near[0]}?" if near else f"it has {', '.join(names) or 'none'}"))
        yield name, value


def value_of(text: str) -> Any:
    """true, none, 3, 0.5, (1, 2) or "a word" as Python has it; anything else is a word."""
    constants = {"true": True, "false": False, "none": None, "null": None}
    if text.lower() in constants:
        return constants[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def asked(operator: Any, precision: str | None, seed: int, only: list[str] | None,
          options: dict[str, Any]) -> list[Any]:
    """The cases in question; what there is not, and an option that fits none of them, is said before any work."""
    from visattn.check import cases

    tried = cases.cases(operator, precision or "float32", seed, only)
    problem = None
    for case in tried:
        try:
            operator.forward(*case.args, **case.options | options)
            return tried
        except (ValueError, TypeError) as error:
            problem = error
    if problem and options:
        raise ValueError(f"--option: {problem}")
    return tried


def show_cases(tried: list[Any], as_json: bool) -> None:
    """What each case is there for."""
    from rich.table import Table
    from rich.text import Text

    if as_json:
        print(json.dumps([{"name": c.name, "catches": c.catches} for c in tried], indent=2, ensure_ascii=False))
        return
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
    table.add_column("case")
    table.add_column("what it is there for")
    for case in tried:
        table.add_row(Text(case.name), Text(case.catches))
    console().print(table)


def limited(seconds: float | None, gigabytes: float | None) -> Any:
    """The runner's limits with these in them; None where none is named."""
    from visattn.check.child.limits import Limits

    limits = Limits()
    if seconds is not None:
        each = {name: min(getattr(limits, name), seconds) for name in ("start", "first", "call")}
        limits = limits._replace(total=seconds, **each)
    if gigabytes is not None:
        limits = limits._replace(memory=int(gigabytes * 2**30))
    return None if limits == Limits() else limits


@contextmanager
def ours_to_blame() -> Iterator[None]:
    """An exception in here is a defect of visattn's, whatever the function did: one line, and exit status 3."""
    try:
        yield
    except (MissingPackage, BrokenPipeError, typer.Exit, typer.Abort):
        raise
    except Exception as error:
        if os.environ.get("VISATTN_TRACEBACK"):
            raise
        says = " ".join(str(error).split())
        print(f"visattn: a defect of visattn, not of your function: {type(error).__name__}: {says} "
              "(VISATTN_TRACEBACK=1 shows where)", file=sys.stderr)
        raise typer.Exit(DEFECT) from None


def console() -> Any:
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 110, highlight=False)


@contextmanager
def rarely_collecting() -> Iterator[None]:
    """Python looks for cycles of garbage every hundred thousand new objects: at its own pace, a twelfth of a check's
    time goes there."""
    before = gc.get_threshold()
    gc.set_threshold(100_000, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


@contextmanager
def working(title: str) -> Iterator[Callable[[str], None]]:
    """progress(what): what is being done, on stderr where that is a terminal."""
    from rich.console import Console
    from rich.text import Text

    terminal = Console(stderr=True, highlight=False)
    if not terminal.is_terminal:
        yield lambda what: None
        return
    with terminal.status(title) as status:
        yield lambda what: status.update(Text(f"{title}: {what}"))
