"""The function that is checked, called on every case that it can be given."""

import inspect
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from visattn import tree
from visattn.check import tolerance
from visattn.check.cases import Case, Integers, cases, cotangent, name_of
from visattn.check.child.records import Accepts, Answer
from visattn.check.precision import PRECISIONS, Precision

HOPELESS = ("resource", "crash")        # problems after which the next case would go no better


class Calls:
    """One function, and what it answered.

    op          the operator that it is meant to be
    runner      what calls it: the function is in this process, or in one of its own
    stages      the precisions in which it is called, one after the other
    options     what is fixed for all cases
    only        names of cases; None for all
    """

    def __init__(self, op: ModuleType, runner: Any, stages: Sequence[Precision], options: dict[str, Any], seed: int,
                 only: Sequence[str] | None = None, progress: Callable[[str], None] = lambda what: None) -> None:
        self.op, self.runner, self.options, self.seed, self.only = op, runner, options, seed, only
        self.stages, self.progress = list(stages), progress
        parameters = inspect.signature(op.forward).parameters.values()
        self.required = [p.name for p in parameters if p.default is p.empty]
        self.accepts: Accepts = runner.accepts
        self.notes: list[str] = list(self.accepts.notes)
        self.answers: dict[tuple[str, str], tuple[Case, Answer]] = {}       # of (precision, case)
        self.left_out: dict[str, str] = {}                                  # precision: why
        self._derivatives: dict[str, dict[str, bool]] = {}                  # of a case

    def run(self) -> None:
        """Call the function on all cases in all precisions that it takes."""
        for p in self.stages:
            if self.accepts.dtypes and p.dtype not in self.accepts.dtypes:
                self.left_out[p.name] = f"it does not take {p.dtype}"
                continue
            for case in self._cases(p):
                self.progress(f"{p.name} {case.name}")
                answer = self.call(case, p)
                self.answers[p.name, case.name] = case, answer
                self.note(*answer.notes)
                if any(problem.kind in HOPELESS for problem in answer.problems):
                    break

    def note(self, *notes: str) -> None:
        """Something to be said in the report, once."""
        self.notes += [note for note in notes if note not in self.notes]

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
            self.note(f"it has no {', '.join(lacks)}: {count} case{'s were' if count > 1 else ' was'} left out or made "
                      "without")
        self.note(*(f"{what}: {', '.join(sorted(names))} left out" for what, names in dropped.items()
                    if what not in lacks))
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
                    *(key for key in case.options if key not in takes and key not in self.options)):
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

    def call(self, case: Case, p: Precision, repeat: int = 2) -> Answer:
        """What the function answers to one case."""
        named_args = {name: a for name, a in zip(tolerance.arguments_of(self.op), case.args) if a is not None}
        dy = tree.leaves(case.dy) if self.accepts.gradient else None
        takes = {*self.accepts.takes} | ({*case.options} - {*self.options})     # what is fixed may be built in
        options = {key: value for key, value in case.options.items() if key in takes}
        return self.runner.call(named_args, options, dy, dtype=p.dtype, layout=case.layout, repeat=repeat)

    def cotangent_of(self, case: Case) -> Any:
        """The cotangent of a case; None where no gradient is judged."""
        return case.dy if self.accepts.gradient else None

    def ask(self, p: Precision) -> Callable[..., Any]:
        """The function as laws and differences call it: (leaves of y, gradients), or None where it does not answer."""
        def call(args: dict[str, Any], options: dict[str, Any], dy: Any = None) -> Any:
            answer = self.runner.call(args, options, dy if self.accepts.gradient else None, dtype=p.dtype,
                                      layout="contiguous", repeat=1)
            return (list(answer.y), None if answer.grads is None else list(answer.grads)) if answer.y else None
        return call

    def derivatives(self, case: Case) -> dict[str, bool]:
        """{"dq": is it the derivative of the function's own output} in one case of float64, by differences."""
        from visattn.check import identities

        if case.name not in self._derivatives:
            args = {name: a for name, a in zip(tolerance.arguments_of(self.op), case.args) if a is not None}
            try:
                found = identities.consistent(self.ask(PRECISIONS["float64"]), args, case.options,
                                              tree.leaves(case.dy))
            except Exception:
                found = {}
            self._derivatives[case.name] = {f"d{argument}": holds for argument, (holds, _) in found.items()}
        return self._derivatives[case.name]
