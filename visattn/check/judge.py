"""Is your implementation right, and if not, which mistake is it?

    report = run("attention", my_attention)                                  # a function at hand
    report = run("attention", file="student.py", name="attention")           # a file, in a process of its own
    report.passed, report.parts, print(report)

The function is called on every case; its output and each gradient are compared with the reference, element by element,
within the bound of honest arithmetic.  What is wrong is compared with the known mistakes.
"""

import contextlib
import inspect
import time
import typing
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from visattn import catalogue, tree
from visattn.check import changes, tolerance
from visattn.check.cases import Case, Integers, cases, cotangent, fit, name_of
from visattn.check.changes import Change
from visattn.check.child.records import Accepts, Answer, Problem
from visattn.check.compare import Compared, compare
from visattn.check.diagnose import Diagnosis, Explained, Seen, intermediates
from visattn.check.precision import FINEST_FIRST, PRECISIONS, Precision
from visattn.check.precision import precision as named
from visattn.check.tolerance import Within
from visattn.check.verdicts import ORDER, RIGHT, CaseResult, Finding, Map, Part, Report, Suspect, Verdict

LIKELY = 0.5                # bounds of a coarser arithmetic up to which an error is likely to be its own
HONEST = 1.5                # bounds up to which a result is accepted, with a word above 1
SYSTEMATIC = 0.9            # the share of an error that stays when the arguments are nudged: above, it is no rounding,
                            # not even one that cuts off, whose errors all have one sign
WIDENED = (". NumPy widens float32 beside a number of its own, such as np.sqrt(q.shape[-1]): write q.shape[-1] ** 0.5, "
           "which is one of Python's")
NUDGES = 6
SMALL = 1e-4                # of the largest number: below, an unknown mistake may be a constant
SEVERE = ("mutated", "changing", "shape", "device", "missing")
OF_CONVENTION = ("nothing to see", "causal mask", "corners")         # probes that compare with the reference's own
FAILED = ("raised", "resource", "crash", "forged")
NOTHING = Compared(np.zeros(0), 0.0, False, 0.0)


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
        check = _Check(reference, called, stages, options or {}, seed, only, progress, asked=precision is not None,
                       strict=strict, sizes=sizes)
        report = check.report()
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


class _Check:
    """One function, called on all cases, and what is concluded."""

    def __init__(self, op: ModuleType, runner: Any, stages: list[Precision], options: dict[str, Any], seed: int,
                 only: Sequence[str] | None, progress: Callable[[str], None], asked: bool = False,
                 strict: bool = False, sizes: dict[str, int] | None = None) -> None:
        self.op, self.runner, self.options, self.seed, self.only = op, runner, options, seed, only
        self.stages, self.progress = stages, progress
        parameters = inspect.signature(op.forward).parameters.values()
        self.required = [p.name for p in parameters if p.default is p.empty]
        self.sizes, self.cut = sizes, only is not None
        self.strict = strict                    # a library's convention counts as wrong
        self.asked = asked                      # for one precision: the finer ones are there to show mistakes
        self.accepts: Accepts = runner.accepts
        self.notes: list[str] = list(self.accepts.notes)
        self.findings: list[Finding] = []
        self.answers: dict[tuple[str, str], tuple[Case, Answer]] = {}       # of (precision, case)
        self.left_out: dict[str, str] = {}                                  # precision: why
        self.derivatives: dict[str, dict[str, bool]] = {}                   # of a case: which gradients are those

    # --- calling

    def report(self) -> Report:
        if self.accepts.problem:
            return self._closed("failed", self.accepts.problem)
        for p in list(self.stages):
            if self.accepts.dtypes and p.dtype not in self.accepts.dtypes:
                self._leave(p, f"it does not take {p.dtype}")
                continue
            for case in self._cases(p):
                self.progress(f"{p.name} {case.name}")
                answer = self._call(case, p)
                self.answers[p.name, case.name] = case, answer
                self.notes += [note for note in answer.notes if note not in self.notes]
                if any(problem.kind == "resource" or problem.kind == "crash" for problem in answer.problems):
                    break                                                   # it will not be better the next time
        judged = self._judge(self.op)
        if not self.strict and any(part.verdict not in RIGHT for part in judged):
            judged = self._beside_convention(self._by_convention(judged))
        by_convention = any(f.name == "convention" for f in self.findings)          # the laws are the reference's,
        plain = not by_convention and not self.options                              # with its own defaults
        if plain and all(part.verdict in RIGHT for part in judged) and (self.sizes or not self.cut):
            judged[0] = self._lawful(judged[0])
        return self._conclude(judged)

    def _leave(self, p: Precision, why: str) -> None:
        self.left_out[p.name] = why

    def _cases(self, p: Precision) -> list[Case]:
        """The cases as this function can be given them, each once."""
        made: dict[Any, Case] = {}
        dropped: dict[str, set[str]] = {}
        for case in cases(self.op, p, self.seed, self.only):
            fitted = self._project(case, p, dropped)
            if fitted is not None:
                key = tuple(a.tobytes() if tree.is_leaf(a) else repr(a) for a in
                            (*tree.leaves(fitted.args), *fitted.options.values(), fitted.layout))
                made.setdefault(key, fitted)
        lacks = [what for what in dropped if not what.endswith("said to it")]
        if lacks:
            count = len(set().union(*(dropped[what] for what in lacks)))
            self.notes.append(f"it has no {', '.join(lacks)}: {count} case{'s were' if count > 1 else ' was'} left out "
                              "or made without")
        self.notes += [f"{what}: {', '.join(sorted(names))} left out" for what, names in dropped.items()
                       if what not in lacks]
        return list(made.values())

    def _project(self, case: Case, p: Precision, dropped: dict[str, set[str]]) -> Case | None:
        """The case without what the function has no place for; None where nothing is left of it."""
        names = list(tolerance.arguments_of(self.op))
        takes, values = set(self.accepts.takes), self.accepts.values
        args = [a if name in takes else None for name, a in zip(names, case.args)]
        while args and args[-1] is None:
            args.pop()
        options = {key: value for key, value in case.options.items() if key in takes} | self.options
        for key, allowed in values.items():
            if key in options and options[key] not in allowed:
                dropped.setdefault(f"{key}={options[key]!r} cannot be said to it", set()).add(case.name)
                return None
        for key in (*(n for n, a in zip(names, case.args) if a is not None and n not in takes),
                    *(key for key in case.options if key not in takes)):
            dropped.setdefault(key, set()).add(case.name)
        if len(args) == len(case.args) and options.keys() == case.options.keys() and not self.options:
            return case
        try:
            with np.errstate(all="ignore"):
                y, _ = self.op.forward(*args, **options)
        except (TypeError, ValueError):
            return None
        rng = Integers(self.seed, name_of(self.op), case.name, "cotangent")
        return case._replace(args=tuple(args), options=options, dy=cotangent(y, rng, p))

    def _call(self, case: Case, p: Precision, repeat: int = 2) -> Answer:
        named_args = {name: a for name, a in zip(tolerance.arguments_of(self.op), case.args) if a is not None}
        dy = tree.leaves(case.dy) if self.accepts.gradient else None
        takes = {*self.accepts.takes} | ({*case.options} - {*self.options})     # what is fixed may be built in
        options = {key: value for key, value in case.options.items() if key in takes}
        return self.runner.call(named_args, options, dy, dtype=p.dtype, layout=case.layout, repeat=repeat)

    # --- judging

    def _judge(self, op: ModuleType) -> list[Part]:
        """The verdict on the output and on each gradient, with `op` as what is right."""
        self.seen: dict[str, list[Seen]] = {p.name: [] for p in self.stages}
        self.compared: dict[tuple[str, str, str], Compared] = {}            # of (precision, case, part)
        self.problems: dict[tuple[str, str], list[Problem]] = {}
        for (stage, name), (case, answer) in self.answers.items():
            p = PRECISIONS[stage]
            # A shape that is not the reference's may be right by a convention: that is seen below.
            self.problems[stage, name] = [pr for pr in answer.problems if op is self.op or pr.kind != "shape"]
            kinds = {problem.kind for problem in answer.problems}
            if "raised" in kinds and not answer.y and self._refuses_together(stage, case):
                self.problems[stage, name] = []
                continue
            if "raised" not in kinds and (kinds & {*FAILED, "unsupported"} or not answer.y):
                continue
            try:
                with np.errstate(all="ignore"):
                    right = tolerance.bounds(op, case.args, case.options, case.dy if self.accepts.gradient else None,
                                             p, all_ways=False)
            except (ValueError, IndexError, TypeError):
                if op is self.op:
                    raise
                self.problems[stage, name] = []             # by a convention, these shapes may mean nothing
                continue
            parts = self._arranged(stage, name, case, answer, right)
            seen = Seen(case, parts, right, "raised" in kinds and not parts)
            self.seen[stage].append(seen)
            self._compare(stage, seen)
        self._widen(op)
        told = (problem.part for found in self.problems.values() for problem in found if problem.part)
        names = dict.fromkeys([*(part for *_, part in self.compared), *told])
        self.diagnoses = {stage: Diagnosis(op, seen, PRECISIONS[stage]) for stage, seen in self.seen.items() if seen}
        self.forward_mistake: tuple[Change, ...] = ()
        y = self._part("y")
        if y.suspect is not None:
            y = self._by_gradients(y)
        wrong = y.verdict in ("wrong", "range", "failed") or y.suspect is not None
        self.output_is_right = y.verdict in (*RIGHT, "contract")
        return self._one_name_for_all([y, *(self._part(name, wrong) for name in names if name != "y")])

    def _refuses_together(self, stage: str, case: Case) -> bool:
        """Did the function answer to each option of a case, but not to all of them at once?"""
        def options(c: Case) -> set[str]:
            return {key for key, value in c.options.items() if value is not None} - set(self.required)

        wanted = options(case)
        answered = [options(c) for (s, _), (c, answer) in self.answers.items() if s == stage and answer.y]
        if len(wanted) < 2 or not all(any(key in some for some in answered) for key in wanted):
            return False
        if any(wanted <= some for some in answered):
            return False
        self.notes.append(f"it refuses {' and '.join(sorted(wanted))} together: left out")
        return True

    def _compare(self, stage: str, seen: Seen) -> None:
        for part, leaves in seen.parts.items():
            if seen.fits(part):
                pairs = [compare(got, wanted) for got, wanted in zip(leaves, seen.bounds.parts()[part], strict=True)]
                self.compared[stage, seen.case.name, part] = max(pairs, key=lambda c: c.worst)

    def _widen(self, op: ModuleType) -> None:
        """What is outside of the reference's own bound may be right in another way to write it: that is asked of the
        worst case of each part, and of the next, until one is surely wrong, or none is left."""
        wide: set[tuple[str, str]] = set()
        for stage, part in dict.fromkeys((stage, part) for stage, _, part in self.compared):
            while True:
                name = max((n for s, n, q in self.compared if (s, q) == (stage, part)),
                           key=lambda n: self.compared[stage, n, part].worst)
                if self.compared[stage, name, part].worst <= 1 or (stage, name) in wide:
                    break
                wide.add((stage, name))
                at = next(i for i, seen in enumerate(self.seen[stage]) if seen.case.name == name)
                seen = self.seen[stage][at]
                dy = seen.case.dy if self.accepts.gradient else None
                bounds = tolerance.bounds(op, seen.case.args, seen.case.options, dy, PRECISIONS[stage])
                self.seen[stage][at] = seen._replace(bounds=bounds)
                self._compare(stage, self.seen[stage][at])

    def _arranged(self, stage: str, name: str, case: Case, answer: Answer, right: tolerance.Bounds) -> dict[str, list]:
        """The arrays of an answer under the names of the parts; those of a wrong shape become problems."""
        parts: dict[str, list[np.ndarray]] = {}

        def add(part: str, leaves: Sequence[np.ndarray]) -> None:
            wanted = right.parts()[part]
            if len(leaves) != len(wanted):
                problem = f"{len(leaves)} arrays were given where {len(wanted)} are meant"
            else:
                wrong = [(got.shape, leaf.value.shape) for got, leaf in zip(leaves, wanted)
                         if got.shape != leaf.value.shape]
                problem = f"its shape is {wrong[0][0]}, where {wrong[0][1]} is meant" if wrong else ""
            if problem:
                self.problems[stage, name].append(Problem("shape", f"{problem} (case {name})", part))
            parts[part] = [np.asarray(leaf, float) for leaf in leaves]

        if answer.y:
            add("y", answer.y)
        for part, grad in zip(right.grads, answer.grads or ()):
            if grad is not None:
                add(part, grad if isinstance(grad, (tuple, list)) else [grad])
        return parts

    def _part(self, name: str, wrong_output: bool = False) -> Part:
        """The verdict on one part, from the worst that can be said of it to the best."""
        broken = self._broken(name, FAILED, "failed") or self._broken(name, SEVERE, "contract")
        if broken is not None:
            return broken
        judged = {(stage, case): c for (stage, case, part), c in self.compared.items() if part == name}
        if not judged:
            says = next((problem.says for found in self.problems.values() for problem in found), "nothing came back")
            unsupported = any(problem.kind == "unsupported" for found in self.problems.values() for problem in found)
            return Part(name, "unsupported" if unsupported else "failed", says, np.inf, self.stages[-1].name, "")
        for p in self.stages:
            here = {case: c for (stage, case), c in judged.items() if stage == p.name}
            if here and max(c.worst for c in here.values()) > HONEST:
                return self._not_right(name, p.name, here, wrong_output)
        # A result that is right, but of another dtype: said only now, for a wrong formula is what matters.
        broken = self._broken(name, ("dtype", "aliases"), "contract")
        if broken is not None:
            return broken
        (stage, case), worst = max(judged.items(), key=lambda item: item[1].worst)
        says = "" if worst.worst <= 1 else f"A little less exact than honest arithmetic: {worst.worst:.2g} bounds."
        return Part(name, "pass" if worst.worst <= 1 else "imprecise", says, worst.worst, stage, case,
                    self._map(stage, case, name))

    def _by_gradients(self, y: Part) -> Part:
        """Of mistakes that give the same output, the one whose gradients, too, are those that were given."""
        diagnosis, found = self.diagnoses[y.precision], self.explained
        answered = sorted({part for (stage, _, part) in self.compared if stage == y.precision} - {"y"})
        found = sorted(found, key=lambda e: -sum(diagnosis.same((name,), e.changes) for name in answered))
        self.forward_mistake, self.of_output = found[0].changes, found
        suspect = diagnosis.suspect(found)
        return y._replace(suspect=suspect, says=y.says.replace(y.suspect.says if y.suspect else "", suspect.says))

    def _broken(self, name: str, kinds: tuple[str, ...], verdict: Verdict) -> Part | None:
        """The first promise of these kinds that this part did not keep; problems of no part are the output's."""
        auxiliary = {p.name for p in self.stages[:-1]} if self.asked else set()
        for (stage, case), found in self.problems.items():
            for problem in found:
                if problem.kind in kinds and name == (problem.part or "y"):
                    if problem.kind == "dtype" and stage in auxiliary:
                        continue
                    says = problem.says
                    if problem.kind == "dtype" and self.accepts.framework == "numpy" and "is float64" in says:
                        says += WIDENED
                    part = Part(name, verdict, says, np.inf, stage, case)
                    return self._explained(part, problem.kind)
        return None

    def _not_right(self, name: str, stage: str, here: dict[str, Compared], wrong_output: bool) -> Part:
        """A part that is outside of its bound: what is it?"""
        case, worst = max(here.items(), key=lambda item: item[1].worst)
        broken = next((c for c, found in here.items() if found.range), None)
        kind: Verdict = "range" if broken and all(c.range or c.worst <= HONEST for c in here.values()) else "wrong"
        case = broken if kind == "range" and broken else case
        part = Part(name, kind, "", worst.worst, stage, case, self._map(stage, case, name))
        consistent = name != "y" and wrong_output and self._consistent(name)
        if consistent:
            return part._replace(consistent=True, says="It is the right gradient of your output: mend the output, and "
                                                       "this will be right, too.")
        found = self._explain(name, stage)
        if found:
            self.explained = found
            suspect = self.diagnoses[stage].suspect(found)
            return part._replace(suspect=suspect, says=suspect.says)
        coarse = self._coarser(name, stage) if kind == "wrong" and not wrong_output else ""
        if coarse:
            return part._replace(verdict="precision", says=coarse)
        if kind == "range":
            p = PRECISIONS[stage]
            return part._replace(says=f"Infinite, or not a number, where the exact result is finite: something on the "
                                      f"way exceeds {p.largest:.3g}, the largest number of {p.dtype}.")
        says = "An unknown mistake: none of the known ones gives these numbers."
        small = part.map and abs(part.map.got - part.map.wanted) / self._largest(name, stage, case)
        if small and small < SMALL:
            says += (f" They are off by {small:.1g} of the largest, and stay so where the arguments move: a constant "
                     "of too few digits does that, or a small term too many.")
        return part._replace(says=says)

    def _explained(self, part: Part, kind: str) -> Part:
        """A part that was not answered as promised, and the mistake that would not be, in the same way."""
        if kind not in ("raised", "shape") or not any(part.name in s.parts for s in self.seen[part.precision]):
            return part                                 # what never came is no evidence of anything
        found = self._explain(part.name, part.precision)
        if not found:
            return part
        self.explained = found
        suspect = self.diagnoses[part.precision].suspect(found)
        return part._replace(suspect=suspect, says=f"{part.says}. {suspect.says}")

    def _explain(self, name: str, stage: str) -> list[Explained]:
        diagnosis = self.diagnoses[stage]
        if name == "y":
            return self._singles_then_pairs(diagnosis, [name])
        if self.forward_mistake:
            # The cache of the wrong forward, read by the right backward: what tells it is the output.
            found = [e for e in self.of_output if diagnosis.agrees((name,), e.changes)]
            if found[:1] == self.of_output[:1]:
                return found
            return diagnosis.explain([name], given=self.forward_mistake, pairs=False)
        if not self.output_is_right:                    # and unknown: two known mistakes will not explain this
            return diagnosis.explain([name], pairs=False)
        return self._singles_then_pairs(diagnosis, [name], still=("y",) if self.output_is_right else ())

    def _singles_then_pairs(self, diagnosis: Diagnosis, names: list[str],
                            still: tuple[str, ...] = ()) -> list[Explained]:
        """What explains these parts; no pairs of mistakes where a convention would, which is looked at later."""
        found = diagnosis.explain(names, pairs=False, still=still)
        if found or (not self.strict and diagnosis.explain(names, kinds=("convention",), pairs=False)):
            return found
        return diagnosis.explain(names, still=still)

    def _one_name_for_all(self, parts: list[Part]) -> list[Part]:
        """Where one mistake explains every gradient that is not right, it is named for all of them."""
        wrong = [part for part in parts[1:] if part.verdict not in RIGHT and part.suspect is not None]
        if len(wrong) < 2 or not self.output_is_right or len({part.precision for part in wrong}) > 1:
            return parts
        diagnosis = self.diagnoses[wrong[0].precision]
        names = [part.name for part in wrong]
        found = diagnosis.explain(names, still=("y",))
        if not found:
            return parts
        suspect = diagnosis.suspect(found)
        return [part._replace(suspect=suspect, says=part.says.replace(part.suspect.says, suspect.says))
                if part in wrong and part.suspect is not None else part for part in parts]

    def _consistent(self, name: str) -> bool:
        """Is a gradient the derivative of the function's own output?  In float64, by differences, in some of the cases
        where it is not the reference's; in one, if there is any, where the output is."""
        if self.stages[0].name != "float64" or not self.seen.get("float64"):
            return False

        def off(s: Seen, part: str) -> bool:
            return self.compared.get(("float64", s.case.name, part), NOTHING).worst > HONEST

        wrong = [s for s in self.seen["float64"] if off(s, name) and s.case.layout == "contiguous"]
        wrong.sort(key=lambda s: (not s.case.name.startswith(("plain", "bare")),
                                  sum(np.size(a) for a in tree.leaves(s.case.args))))
        chosen = [*wrong[:2], *[s for s in wrong[2:] if not off(s, "y")][:1]]
        return bool(chosen) and all(self._derivatives(s).get(name, False) for s in chosen)

    def _derivatives(self, s: Seen) -> dict[str, bool]:
        """{"dq": is it the derivative of the function's own output} in one case."""
        from visattn.check import identities

        if s.case.name not in self.derivatives:
            args = {name: a for name, a in zip(tolerance.arguments_of(self.op), s.case.args) if a is not None}
            try:
                found = identities.consistent(self._ask(PRECISIONS["float64"]), args, s.case.options,
                                              tree.leaves(s.case.dy))
            except Exception:
                found = {}
            self.derivatives[s.case.name] = {f"d{argument}": holds for argument, (holds, _) in found.items()}
        return self.derivatives[s.case.name]

    def _coarser(self, name: str, stage: str) -> str:
        """In which coarser arithmetic this would be right, in a sentence; "" where the formula is another."""
        p = PRECISIONS[stage]
        finer = [q.name for q in self.stages if FINEST_FIRST.index(q.name) < FINEST_FIRST.index(stage)]
        right_before = any(self._worst(q, name) <= HONEST for q in finer if self.seen.get(q))
        candidates: list[tuple[str, Precision]] = []
        for unit in ("float32", "float16", "bfloat16"):
            if PRECISIONS[unit].stored > p.accumulate:
                candidates.append((f"sums are kept in {unit}", p.accumulating(PRECISIONS[unit].stored)))
        for coarse in FINEST_FIRST[FINEST_FIRST.index(p.name) + 1:]:
            if PRECISIONS[coarse].operand > p.operand:
                candidates.append((f"its errors are those of {coarse}", PRECISIONS[coarse]))
        candidates.sort(key=lambda c: max(c[1].accumulate, c[1].operand * 0.999))
        # An honest error is a fraction of its bound: the finest arithmetic of which it is at most half is likely.
        off = [(self._off(name, stage, q), says, q) for says, q in candidates]
        for error, says, q in sorted(off, key=lambda found: found[0] > LIKELY):
            if error <= HONEST and (right_before or not self._systematic(name, stage, q)):
                return (f"The right formula in coarser arithmetic than {p.name}: {says}. Check it as what it is, or "
                        f"compute in {p.name}.")
        if right_before:
            return (f"The right formula, but less exact than {p.name}: in finer arithmetic it is right, here it is off "
                    f"by {self._worst(stage, name):.2g} bounds.")
        return ""

    def _worst(self, stage: str, name: str) -> float:
        return max((c.worst for (s, _, part), c in self.compared.items() if s == stage and part == name),
                   default=np.inf)

    def _off(self, name: str, stage: str, q: Precision) -> float:
        """The largest error of a part in bounds of another precision; or the first that is too large for honest
        arithmetic, looking at the worst cases first."""
        largest = 0.0
        fitting = [s for s in self.seen[stage] if s.fits(name)]
        for s in sorted(fitting, key=lambda s: -self.compared[stage, s.case.name, name].worst):
            with np.errstate(all="ignore"):
                coarse = tolerance.bounds(self.op, s.case.args, s.case.options, s.case.dy, q,
                                          all_ways=False).parts()[name]
            for got, wanted, mine in zip(s.parts[name], coarse, s.bounds.parts()[name], strict=True):
                room = Within(wanted.value, np.maximum(wanted.error, mine.error))
                largest = max(largest, compare(got, room).worst)
            if largest > HONEST:
                break
        return largest

    def _systematic(self, name: str, stage: str, q: Precision) -> bool:
        """Is the error the same when the arguments move a little?  Rounding errors are not."""
        p = PRECISIONS[stage]
        worst = max((s for s in self.seen[stage] if s.fits(name)),
                    key=lambda s: self.compared[stage, s.case.name, name].worst)
        rng, found = Integers(self.seed, "nudge"), []
        size = 16 * max(q.stored, q.operand)

        def nudge(a: np.ndarray) -> np.ndarray:
            return a * (1 + size * rng.uniform(-1, 1, size=a.shape))

        for _ in range(NUDGES):
            case = worst.case._replace(args=fit(tree.map(nudge, worst.case.args), p),
                                       dy=fit(tree.map(nudge, worst.case.dy), p))
            answer = self._call(case, p, repeat=1)
            if not answer.y:
                return True
            right = tolerance.bounds(self.op, case.args, case.options, case.dy if self.accepts.gradient else None, p)
            parts = self._arranged(stage, case.name, case, answer, right)
            if name not in parts:
                return True
            found.append(np.concatenate([(got - wanted.value).ravel()
                                         for got, wanted in zip(parts[name], right.parts()[name])]))
        errors = np.where(np.isfinite(found), found, 0)
        return bool((errors.mean(0) ** 2).sum() > SYSTEMATIC * (errors**2).mean(0).sum())

    def _largest(self, name: str, stage: str, case: str) -> float:
        """The largest number of a part in a case."""
        s = next(s for s in self.seen[stage] if s.case.name == case)
        return max((float(np.abs(np.where(np.isfinite(w.value), w.value, 0)).max(initial=0))
                    for w in s.bounds.parts()[name]), default=0.0) or 1.0

    def _map(self, stage: str, case: str, name: str) -> Map | None:
        """Where the error of a part sits, in one case."""
        s = next((s for s in self.seen[stage] if s.case.name == case), None)
        if s is None or not s.fits(name):
            return None
        got, wanted = max(zip(s.parts[name], s.bounds.parts()[name], strict=True),
                          key=lambda pair: compare(*pair).worst)
        ratio = compare(got, wanted).ratio
        if not ratio.size:
            return None
        at = np.unravel_index(int(np.argmax(ratio)), ratio.shape)
        axes = axes_of(self.op, name, ratio.ndim)
        kept, names, index = ratio, list(axes), list(at)
        while kept.ndim > 3:                                    # of many leading axes the place of the worst is shown
            kept, names, index = kept[index[0]], names[1:], index[1:]
        return Map(case, tuple(names), kept, ratio.shape, tuple(int(i) for i in at), float(got[at]),
                   float(wanted.value[at]), float(wanted.error[at]))

    def _lawful(self, y: Part) -> Part:
        """What is right on all cases keeps the laws that need no reference, at sizes beyond those of the cases, too."""
        from visattn.check import identities

        p = next(p for p in self.stages if p.name not in self.left_out)
        self.progress(f"{p.name} laws")
        found = identities.check(self.op, self._ask(p), self.sizes, p)
        self.findings += found
        at = f" at {', '.join(f'{axis} = {n}' for axis, n in self.sizes.items())}" if self.sizes else ""
        broken = next((f for f in found if not f.fine), None)
        if broken is None:
            if self.sizes:
                self.notes.append(f"{len(found)} laws that need no reference hold{at}" if found else
                                  f"no law is known that {name_of(self.op)} keeps without a reference")
            return y
        return y._replace(verdict="wrong", precision=p.name, case="", map=None,
                          says=f"Right on every small case, but not{at or ' at larger sizes'}: {broken.says}")

    def _ask(self, p: Precision) -> Callable[..., Any]:
        """The function as laws and differences call it: (leaves of y, gradients), or None where it does not answer."""
        def call(args: dict[str, Any], options: dict[str, Any], dy: Any = None) -> Any:
            answer = self.runner.call(args, options, dy if self.accepts.gradient else None, dtype=p.dtype,
                                      layout="contiguous", repeat=1)
            return (list(answer.y), None if answer.grads is None else list(answer.grads)) if answer.y else None
        return call

    # --- conventions

    def _by_convention(self, judged: list[Part]) -> list[Part]:
        """The verdicts with a library's convention as what is right, if by it the output is; else those there are."""
        if judged[0].verdict in ("wrong", "range", "precision", "failed", "contract"):
            wrong = ["y"]
        elif judged[0].verdict in RIGHT:
            wrong = [part.name for part in judged[1:] if part.verdict in ("wrong", "range", "precision")]
        else:
            return judged
        before = vars(self).copy()
        found = dict.fromkeys(e.changes for diagnosis in self.diagnoses.values() if wrong
                              for e in diagnosis.explain(wrong, kinds=("convention",)))
        best: tuple[tuple[int, int], tuple[Change, ...], list[Part], dict[str, Any]] | None = None
        for some in found:
            again = [self._of_convention(part) for part in self._judge(changes.changed(self.op, *some))]
            if again[0].verdict in (*RIGHT, "contract") and (wrong == ["y"] or self._all_right(again)):
                score = sum(part.verdict in RIGHT for part in again), sum(part.suspect is not None for part in again)
                if best is None or score > best[0]:
                    best = score, some, again, vars(self).copy()
            vars(self).update(before)
            if best is not None and self._all_right(best[2]):
                break
        if best is None:
            return judged
        _, some, again, state = best
        vars(self).update(state)
        self.findings += [Finding("convention", f"This is how {c.by} does it. {c.says}", c.name) for c in some]
        return again

    def _beside_convention(self, judged: list[Part]) -> list[Part]:
        """The verdicts with a library's convention as what is right, if by it the output's mistake is a known one;
        else those there are."""
        y = judged[0]
        if y.verdict not in ("wrong", "range", "failed", "contract") or y.suspect or y.precision not in self.diagnoses:
            return judged
        explained = self.diagnoses[y.precision].explain(["y"], kinds=("mistake", "convention"))
        kept = dict.fromkeys(c for e in explained for c in e.changes if c.kind == "convention" and len(e.changes) == 2)
        before = vars(self).copy()
        found: list[tuple[Change, Suspect, list[Part], dict[str, Any]]] = []
        for convention in kept:
            again = [self._of_convention(part) for part in self._judge(changes.changed(self.op, convention))]
            if again[0].suspect is not None:
                found.append((convention, again[0].suspect, again, vars(self).copy()))
            vars(self).update(before)
        if not found:
            return judged
        convention, suspect, again, state = max(found, key=lambda f: sum(
            part.verdict in RIGHT or part.consistent or part.suspect is not None for part in f[2]))
        vars(self).update(state)
        others = tuple(f"{name} and {c.name}" for c, other, *_ in found if c is not convention
                       for name in (" and ".join(other.names), *other.rivals))
        suspect = suspect._replace(rivals=(*suspect.rivals, *others))
        self.findings.append(Finding("convention", f"Beside the mistake, this is how {convention.by} does it. "
                                     f"{convention.says}", convention.name))
        return [again[0]._replace(suspect=suspect), *again[1:]]

    @staticmethod
    def _all_right(parts: Sequence[Part]) -> bool:
        return all(part.verdict in (*RIGHT, "contract") for part in parts)

    def _of_convention(self, part: Part) -> Part:
        """A gradient by hand may not be known for a convention; the derivative of the output always is."""
        if part.verdict in ("wrong", "range") and part.suspect is None and self._consistent(part.name):
            says = "The derivative of the output, by differences."
            return part._replace(verdict="pass", ratio=0.0, says=says, map=None)
        return part

    # --- concluding

    def _conclude(self, parts: list[Part]) -> Report:
        # A wrong formula matters more than the dtype in which it is given back.
        lighter = {part.name for part in parts if part.verdict == "contract"
                   and self._broken(part.name, SEVERE, "contract") is None}
        first = min(parts, key=lambda part: ORDER.index("imprecise" if part.name in lighter else part.verdict)
                    - (part.name in lighter) / 2 + 9 * (part.verdict == "unsupported"))
        verdict: Verdict = "unsupported" if parts[0].verdict == "unsupported" else first.verdict
        if verdict not in RIGHT and verdict != "unsupported":
            self._look_closer(parts)
        for stage, why in self.left_out.items():
            self.notes.append(f"not judged in {stage}: {why}")
        unsupported = {(stage, problem.says) for (stage, _), found in self.problems.items() for problem in found
                       if problem.kind == "unsupported"}
        self.notes += [f"not supported in {stage}: {says}" for stage, says in sorted(unsupported)]
        if not self.accepts.gradient:
            self.notes.append("no gradient was given, and none was judged")
        self._judged_shares()
        return self._closed(verdict, sentence(first, parts, self.findings), parts)

    def _judged_shares(self) -> None:
        """A note where most of a part says nothing, because in this precision anything may be honest."""
        shares: dict[tuple[str, str], list[float]] = {}
        for (stage, _, part), c in self.compared.items():
            shares.setdefault((stage, part), []).append(c.judged)
        for (stage, part), share in shares.items():
            if np.mean(share) < 0.5:
                self.notes.append(f"of {part}, only {np.mean(share):.0%} can be judged in {stage}: the rest hangs on "
                                  "decisions that honest arithmetic of this precision may take either way")

    def _look_closer(self, parts: list[Part]) -> None:
        """What else can be said of a function that is not right."""
        from visattn.check import probes

        self._first_divergence()
        if parts[0].verdict not in ("wrong", "range"):
            return

        def call(args: dict[str, Any], options: dict[str, Any]) -> Any:
            answer = self.runner.call(args, options, None, dtype=self.stages[0].dtype, layout="contiguous", repeat=1)
            return list(answer.y) if answer.y and not answer.problems else None

        self.progress("probing")
        try:
            found = probes.probe(self.op, call, set(self.accepts.takes))
            if any(f.name == "convention" for f in self.findings):
                found = [f for f in found if f.fine or not f.name.startswith(OF_CONVENTION)]
            self.findings += found
        except Exception as error:                          # a probe is a help, never a reason to stop
            self.notes.append(f"the probes could not run: {error}")

    def _first_divergence(self) -> None:
        """The first intermediate that the function names and has otherwise than the reference."""
        for stage in self.stages:
            for (at, name), (case, answer) in self.answers.items():
                if at != stage.name or not answer.inner or not answer.y:
                    continue
                shared = []
                for inner, wanted in intermediates(self.op, case):
                    mine = answer.inner.get(inner)
                    if mine is None or wanted.dtype.kind not in "fb" or mine.dtype.kind not in "fb":
                        continue
                    shared.append(inner)
                    if mine.shape != wanted.shape or not np.allclose(mine, wanted, 1e-3, 1e-5, equal_nan=True):
                        before = ", ".join(shared[:-1])
                        self.findings.append(Finding(
                            "first divergence", f"Of what you named, {inner} is the first that differs from the "
                            f"reference (case {name})" + (f"; {before} agreed." if before else "."), inner, False))
                        return
            if self.findings:
                return

    def _closed(self, verdict: Verdict, says: str, parts: Sequence[Part] = ()) -> Report:
        results = []
        for (stage, name), (case, answer) in self.answers.items():
            ratios = {part: c.worst for (s, n, part), c in getattr(self, "compared", {}).items()
                      if (s, n) == (stage, name)}
            verdicts: dict[str, Verdict] = {part: "pass" if r <= 1 else "imprecise" if r <= HONEST else "wrong"
                                            for part, r in ratios.items()}
            problems = getattr(self, "problems", {}).get((stage, name), answer.problems)
            verdicts |= {problem.part or "y": "contract" for problem in problems if problem.kind in SEVERE}
            verdicts |= {problem.part or "y": "failed" for problem in answer.problems if problem.kind in FAILED}
            results.append(CaseResult(name, stage, case.catches, ratios, verdicts, answer.seconds))
        return Report(name_of(self.op), "", self.accepts.framework, verdict, says,
                      tuple(p.name for p in self.stages if p.name not in self.left_out), tuple(parts), tuple(results),
                      tuple(self.findings), tuple(dict.fromkeys(self.notes)), (), 0.0, self.accepts.takes)


def axes_of(op: Any, part: str, ndim: int) -> tuple[str, ...]:
    """The letters of an output's or a gradient's axes, from the signature; numbers where it does not say."""
    from visattn.check.cases import batch_axes

    hints = {name: p.annotation for name, p in inspect.signature(op.forward).parameters.items()}
    returned = inspect.signature(op.forward).return_annotation
    hint = hints.get(part[1:]) if part != "y" else (typing.get_args(returned) or (None,))[0]
    axes = [axis.lstrip("#") for axis in batch_axes(hint)]
    if axes and axes[0].startswith("*"):
        axes = [f"axis {i}" for i in range(ndim - len(axes) + 1)] + axes[1:]
    return tuple(axes) if len(axes) == ndim else tuple(f"axis {i}" for i in range(ndim))


def sentence(first: Part, parts: Sequence[Part], findings: Sequence[Finding]) -> str:
    """The whole in a sentence or two; `first` is the part that matters most."""
    if first.verdict in RIGHT:
        judged = [part.name for part in parts if part.verdict in RIGHT]
        worst = max((part.ratio for part in parts if part.verdict in RIGHT), default=0.0)
        convention = next((f" {f.says}" for f in findings if f.name == "convention"), "")
        return f"Right: {', '.join(judged)} within {worst:.2g} of the bound that honest arithmetic keeps.{convention}"
    if first.verdict == "unsupported":
        return f"Not judged: {first.says}"
    alike = [part.name for part in parts if (part.verdict, part.suspect) == (first.verdict, first.suspect)]
    if first.suspect is not None:
        held = " and ".join(str(f.value).replace("_", " ") for f in findings if f.name == "convention")
        beside = f", beside a convention: {held}" if held else ""
        return f"{first.verdict}: {', '.join(alike)}: {suspect_words(first.suspect)}{beside}."
    told = next((f" {f.says}" for f in findings if not f.fine and f.says not in first.says
                 and first.verdict in ("wrong", "range")), "")
    return f"{first.verdict}: {first.name}: {first.says}{told}"


def suspect_words(suspect: Suspect) -> str:
    """The name of a mistake, or the names of two, as words."""
    return " and ".join(suspect.names).replace("_", " ")
