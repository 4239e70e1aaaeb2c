"""Somebody's function behind one door: `Target(spec).call(arguments, options, dy, dtype=…)` gives an Answer.

    target = Target(Spec(file="student.py", name="attention", op="attention", arguments=("q", "k", "v")))
    target.accepts.problem or target.accepts.notes
    answer = target.call({"q": q, "k": k, "v": v}, {}, [dy], dtype="float32")

Nothing that the function does is raised: it becomes a Problem of the Answer.  The same class serves functions of a
notebook in their own process and files in a child.
"""

import random
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from . import frameworks
from .adapt import backward_fit
from .detect import detect, packages_used
from .load import CannotLoad, Loaded, find
from .modules import callee_of
from .once import Once, Setting
from .packages import Missing
from .raised import described, problem_of
from .records import Accepts, Answer, Problem, Spec
from .returned import part_name

# Two calls may differ by this many units of rounding, of the largest element: sums in another order.
REPEATS = 32
ROUNDOFF = {"float64": 2.0 ** -53, "float32": 2.0 ** -24, "float16": 2.0 ** -11, "bfloat16": 2.0 ** -8}


class Target:
    """A function to be checked: found, understood, and called."""

    def __init__(self, spec: Spec, forward: Any = None, backward: Any = None) -> None:
        self.spec = spec
        self.accepts = Accepts()
        files: tuple[str, ...] = (spec.file,) if spec.file else ()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                loaded = find(spec, forward, backward)
                files = loaded.files
                self._open(loaded, seeded=forward is None)
            except (CannotLoad, Missing) as error:
                self.accepts = Accepts(problem=str(error))
            except (Exception, SystemExit) as error:
                self.accepts = Accepts(problem=described(error, files))

    def _open(self, loaded: Loaded, seeded: bool) -> None:
        spec, notes, name = self.spec, list(loaded.notes), self.spec.framework
        if name == "auto":
            name, why = detect([loaded.forward, loaded.backward], loaded.packages)
            notes.append(f"called with arrays of {name}: {why}")
        framework = frameworks.load(name, spec.device)
        if seeded:
            random.seed(spec.seed)
            framework.seed(spec.seed % 2 ** 32)
        callee = callee_of(loaded.forward, loaded.name, spec)
        fit, problem = callee.fit, callee.fit.problem
        by_hand = loaded.backward is not None or callee.backward is not None
        gradient = "backward" if by_hand else "autograd" if framework.differentiates(loaded.forward) else ""
        if by_hand and not problem:
            back = backward_fit(callee.backward_signature(loaded.backward), "backward", spec, fit)
            problem, notes = back.problem, [*notes, *back.notes]
        order = [n for n in fit.ordered if n in spec.arguments]
        if by_hand and order != sorted(order, key=spec.arguments.index):
            notes.append(f"its gradients are read in the order of its own parameters: {', '.join(order)}")
        dtypes = callee.dtypes or framework.dtypes
        if callee.dtypes is None and "keras" in packages_used([loaded.forward]):
            dtypes = tuple(d for d in dtypes if d != "float64")
            notes.append("not called in float64: keras multiplies matrices of float64 in float32")
        self._setting = Setting(spec, framework, callee, loaded.backward, gradient, loaded.files, {})
        self.accepts = Accepts(
            name, tuple(n for n in (*spec.arguments, *spec.options) if n in callee.takes), gradient, framework.device,
            tuple(d for d in framework.dtypes if d in dtypes),
            {n: [ours for ours, _ in pairs] for n, pairs in fit.values.items()}, (*notes, *fit.notes), problem)

    def call(self, args: dict[str, np.ndarray], options: dict[str, Any], dy: list[np.ndarray] | None, *, dtype: str,
             layout: str = "contiguous", repeat: int = 2) -> Answer:
        """Call the function `repeat` times with these arguments.

        args      the operator's arguments that the case gives, by its names
        options   plain values, and arrays: masks, labels, statistics
        dy        the gradient that comes in, one array for each of the output; None: no gradients
        dtype     float64, float32, float16, bfloat16
        layout    contiguous, strided (views of larger arrays stored backwards), readonly
        """
        if layout not in frameworks.LAYOUTS:
            raise ValueError(f"layout must be one of {', '.join(frameworks.LAYOUTS)}; got {layout!r}")
        if self.accepts.problem:
            return Answer(problems=(Problem("raised", self.accepts.problem),))
        if dtype not in self.accepts.dtypes:
            can = ", ".join(self.accepts.dtypes)
            return Answer(problems=(Problem("unsupported", f"it is called in {can}, not in {dtype}"),))
        options = {n: tuple(v) if isinstance(v, list) else v for n, v in options.items()}
        dy = dy if self.accepts.gradient else None
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            try:
                first = Once(self._setting, dtype, layout).run(args, options, dy)
            except (Exception, SystemExit) as error:
                return Answer(problems=(problem_of(error, self._setting.files),))
            problems = list(first.problems)
            for _ in range(repeat - 1):
                self._poison(first.returned)
                try:
                    again = Once(self._setting, dtype, layout).run(args, options, dy)
                except (Exception, SystemExit) as error:
                    found = problem_of(error, self._setting.files)
                    problems.append(found._replace(kind="changing", says=f"the same call again: {found.says}"))
                    break
                problems += [p for p in (*again.problems, *_changes(first, again)) if p not in problems]
        return Answer(first.y, first.grads, first.inner, first.dtypes, tuple(problems), first.seconds,
                      first.opened.notes)

    def _poison(self, returned: list[Any]) -> None:
        for array in returned:
            try:
                self._setting.framework.poison(array)
            except Exception:               # what cannot be written cannot be kept and handed out again either
                continue


def _changes(first: Once, again: Once) -> Iterator[Problem]:
    """Where the same call gave another answer."""
    parts: list[tuple[str, Any, Any]] = [(part_name(i), a, b) for i, (a, b) in enumerate(zip(first.y, again.y))]
    parts += [(f"d{n}", a, b) for n, a, b in zip(first.args, first.grads or (), again.grads or ())]
    for part, a, b in parts:
        if a is None or b is None:
            if a is not b:
                yield Problem("changing", f"{part} is there in one call and not in the next", part)
        elif says := _differs(a, b, ROUNDOFF[first.dtype]):
            yield Problem("changing", f"{part}: the same call again, its first answer overwritten, {says}", part)


def _differs(a: np.ndarray, b: np.ndarray, unit: float) -> str:
    """How two answers to the same call differ, if by more than sums in another order."""
    if a.shape != b.shape:
        return f"gives {b.shape} instead of {a.shape}"
    if np.array_equal(a, b, equal_nan=True):
        return ""
    finite = np.isfinite(a) & np.isfinite(b)
    odd = ~finite & ~((a == b) | (np.isnan(a) & np.isnan(b)))
    if odd.any():
        return f"gives infinity or NaN at {odd.sum()} of {a.size} elements in one of the two calls"
    before, after = np.where(finite, a, 0).astype(np.float64), np.where(finite, b, 0).astype(np.float64)
    gap = np.abs(before - after)
    if gap.max() <= REPEATS * unit * np.abs(before).max():
        return ""
    return f"differs at {(gap > 0).sum()} of {a.size} elements, by up to {gap.max():.2g}"
