"""What a notebook of an assignment calls: the checks of its answers, where they run.

    expect("attention", "dq", attention_forward, attention_backward)     passes, or raises NotYet, which says why not
    mine = variant("hw1", "ada", ["attention"])                          what holds for this student, shown and kept

The answers run in this process: it is the student's own, or that of a grader which runs notebooks.  What they print or
warn stays out of the graded cell, since some graders take a word on standard error for a failure.  They may not call
visattn's own operators.
"""

import contextlib
import functools
import inspect
import os
import sys
import textwrap
import types
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from visattn import ops
from visattn.assignment import derivation, exercise, judging, variants
from visattn.assignment.judging import Outcome
from visattn.assignment.records import UNWRITTEN
from visattn.check import judge
from visattn.check.cases import Integers
from visattn.check.verdicts import Report

KEY, KEY_FILE = "VISATTN_KEY", "visattn.key"            # from which hidden numbers are drawn, where there is one
REFERENCES = str(Path(ops.__file__).parent)
ALONE = "solution"                                      # in whose name the instructor's own copy is run
KEPT = 8                                                # reports, so that the next cell need not ask the same again


class NotYet(AssertionError):
    """An answer is not right; the message says why.  A notebook shows the message alone."""

    def _render_traceback_(self) -> list[str]:
        return [f"Not yet: {self}"]


class Refused(RuntimeError):
    """An answer called the reference."""


def expect(op: str, what: str, *functions: Callable[..., Any], mine: dict[str, Any] | None = None) -> None:
    """Pass if a test of an operator's exercise passes, else show why not, and raise NotYet.

    op, what    the operator, and which of its tests: output, masks, options, edges, gradients, dq …, line_dq …
    functions   forward; or forward and backward; or the derivation
    mine        a student's variant

    Returns nothing: a graded cell whose last line is a number would be taken for a score.
    """
    __tracebackhide__ = True                            # pytest shows the test's line, and what is wrong
    test, module = exercise.test_of(op, what), getattr(ops, op)
    own = (mine or {}).get(op)
    report = None
    if test.group == "line":
        found = of_line(test.name, test.part, functions[0], op)
    else:
        report = reported(op, functions[0], functions[1] if len(functions) > 1 else None, own)
        found = judging.outcome(test, module, report, tuple((own or {}).get("options", ())))
    if found.passed:
        print(f"✓ {op} {what.replace('_', ' ')}: {found.says}")
        return
    if report is not None and report.cases and any(part.case for part in report.parts):
        show(judging.for_students(report))
    raise NotYet(found.says)


def attempt(op: str, forward: Callable[..., Any], backward: Callable[..., Any] | None = None) -> None:
    """Say whether an answer is right, and show why not; nothing is raised.  It may call the operators that the
    reference calls."""
    report = reported(op, forward, backward, None, exercise.source.parts(getattr(ops, op)))
    if report.passed:
        print(f"Right: {report.says.removeprefix('Right: ')}")
    elif "NotImplementedError" in report.says:
        print(f"Not yet: {UNWRITTEN}")
    else:
        print(f"Not yet: {report.says}")
        show(report)


def variant(assignment: str, student: str, names: list[str]) -> dict[str, dict[str, Any]]:
    """The variant of a student for each operator, shown as a table.

    Raises ValueError where no student is named; beside the instructor's key, this is then the solution's.
    """
    if not student.strip() and key():
        student = ALONE
    mine = variants.of(assignment, student, names)
    lines = [f"| {'' if i else op} | {what} | {how} |" for op in names
             for i, (what, how) in enumerate(variants.told(op, mine[op]))]
    text = "\n".join([f"What holds for {student.strip()}:", "", "| operator | what | how |", "|---|---|---|", *lines])
    display = _display()
    if display is None:
        print(text)
    else:
        from IPython.display import Markdown

        display(Markdown(text))
    return mine


# --- how answers are called

def reported(op: str, forward: Callable[..., Any], backward: Callable[..., Any] | None,
             own: dict[str, Any] | None, allowed: Iterable[str] = ()) -> Report:
    """The checker's report on two functions of a notebook; kept until one of them, or what they call, is another."""
    seed, own = seed_of(), own or {"options": {}, "axes": {}}
    asked = (op, seed, repr(own), fingerprint(forward), fingerprint(backward))
    if asked not in _reports:
        while len(_reports) >= KEPT:
            _reports.pop(next(iter(_reports)))
        f, b = guarded(forward, allowed), None if backward is None else guarded(backward, allowed)
        f, b = variants.adapted(exercise.source.of(getattr(ops, op)).forward.arguments, own["axes"], f, b)
        with quiet():
            _reports[asked] = judge.run(op, f, b, framework="numpy", precision=judging.PRECISION, seed=seed,
                                      options=own["options"])
    return _reports[asked]


_reports: dict[Any, Report] = {}


def of_line(test: str, name: str, function: Callable[..., Any], op: str) -> Outcome:
    """The outcome for one line of a derivation."""
    known = derivation.of(getattr(ops, op))
    try:
        written = derivation.read(textwrap.dedent(inspect.getsource(function)), known)
    except (OSError, derivation.Unreadable) as error:
        return Outcome(test, False, str(error))
    space = dict(function.__globals__)
    exec(compile(derivation.together(written), f"<{op}_derivation>", "exec"), space)
    computed = guarded(space[f"{op}_line"])
    with quiet():
        found = derivation.judge(getattr(ops, op), written, lambda line, args: computed(**args, line=line)[0],
                                 seed_of())
    return Outcome(test, not found[name], found[name] or "right")


def guarded(function: Callable[..., Any], allowed: Iterable[str] = ()) -> Callable[..., Any]:
    """The function, which raises Refused where it calls one of visattn's own operators that is not `allowed`."""
    if not isinstance(function, types.FunctionType):
        raise NotYet(f"a function is expected; got {type(function).__name__}")

    may_call = {getattr(ops, name).__file__ for name in allowed}

    def watch(frame: types.FrameType, event: str, arg: Any) -> None:
        file = frame.f_code.co_filename
        helper = Path(file).name.startswith("_") and bool(may_call)
        if event == "call" and file.startswith(REFERENCES) and file not in may_call and not helper:
            raise Refused("an answer may not call visattn's own operators")

    @functools.wraps(function)
    def watched(*args: Any, **options: Any) -> Any:
        before = sys.getprofile()
        sys.setprofile(watch)
        try:
            return function(*args, **options)
        finally:
            sys.setprofile(before)

    return watched


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """What is printed or warned about in here goes nowhere: by print, by a logger that was made before, by a library in
    C, or by a process that is started."""
    with warnings.catch_warnings(record=True), np.errstate(all="ignore"), contextlib.ExitStack() as silent:
        warnings.simplefilter("ignore")
        for stream in {id(s): s for s in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)}.values():
            silent.enter_context(_unwritten(stream))
        for descriptor in (1, 2):
            silent.enter_context(_nowhere(descriptor))
        yield


@contextlib.contextmanager
def _unwritten(stream: Any) -> Iterator[None]:
    """The same object, which loggers may hold, writes nothing."""
    try:
        stream.flush()
        before = vars(stream).get("write")
        stream.write = len
    except (AttributeError, TypeError, ValueError, OSError):        # there is none, or it is closed
        yield
        return
    try:
        yield
    finally:
        vars(stream).pop("write", None)
        if before is not None:
            stream.write = before


@contextlib.contextmanager
def _nowhere(descriptor: int) -> Iterator[None]:
    try:
        kept = os.dup(descriptor)
    except OSError:                                                 # it is closed
        yield
        return
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, descriptor)
        os.close(null)
        yield
    finally:
        os.dup2(kept, descriptor)
        os.close(kept)


def fingerprint(function: Any) -> Any:
    """What an answer depends on: its code, that of the functions of its notebook that it calls, and their globals."""
    seen: dict[int, Any] = {}
    queue = [function]
    while queue:
        f = queue.pop()
        if not isinstance(f, types.FunctionType) or id(f) in seen:
            continue
        names = _names(f.__code__)
        around = {name: f.__globals__[name] for name in sorted(names) if name in f.__globals__}
        closed = [cell.cell_contents for cell in f.__closure__ or () if _filled(cell)]
        seen[id(f)] = f.__code__, repr(f.__defaults__), tuple((name, id(value)) for name, value in around.items())
        if not f.__code__.co_filename.startswith(str(Path(np.__file__).parent)):
            queue += [*around.values(), *closed]
    return tuple(seen.values())


def _names(code: types.CodeType) -> set[str]:
    return {*code.co_names, *(n for c in code.co_consts if isinstance(c, types.CodeType) for n in _names(c))}


def _filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


def seed_of() -> int:
    """The seed of all cases: from the instructor's key, where it is at hand, else 0."""
    return seed_from(key())


def key() -> str:
    """The instructor's key: in the environment, or in a file of this folder or of one above; "" for students."""
    found = os.environ.get(KEY, "")
    for folder in (Path.cwd(), *Path.cwd().parents) if not found else ():
        with contextlib.suppress(OSError):
            found = (folder / KEY_FILE).read_text(encoding="utf-8").strip()
            break
    return found


def seed_from(key: str) -> int:
    return Integers(key).integers(2**31) if key else 0


def show(report: Report) -> None:
    """The report as a notebook shows it, or as text."""
    display = _display()
    if display is None:
        print(report)
    else:
        display(report)


def _display() -> Callable[..., Any] | None:
    """IPython's display, in a notebook."""
    if "IPython" not in sys.modules:
        return None
    from IPython import get_ipython
    from IPython.display import display

    shell = get_ipython()
    return display if shell is not None and hasattr(shell, "kernel") else None


def same(name: str, data: str, *functions: Callable[..., Any]) -> None:
    """Pass if functions give the stored results of an instructor's own operator, within their bounds."""
    from visattn.assignment import own

    __tracebackhide__ = True
    with quiet():
        found = own.compared(name, data, [guarded(f) for f in functions])
    if found:
        raise NotYet(found)
    print(f"✓ {name}: right")
