"""One submission, graded: what its functions earn, test by test.

    result = grade(sheet, Submission("ada", code))
    result.points, result.outcomes

The code runs in a process that is shut in, as `visattn check` runs any file; right answers are computed here.  An
exercise is judged twice, forward alone and with its gradient, as the cells of a notebook do it, in one process.
"""

import contextlib
import inspect
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from visattn.assignment import coded, derivation, judging, source, variants
from visattn.assignment.cells import seed_from
from visattn.assignment.judging import Outcome
from visattn.assignment.records import Sheet, Test
from visattn.assignment.sheet import functions_of, reference, tests_of, variant_of
from visattn.check import judge, runner
from visattn.check.child.limits import Limits
from visattn.check.child.records import Answer, Spec
from visattn.check.names import spec_of
from visattn.check.runner import Runner
from visattn.check.verdicts import Report

# Answers are NumPy on small arrays: what takes longer than this hangs.
LIMITS = Limits(start=20, first=20, call=5, total=60, memory=2 << 30, processes=64, file=16 << 20, disk=64 << 20)
HEAD = """import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
"""


class Submission(NamedTuple):
    """What somebody handed in, read: see `submissions`."""

    student: str
    code: str = ""                          # one Python file with all definitions
    notes: tuple[str, ...] = ()             # what was repaired, and what could not be read
    written: dict[str, str] = {}            # answers in words, by the cell's name
    problem: str = ""                       # why nothing can be graded; "" = it can
    variant: str = ""                       # another way to say the student's name, that its variant is of


class Result(NamedTuple):
    """What a submission earned."""

    student: str
    outcomes: tuple[Outcome, ...]           # of every test, in the sheet's order
    points: int                             # of tests; answers in words are for a person to read
    notes: tuple[str, ...]
    reports: dict[str, Report]              # the checker's, of each exercise that could be judged
    written: dict[str, str]
    seconds: float


def grade(sheet: Sheet, submission: Submission, limits: Limits = LIMITS,
          progress: Callable[[str], None] = lambda what: None) -> Result:
    """The result of one submission.  Whatever its code does is an outcome, never an exception."""
    began = time.perf_counter()
    outcomes: dict[str, Outcome] = {}
    reports: dict[str, Report] = {}
    if submission.problem:
        outcomes = {test.name: Outcome(test.name, False, submission.problem) for test in sheet.tests}
    else:
        for name, tests in tests_of(sheet).items():
            progress(name)
            found, report = _exercise(sheet, name, tests, submission, limits)
            outcomes |= {outcome.test: outcome for outcome in found}
            reports |= {name: judging.for_students(report)} if report is not None else {}
    in_order = tuple(outcomes[test.name] for test in sheet.tests)
    return Result(submission.student, in_order, judging.score(in_order, sheet.tests), submission.notes, reports,
                  submission.written, time.perf_counter() - began)


def _exercise(sheet: Sheet, name: str, tests: list[Test], submission: Submission,
              limits: Limits) -> tuple[list[Outcome], Report | None]:
    """The outcomes of one exercise's tests."""
    if name not in sheet.ops:
        return [_by_code(test, submission, limits, sheet) for test in tests], None
    op, mine = reference(sheet, name), variant_of(sheet, submission.variant or submission.student)
    seed, fixed = seed_from(sheet.key), tuple(mine.get(name, {}).get("options", ()))
    called = functions_of(name)
    own = mine.get(name)
    with tempfile.TemporaryDirectory(prefix="visattn-graded-") as folder, contextlib.ExitStack() as opened:
        file = Path(folder, "answers.py")
        text = f"{HEAD}\nmine = {mine!r}\n\n{submission.code}\n"

        @cache
        def launched(*functions: str) -> Runner:
            """The process of an answer's functions."""
            file.write_text(text + _entry([called[f] for f in functions], op, own), encoding="utf-8")
            spec = spec_of(op, file=str(file), name="answer_forward", framework="numpy", seed=seed,
                           backward="answer_backward" if len(functions) > 1 else "")
            spec = spec._replace(required=tuple(key for key in spec.required if key not in fixed))
            return opened.enter_context(runner.launch(spec, limits._replace(total=2 * limits.total)))

        def called_as(with_gradient: bool) -> Runner:
            """Both reports come from one process, unless only forward can be called."""
            if not any(test.part != "y" for test in tests):
                return launched("forward")
            both = launched("forward", "backward")
            if with_gradient:
                return both
            return _Forward(both) if both.accepts.gradient or both.ended else launched("forward")

        @cache
        def report(with_gradient: bool) -> Report:
            """The checker's report on forward alone, or with its gradient."""
            found = judge.run(op, runner=called_as(with_gradient), framework="numpy", precision=judging.PRECISION,
                              seed=seed, options=own and own["options"])
            return found._replace(implementation=called["forward"])

        found = []
        lines = {test.part for test in tests if test.group == "line"}
        right = _lines(op, text, submission.code, file, seed, limits) if lines else {}
        for test in tests:
            if test.group == "line":
                found.append(Outcome(test.name, not right[test.part], right[test.part] or "right"))
            else:
                found.append(judging.outcome(test, op, report(test.part != "y"), fixed))
        judged = [report(with_gradient) for with_gradient in (True, False)
                  if any((test.part != "y") is with_gradient for test in tests if test.group != "line")]
        return found, judged[0] if judged else None


class _Forward(Runner):
    """A function that has a gradient, called without."""

    def __init__(self, whole: Runner) -> None:
        self.whole, self.isolation = whole, whole.isolation
        self.accepts = whole.accepts._replace(gradient="")

    def call(self, args: dict[str, Any], options: dict[str, Any], dy: Any, *, dtype: str, layout: str = "contiguous",
             repeat: int = 2) -> Answer:
        return self.whole.call(args, options, None, dtype=dtype, layout=layout, repeat=repeat)


def _entry(functions: list[str], op: ModuleType, own: dict[str, Any] | None) -> str:
    """Lines that name what is judged: the answer's functions, or in a variant these with their axes moved."""
    names = ["answer_forward", "answer_backward"][:len(functions)]
    if own is None:
        return "\n".join(f"{name} = {f}" for name, f in zip(names, functions)) + "\n"
    given = ", ".join([*functions, *["None"] * (2 - len(functions))])
    return (f"{inspect.getsource(variants.adapted)}\n"
            f"answer_forward, answer_backward = adapted({list(source.of(op).forward.arguments)!r}, {own['axes']!r}, "
            f"{given})\n")


def _lines(op: ModuleType, text: str, code: str, file: Path, seed: int, limits: Limits) -> dict[str, str]:
    """{line: "" where it is right, else why not} of a derivation."""
    known = derivation.of(op)
    try:
        written = derivation.read(code, known)
    except derivation.Unreadable as error:
        return dict.fromkeys(known.lines, str(error))
    every = derivation.arguments(written)
    file.write_text(f"{text}\n{derivation.together(written)}", encoding="utf-8")
    arrays = tuple(name for name in every if name not in known.numbers)
    spec = Spec(file=str(file), name=f"{known.op}_line", framework="numpy", op=known.op, arguments=arrays,
                optional=arrays, options=("line", *known.numbers), required=("line",), seed=seed)
    with runner.launch(spec, limits) as function:
        def compute(line: str, args: dict[str, Any]) -> Any:
            given = {name: value for name, value in args.items() if name in arrays}
            numbers = {name: value for name, value in args.items() if name not in arrays}
            answer = function.call(given, {"line": line, **numbers}, None, dtype="float64", repeat=1)
            if not answer.y:
                raise ValueError(next((p.says for p in answer.problems), "it came to nothing"))
            return answer.y[0]

        return derivation.judge(op, written, compute, seed)


def _by_code(test: Test, submission: Submission, limits: Limits, sheet: Sheet) -> Outcome:
    """A test that is code of the instructor's, run beside the answer, in its process."""
    text = next(cell.source for cell in sheet.cells if cell.name == test.name)
    return coded.outcome(test, text, f"{HEAD}\n{submission.code}\n", limits)
