"""From the checker's report to what each test of an exercise earns.

A test passes or does not; partial credit is the sum over tests.  Each asks for one part of the answer, the output, one
gradient or all of them, on one group of cases:

    formula     nothing but what is required, numbers of ordinary size
    masks       a mask, or a causal one
    options     any other option, or an argument that may be left out
    edges       numbers that are large, tiny or tied, one element, arrays that may not be written

A gradient that is right for the answer's own output passes although that output is wrong, where the mistake in it is
known by name: then one thing is to be mended, and the gradient is not it.  Any function has some gradient; one that
nobody recognises earns nothing by having it.
"""

from collections.abc import Iterable
from functools import cache
from types import ModuleType
from typing import NamedTuple

from visattn.assignment.records import UNWRITTEN, Test
from visattn.check import cases
from visattn.check.tolerance import arguments_of
from visattn.check.verdicts import RIGHT, Part, Report

GROUPS = ("formula", "masks", "options", "edges")
MASKS = ("mask", "causal")
PLAIN = ("plain", "bare", "one")                # general cases whose numbers are of ordinary size
ALL = "gradients"
PRECISION = "float64"                           # answers are NumPy: what is wrong shows in the finest arithmetic


class Outcome(NamedTuple):
    """What one test found."""

    test: str                                   # its name
    passed: bool
    says: str                                   # in a sentence or two, for the student
    mistakes: tuple[str, ...] = ()              # by name, where they are known


class Grouped(NamedTuple):
    """A case, by what it needs."""

    group: str
    needs: tuple[str, ...]                      # optional arguments and options that it gives


@cache
def grouped(op: ModuleType, fixed: tuple[str, ...] = ()) -> dict[str, Grouped]:
    """{case: its group} of an operator; `fixed` options are built into the answer, and are nothing extra."""
    names = arguments_of(op)
    required = cases.required(op, tuple(names), dict.fromkeys(options_of(op)))
    must = {*required[0], *required[1], *fixed}
    general, found = cases.general(op), {}
    for case in cases.cases(op, PRECISION):
        given = [name for name, a in zip(names, case.args) if a is not None]
        given += [name for name, value in case.options.items() if value is not None]
        extra = tuple(name for name in given if name not in must)
        if any(name in MASKS for name in extra):
            group = "masks"
        elif extra:
            group = "options"
        else:
            group = "formula" if case.name in general and case.name.startswith(PLAIN) else "edges"
        found[case.name] = Grouped(group, extra)
    if not any(g.group == "formula" for g in found.values()):           # its weights are made for its options
        found = {name: g._replace(group="formula" if g.group == "edges" else g.group) for name, g in found.items()}
    return found


def options_of(op: ModuleType) -> list[str]:
    """The names of an operator's options."""
    import inspect

    return [p.name for p in inspect.signature(op.forward).parameters.values() if p.kind is p.KEYWORD_ONLY]


def outcome(test: Test, op: ModuleType, report: Report, fixed: tuple[str, ...] = ()) -> Outcome:
    """What a report says to one test."""
    if not report.cases or (report.verdict == "unsupported" and not any(c.ratios for c in report.cases)):
        return Outcome(test.name, False, _unwritten(report))
    wanted = {name: g for name, g in grouped(op, fixed).items() if _asked(test, g.group)}
    lacking = dict.fromkeys(need for g in wanted.values() for need in g.needs if need not in report.takes)
    if lacking:
        return Outcome(test.name, False, f"your function has no place for {' and '.join(lacking)}")
    answered = {case.name: case.verdicts for case in report.cases}
    by_name = {part.name: part for part in report.parts}
    for part in _parts(test, report):
        wrong = [name for name in wanted if name in answered and answered[name].get(part, "pass") not in RIGHT]
        missing = [name for name in wanted if name in answered and part not in answered[name] and part == "y"]
        if (wrong or missing) and not _for_its_own_output(by_name.get(part), by_name.get("y")):
            return Outcome(test.name, False, *_why(by_name.get(part), report, part))
    if not any(name in answered for name in wanted) or not any(part in by_name for part in _parts(test, report)):
        return Outcome(test.name, False, _unwritten(report))
    told = [by_name[part] for part in _parts(test, report) if part in by_name]
    carried = any(part.verdict not in RIGHT and part.consistent for part in told)
    return Outcome(test.name, True, "right for your own output, whose mistake counts there" if carried else "right")


def _asked(test: Test, group: str) -> bool:
    if test.part == ALL:                        # what no other test asks of gradients
        return group != "formula"
    return group == test.group


def _parts(test: Test, report: Report) -> list[str]:
    return [part.name for part in report.parts if part.name != "y"] if test.part == ALL else [test.part]


def _for_its_own_output(part: Part | None, y: Part | None) -> bool:
    return part is not None and part.consistent and y is not None and y.suspect is not None


def _why(part: Part | None, report: Report, name: str) -> tuple[str, tuple[str, ...]]:
    """(the sentence, the mistakes by name) for a part that is not right."""
    if part is None:
        return f"{name} did not come back", ()
    says = part.says or report.says
    return says, part.suspect.names if part.suspect is not None else ()


def _unwritten(report: Report) -> str:
    """Why nothing could be judged."""
    return UNWRITTEN if "NotImplementedError" in report.says else report.says


def for_students(report: Report) -> Report:
    """A report that says which mistake it is, and does not show the reference's line."""
    def told(part: Part) -> Part:
        hidden = part.suspect and part.suspect._replace(line="", instead="")
        return part._replace(suspect=hidden)

    return report._replace(parts=tuple(map(told, report.parts)))


def score(outcomes: Iterable[Outcome], tests: Iterable[Test]) -> int:
    """The points of the tests that passed."""
    passed = {o.test for o in outcomes if o.passed}
    return sum(test.points for test in tests if test.name in passed)
