"""Is your implementation right, and if not, which mistake is it?

    report = run("attention", my_attention)                                  # a function at hand
    report = run("attention", file="student.py", name="attention")           # a file, in a process of its own
    report.passed, report.parts, print(report)

The function is called on every case; its output and each gradient are compared with the reference, element by element,
within the bound of honest arithmetic.  What is wrong is compared with the known mistakes.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from visattn import catalogue
from visattn.check import changes
from visattn.check.calling import Calls
from visattn.check.cases import cases, name_of
from visattn.check.changes import Change
from visattn.check.conclusion import closed, conclude
from visattn.check.judgement import HONEST, Judgement
from visattn.check.precision import PRECISIONS, Precision
from visattn.check.precision import precision as named
from visattn.check.verdicts import RIGHT, Finding, Part, Report

__all__ = ["HONEST", "judged", "run"]

DERIVATIVE = "The derivative of the output, by differences."


def run(op: str | ModuleType, forward: Any = None, backward: Any = None, *, file: str = "", module: str = "",
        name: str = "", backward_name: str = "", framework: str = "auto", precision: str | None = None,
        options: dict[str, Any] | None = None, weights: dict[str, str] | None = None, strict: bool = False,
        sizes: dict[str, int] | None = None, seed: int = 0, trust: bool = False, limits: Any = None,
        only: Sequence[str] | None = None, progress: Callable[[str], None] = lambda what: None,
        runner: Any = None) -> Report:
    """Check one implementation of an operator.

    op          the operator, by name; or a module that is one
    forward     a function, module or layer at hand; it runs in this process.  Or instead:
    file, name  a file and the function in it (or `module`, a dotted name): it runs in a process of its own, with limits
    backward    a gradient by hand, backward(dy, cache) or backward(dy, *arguments); frameworks with autograd need none
    framework   numpy, torch, jax, cupy, numba, triton; by default what the function's file imports
    precision   float64, float32, tf32, bfloat16 or float16; by default float64 and float32, as far as it takes them
    options     fixed options: the cases are made for these values only
    weights     for a module or layer: which of its parameters is which argument
    strict      a library's convention, where it differs from the reference, counts as wrong
    sizes       {letter of an axis: size} for the laws that need no reference, such as {"T": 4096, "S": 4096}: they are
                asked of what is right on all cases, at sizes somewhat larger than theirs, or at these
    seed        of all cases
    trust       the file, too, runs in this process, so that a debugger reaches it
    only        names of cases; by default all
    runner      what was launched before for this function: it is called, and left open

    Raises LookupError for an operator or case that there is not, ValueError for a precision or option that there is
    not.  Whatever the function itself does is a verdict, not an exception.
    """
    from visattn.check import names
    from visattn.check.runner import launch, trusted

    start = time.perf_counter()
    reference = catalogue.select([op])[0] if isinstance(op, str) else op
    stages = _stages(precision)
    for stage in stages:
        cases(reference, stage, seed, only or ())           # an unknown case is said before any work
    spec = names.spec_of(reference, file=file, module=module, name=name, backward=backward_name, framework=framework,
                         weights=weights or {}, seed=seed)
    _check_options(spec, options or {})
    spec = spec._replace(required=tuple(key for key in spec.required if key not in (options or {})))
    with (contextlib.nullcontext(runner) if runner is not None else trusted(spec, forward, backward)
          if forward is not None else launch(spec, limits, trust)) as called:
        calls = Calls(reference, called, stages, options or {}, seed, only, progress)
        report = judged(calls, asked=precision is not None, strict=strict, sizes=sizes)
    implementation = f"{file or module}{':' + name if name else ''}" if forward is None else _called(forward)
    return report._replace(implementation=implementation, seconds=time.perf_counter() - start,
                           isolation=tuple(called.isolation))


def _called(forward: Any) -> str:
    return getattr(forward, "__qualname__", None) or getattr(forward, "__name__", None) or type(forward).__name__


def _stages(precision: str | None) -> list[Precision]:
    """The precisions in which a function is called: before a coarse one a fine one, in which mistakes show."""
    if precision is None:
        return [PRECISIONS["float64"], PRECISIONS["float32"]]
    p = named(precision)
    finer = {"float64": [], "float32": ["float64"], "tf32": ["float64"]}.get(p.name, ["float32"])
    return [PRECISIONS[n] for n in finer] + [p]


def _check_options(spec: Any, options: dict[str, Any]) -> None:
    for key in options:
        if key not in spec.options:
            raise ValueError(f"{spec.op} has no option {key!r}; it has {', '.join(spec.options) or 'none'}")


def judged(calls: Calls, *, asked: bool = False, strict: bool = False, sizes: dict[str, int] | None = None) -> Report:
    """Call the function on every case, and say what it is; `asked` as in `Judgement`, the others as in `run`."""
    if calls.accepts.problem:
        return closed(calls, None, "failed", calls.accepts.problem)
    calls.run()
    judgement = Judgement(calls, calls.op, asked=asked, strict=strict)
    findings: list[Finding] = []
    if not strict and any(part.verdict not in RIGHT for part in judgement.parts):
        judgement, findings = by_convention(judgement)
    plain = not findings and not calls.options              # the laws are the reference's, with its own defaults
    if plain and all(part.verdict in RIGHT for part in judgement.parts) and (sizes or calls.only is None):
        findings = lawful(judgement, sizes)
    return conclude(calls, judgement, findings)


# --- conventions

def by_convention(judgement: Judgement) -> tuple[Judgement, list[Finding]]:
    """The judgement with a library's convention as what is right, where that explains the answers, alone or beside a
    known mistake; and what is to be said of it.  Else the one there is."""
    return _by_convention(judgement) or _beside_convention(judgement) or (judgement, [])


def _by_convention(first: Judgement) -> tuple[Judgement, list[Finding]] | None:
    """By a convention the output is right."""
    y, *grads = first.parts
    if y.verdict in ("wrong", "range", "precision", "failed", "contract"):
        wrong = ["y"]
    elif y.verdict in RIGHT:
        wrong = [part.name for part in grads if part.verdict in ("wrong", "range", "precision")]
    else:
        return None
    found = dict.fromkeys(e.changes for diagnosis in first.diagnoses.values() if wrong
                          for e in diagnosis.explain(wrong, kinds=("convention",)))
    best: tuple[tuple[int, int, int], tuple[Change, ...], Judgement] | None = None
    for some in found:
        again = _with(first, *some)
        if again.parts[0].verdict in (*RIGHT, "contract") and (wrong == ["y"] or _all_right(again)):
            # Differences see less than bounds do: what is right by them alone comes second.
            right = [part for part in again.parts if part.verdict in RIGHT]
            score = (sum(part.says != DERIVATIVE for part in right), len(right),
                     sum(part.suspect is not None for part in again.parts))
            if best is None or score > best[0]:
                best = score, some, again
            if score[0] == len(again.parts):
                break
    if best is None:
        return None
    _, some, again = best
    findings = [Finding("convention", f"This is how {c.by} does it. {c.says}", c.name) for c in some]
    if wrong == ["y"] and not _all_right(again):        # the gradients may follow another one beside it
        again, more = _by_convention(again) or (again, [])
        findings += more
    return again, findings


def _beside_convention(first: Judgement) -> tuple[Judgement, list[Finding]] | None:
    """By a convention the output's mistake is a known one."""
    y = first.parts[0]
    if y.verdict not in ("wrong", "range", "failed", "contract") or y.suspect or y.precision not in first.diagnoses:
        return None
    explained = first.diagnoses[y.precision].explain(["y"], kinds=("mistake", "convention"))
    kept = dict.fromkeys(c for e in explained for c in e.changes if c.kind == "convention" and len(e.changes) == 2)
    found = [(convention, again) for convention in kept
             if (again := _with(first, convention)).parts[0].suspect is not None]
    if not found:
        return None
    convention, again = max(found, key=lambda f: sum(
        part.verdict in RIGHT or part.consistent or part.suspect is not None for part in f[1].parts))
    suspects = [(c, other.parts[0].suspect) for c, other in found if c is not convention]
    others = tuple(f"{name} and {c.name}" for c, suspect in suspects if suspect is not None
                   for name in (" and ".join(suspect.names), *suspect.rivals))
    suspect = again.parts[0].suspect
    assert suspect is not None
    again.parts[0] = again.parts[0]._replace(suspect=suspect._replace(rivals=(*suspect.rivals, *others)))
    return again, [Finding("convention", f"Beside the mistake, this is how {convention.by} does it. {convention.says}",
                           convention.name)]


def _with(first: Judgement, *some: Change) -> Judgement:
    """The judgement with conventions as what is right."""
    again = Judgement(first.calls, changes.changed(first.op, *some), asked=first.asked, strict=first.strict)
    again.parts = [_of_convention(again, part) for part in again.parts]
    return again


def _of_convention(judgement: Judgement, part: Part) -> Part:
    """A gradient by hand may not be known for a convention; the derivative of the output always is."""
    if part.verdict in ("wrong", "range") and part.suspect is None and judgement.consistent(part.name):
        return part._replace(verdict="pass", ratio=0.0, says=DERIVATIVE, map=None)
    return part


def _all_right(judgement: Judgement) -> bool:
    return all(part.verdict in (*RIGHT, "contract") for part in judgement.parts)


# --- laws

def lawful(judgement: Judgement, sizes: dict[str, int] | None) -> list[Finding]:
    """Does what is right on all cases keep the laws that need no reference, at sizes beyond those of the cases, too?
    What does not is wrong: the judgement says so from then on."""
    from visattn.check import identities

    calls = judgement.calls
    p = next(p for p in calls.stages if p.name not in calls.left_out)
    calls.progress(f"{p.name} laws")
    found = identities.check(calls.op, calls.ask(p), sizes, p)
    at = f" at {', '.join(f'{axis} = {n}' for axis, n in sizes.items())}" if sizes else ""
    broken = next((f for f in found if not f.fine), None)
    if broken is not None:
        judgement.parts[0] = judgement.parts[0]._replace(
            verdict="wrong", precision=p.name, case="", map=None,
            says=f"Right on every small case, but not{at or ' at larger sizes'}: {broken.says}")
    elif sizes:
        calls.note(f"{len(found)} laws that need no reference hold{at}" if found else
                   f"no law is known that {name_of(calls.op)} keeps without a reference")
    return found
