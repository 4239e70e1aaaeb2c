"""Somebody's function behind one door: `Target(spec).call(arguments, options, dy, dtype=…)` gives an Answer.

    target = Target(Spec(file="student.py", name="attention", op="attention", arguments=("q", "k", "v")))
    target.accepts.problem or target.accepts.notes
    answer = target.call({"q": q, "k": k, "v": v}, {}, [dy], dtype="float32")

Nothing that the function does is raised: it becomes a Problem of the Answer.  The same class serves functions of a
notebook in their own process and files in a child.
"""

import random
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from . import frameworks
from .adapt import Broken, backward_fit, folded, signature_of
from .load import CannotLoad, Loaded, find
from .modules import Factory, Function, Instance, Opened, is_factory, kind_of
from .raised import described, problem_of
from .records import Accepts, Answer, Problem, Spec
from .returned import Output, part_name, read_gradients, read_output

# Two calls may differ by this many units of rounding, of the largest element: sums in another order.
REPEATS = 32
ROUNDOFF = {"float64": 2.0 ** -53, "float32": 2.0 ** -24, "float16": 2.0 ** -11, "bfloat16": 2.0 ** -8}


class Once(NamedTuple):
    """One run: what came back as the framework's arrays, and as NumPy's."""

    raw: list[Any]
    y: tuple[np.ndarray, ...]
    grads: tuple[np.ndarray | None, ...] | None
    inner: dict[str, np.ndarray]
    dtypes: dict[str, str]
    problems: tuple[Problem, ...]
    seconds: float


class Target:
    """A function to be checked: found, understood and called."""

    def __init__(self, spec: Spec, forward: Any = None, backward: Any = None) -> None:
        self.spec = spec
        self.accepts = Accepts()
        self._pool: dict[tuple, Any] = {}
        self._files: tuple[str, ...] = (spec.file,) if spec.file else ()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                self._open(find(spec, forward, backward), seeded=forward is None)
            except (CannotLoad, frameworks.Missing) as error:
                self.accepts = Accepts(problem=str(error))
            except (Exception, SystemExit) as error:
                self.accepts = Accepts(problem=described(error, self._files))

    def _open(self, loaded: Loaded, seeded: bool) -> None:
        spec, notes = self.spec, list(loaded.notes)
        self._files = loaded.files
        name = spec.framework
        if name == "auto":
            name, why = frameworks.detect([loaded.forward, loaded.backward], loaded.packages)
            notes.append(f"called with arrays of {name}: {why}")
        self._framework = frameworks.load(name, spec.device)
        if seeded:
            random.seed(spec.seed)
            self._framework.seed(spec.seed % 2 ** 32)
        kind = Factory if is_factory(loaded.forward, loaded.name, spec) else kind_of(loaded.forward)
        if isinstance(loaded.forward, type) and kind is Factory and not _needs_nothing(loaded.forward):
            kind = Factory
        elif isinstance(loaded.forward, type) and kind is Factory:
            kind, loaded = _made(loaded)
        self._callee: Function | Instance | Factory = kind(loaded.forward, loaded.name, spec)       # type: ignore[assignment]
        self._backward = loaded.backward
        fit = self._callee.fit
        problem = fit.problem
        by_hand = loaded.backward or (getattr(loaded.forward, "backward", None) if _own_class(loaded.forward) else None)
        gradient = "backward" if by_hand else "autograd" if self._differentiates(loaded) else ""
        if by_hand and not problem:
            back = backward_fit(_unbound(by_hand, loaded.forward), getattr(by_hand, "__name__", "backward"), spec, fit)
            problem, notes = back.problem, [*notes, *back.notes]
        takes = tuple(n for n in (*spec.arguments, *spec.options) if n in self._callee.takes)
        order = [n for n in fit.ordered if n in spec.arguments]
        if by_hand and order != sorted(order, key=spec.arguments.index):
            notes.append(f"its gradients are read in the order of its own parameters: {', '.join(order)}")
        values = {n: [ours for ours, _ in pairs] for n, pairs in fit.values.items()}
        dtypes = tuple(d for d in self._framework.dtypes if d in (self._callee.dtypes or self._framework.dtypes))
        self.accepts = Accepts(name, takes, gradient, self._framework.device, dtypes, values, (*notes, *fit.notes), problem)

    def _differentiates(self, loaded: Loaded) -> bool:
        """Does the framework have a gradient of this function?  Triton's kernels have one only through torch's door."""
        if not self._framework.autograd:
            return False
        return self._framework.name != "triton" or _is_a(loaded.forward, "torch") or \
            "autograd" in _words(loaded.forward)

    def call(self, args: dict[str, np.ndarray], options: dict[str, Any], dy: list[np.ndarray] | None, *, dtype: str,
             layout: str = "contiguous", repeat: int = 2) -> Answer:
        """Call the function `repeat` times with these arguments.

        args      the operator's arguments that the case gives, by its names
        options   plain values, and arrays: masks, labels, statistics
        dy        the gradient that comes in, one array for each of the output; None: no gradients
        dtype     float64, float32, float16, bfloat16
        layout    contiguous, strided (views of larger arrays stored backwards), readonly
        """
        if self.accepts.problem:
            return Answer(problems=(Problem("raised", self.accepts.problem),))
        if dtype not in self.accepts.dtypes:
            can = ", ".join(self.accepts.dtypes)
            return Answer(problems=(Problem("unsupported", f"it is called in {can}, not in {dtype}"),))
        if layout not in frameworks.LAYOUTS:
            raise ValueError(f"layout must be one of {', '.join(frameworks.LAYOUTS)}; got {layout!r}")
        options = {n: tuple(v) if isinstance(v, list) else v for n, v in options.items()}
        if not self.accepts.gradient:
            dy = None
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            try:
                return self._repeated(args, options, dy, dtype, layout, repeat)
            except (Exception, SystemExit) as error:
                return Answer(problems=(problem_of(error, self._files),))

    def _repeated(self, args: dict[str, np.ndarray], options: dict[str, Any], dy: list[np.ndarray] | None, dtype: str,
                  layout: str, repeat: int) -> Answer:
        first = self._once(args, options, dy, dtype, layout)
        problems = list(first.problems)
        fatal = not first.y
        for _ in range(repeat - 1 if not fatal else 0):
            self._poison(first.raw)
            try:
                again = self._once(args, options, dy, dtype, layout)
            except (Exception, SystemExit) as error:
                found = problem_of(error, self._files)
                problems.append(Problem("changing", f"the same call again: {found.says}", found.part))
                break
            problems += [p for p in again.problems if p not in problems]
            changes = list(self._changes(first, again, args, dtype))
            problems += [p for p in changes if p not in problems]
        return Answer(first.y, first.grads, first.inner, first.dtypes, tuple(problems), first.seconds)

    def _poison(self, raw: list[Any]) -> None:
        for array in raw:
            try:
                self._framework.poison(array)
            except Exception:               # what cannot be written cannot be kept and handed out again either
                continue

    def _array(self, name: str, value: np.ndarray, dtype: str, layout: str) -> Any:
        """The same object as in the last call of this shape: who remembers answers by their inputs is found out."""
        key = (name, value.shape, value.dtype.kind, dtype, layout)
        kept = self._pool.get(key)
        if kept is None or not self._framework.refill(kept, value):
            kept = self._pool[key] = self._framework.array(value, dtype, layout)
        return kept

    def _once(self, args: dict[str, np.ndarray], options: dict[str, Any], dy: list[np.ndarray] | None, dtype: str,
              layout: str) -> Once:
        framework, spec = self._framework, self.spec
        with framework.context(dtype, dy is not None and self.accepts.gradient == "autograd"):
            arrays = {n: self._array(n, v, dtype, layout) for n, v in args.items()}
            settings = {n: self._array(n, v, dtype, layout) if isinstance(v, np.ndarray) else v for n, v in options.items()}
            watched = {n: a for n, a in (*arrays.items(), *settings.items()) if framework.owns(a) and type(a) is not float}
            before = {n: framework.numpy(a) for n, a in watched.items()}
            opened = self._callee.open(args, options, dtype, framework)
            names = [n for n in args if n in opened.fit.takes or n in opened.weights]
            stray = [n for n in args if n not in names and n not in opened.lost and n not in self._builds()]
            if stray:
                raise Broken("unsupported", f"{opened.fit.name} has no place for {stray[0]}")
            settings = {n: v for n, v in settings.items() if n in opened.fit.takes or n not in self._builds()}

            def function(inputs: list) -> tuple[list, Output]:
                by_name = dict(zip(names, inputs))
                weights = {n: by_name.pop(n) for n in opened.weights if n in by_name}
                given, keywords = opened.fit.bind({**by_name, **settings})
                found = read_output(opened.run(given, keywords, weights), framework, spec, opened.fit.name)
                return found.leaves, found

            began = time.perf_counter()
            autograd = dy is not None and self.accepts.gradient == "autograd"
            inputs = [arrays[n] for n in names]
            if autograd:
                leaves, found, pull = self._traced(function, inputs)
            else:
                leaves, found = function(inputs)
                pull = None
            framework.synchronise()
            seconds = time.perf_counter() - began
            problems: list[Problem] = []
            dtypes: dict[str, str] = {}
            y = tuple(self._numpy(leaf, part_name(i), dtype, dtypes, problems) for i, leaf in enumerate(leaves))
            inner = {n: framework.numpy(a) for n, a in found.inner.items()}
            for i, leaf in enumerate(leaves):
                problems += [Problem("aliases", f"{part_name(i)} shares memory with {n}", part_name(i))
                             for n, a in watched.items() if framework.overlap(leaf, a)]
            problems += self._written(watched, before, "")
            if dy is None:
                return Once(list(leaves), y, None, inner, dtypes, tuple(problems), seconds)
            began = time.perf_counter()
            raw: dict[str, Any] = {}
            lost = {n: why for n, why in opened.lost.items() if n in args}
            problems += [Problem("missing", why, f"d{n}") for n, why in lost.items()]
            try:
                for i, (leaf, cotangent) in enumerate(zip(y, dy)):
                    if leaf.shape != cotangent.shape:
                        raise Broken("shape", f"{part_name(i)} is {leaf.shape}, the gradient that comes in "
                                     f"{cotangent.shape}: no gradient was taken")
                incoming = [self._array(f"d{part_name(i)}", v, dtype, layout) for i, v in enumerate(dy)]
                kept_dy = {f"d{part_name(i)}": framework.numpy(a) for i, a in enumerate(incoming)}
                if pull is not None:
                    raw = {n: g for n, g in zip(names, pull(incoming)) if g is not None}
                    problems += [Problem("missing", f"autograd finds no way from the output to {n}", f"d{n}")
                                 for n in names if n not in raw]
                else:
                    raw, wrong = self._by_hand(opened, found, incoming, arrays, settings, args)
                    problems += wrong
                    problems += [Problem("aliases", f"d{n} shares memory with {m}", f"d{n}") for n, g in raw.items()
                                 for m, a in watched.items() if framework.overlap(g, a)]
                framework.synchronise()
                problems += self._written({**watched, **dict(zip(kept_dy, incoming))}, {**before, **kept_dy}, "backward",
                                          {p.says for p in problems})
            except (Exception, SystemExit) as error:
                wrong_one = problem_of(error, self._files)
                parts = [wrong_one.part] if wrong_one.part else [f"d{n}" for n in args if n not in lost]
                problems += [wrong_one._replace(part=part) for part in parts]
            grads = tuple(self._numpy(raw[n], f"d{n}", dtype, dtypes, problems) if n in raw else None for n in args)
            seconds += time.perf_counter() - began
            return Once([*leaves, *raw.values()], y, grads, inner, dtypes, tuple(problems), seconds)

    def _traced(self, function: Callable, inputs: list) -> tuple[list, Output, Callable | None]:
        leaves, rest, pull = self._framework.trace(_with_inner(function, self._framework), inputs)
        return leaves, Output(leaves, None, rest), pull

    def _builds(self) -> tuple[str, ...]:
        """What a factory gets when it builds."""
        return self._callee.made.takes if isinstance(self._callee, Factory) else ()

    def _by_hand(self, opened: Opened, found: Output, dy: list, arrays: dict[str, Any], settings: dict[str, Any],
                 args: dict[str, np.ndarray]) -> tuple[dict[str, Any], list[Problem]]:
        backward = self._backward or opened.backward
        if backward is None:
            raise Broken("missing", f"{opened.fit.name} has no backward")
        name = getattr(backward, "__name__", "backward")
        fit = backward_fit(signature_of(backward), name, self.spec, opened.fit)
        if fit.problem:
            raise Broken("missing", fit.problem)
        given, keywords = fit.bind(dy, found.kept, found.inner, found.leaves, {**arrays, **settings}, opened.fit)
        value = backward(*given, **keywords)
        own = [n for n in opened.fit.ordered if n in self.spec.arguments]
        order = own if len(own) >= len(args) else [n for n in self.spec.arguments if n in self.accepts.takes]
        called = {n: p for p, n in opened.fit.places.items()}
        return read_gradients(value, self._framework, self.spec, name, order, [*args], called)

    def _numpy(self, array: Any, part: str, dtype: str, dtypes: dict[str, str], problems: list[Problem]) -> np.ndarray:
        """An array that came back, as NumPy's; what it is, if not what it should be, is a Problem."""
        framework = self._framework
        dtypes[part] = framework.dtype(array)
        if dtypes[part] != dtype:
            problems.append(Problem("dtype", f"{part} is {dtypes[part]}, where {dtype} came in", part))
        if (place := framework.place(array)) != framework.device.partition(":")[0]:
            problems.append(Problem("device", f"{part} is on {place}, the arguments are on {framework.device}", part))
        values = framework.numpy(array)
        return values if values.dtype.kind == "f" else values.astype(np.float64)

    def _written(self, watched: dict[str, Any], before: dict[str, np.ndarray], by: str,
                 known: set[str] = frozenset()) -> list[Problem]:       # type: ignore[assignment]
        problems = []
        for n, array in watched.items():
            if not np.array_equal(before[n], self._framework.numpy(array), equal_nan=before[n].dtype.kind == "f"):
                says = f"{n} was written"
                if says not in known:
                    problems.append(Problem("mutated", f"{says} by {by}" if by else says))
        return problems

    def _changes(self, first: Once, again: Once, args: dict[str, np.ndarray], dtype: str) -> Any:
        pairs = [(part_name(i), a, b) for i, (a, b) in enumerate(zip(first.y, again.y))]
        pairs += [(f"d{n}", a, b) for n, a, b in zip(args, first.grads or (), again.grads or ())]
        for part, a, b in pairs:
            if a is None or b is None:
                if a is not b:
                    yield Problem("changing", f"{part} is there in one call and not in the next", part)
            elif says := _differs(a, b, ROUNDOFF[dtype]):
                yield Problem("changing", f"{part}: the same call again, after what it first returned was overwritten, "
                              f"{says}", part)


def _with_inner(function: Callable, framework: frameworks.Numpy) -> Callable:
    def traced(inputs: list) -> tuple[list, dict[str, Any]]:
        leaves, found = function(inputs)
        return leaves, found.inner

    return traced


def _differs(a: np.ndarray, b: np.ndarray, unit: float) -> str:
    """How two answers to the same call differ, if by more than sums in another order."""
    if a.shape != b.shape:
        return f"gives {b.shape} instead of {a.shape}"
    if np.array_equal(a, b, equal_nan=True):
        return ""
    finite = np.isfinite(a) & np.isfinite(b)
    odd = ~finite & ~((a == b) | (np.isnan(a) & np.isnan(b)))
    if odd.any():
        return f"gives NaN or infinity at {odd.sum()} of {a.size} elements, and did not before, or the reverse"
    gap = np.abs(np.where(finite, a, 0).astype(np.float64) - np.where(finite, b, 0))
    largest = np.abs(np.where(finite, a, 0)).max(initial=0.0)
    if gap.max() <= REPEATS * unit * float(largest):
        return ""
    return f"differs at {(gap > 0).sum()} of {a.size} elements, by up to {gap.max():.2g}"


def _needs_nothing(kind: type) -> bool:
    """Can it be made without arguments?"""
    signature = signature_of(kind)
    return signature is not None and all(
        p.default is not p.empty or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in signature.parameters.values())


def _made(loaded: Loaded) -> tuple[type, Loaded]:
    """An instance of a class that needs nothing, if it is a module; another class is made anew for every call."""
    if not _is_a(loaded.forward, "torch") and not _is_a(loaded.forward, "keras"):
        return Factory, loaded
    return Instance, loaded._replace(forward=loaded.forward())


def _is_a(thing: Any, package: str) -> bool:
    kind = thing if isinstance(thing, type) else type(thing)
    return any(base.__module__.partition(".")[0] == package for base in kind.__mro__)


def _own_class(thing: Any) -> bool:
    return isinstance(thing, type) and not _is_a(thing, "torch") and not _is_a(thing, "keras")


def _unbound(backward: Any, owner: Any) -> Any:
    """The signature of a backward, without self where it is looked at on the class."""
    signature = signature_of(backward)
    if signature is not None and isinstance(owner, type) and getattr(owner, "backward", None) is backward:
        return signature.replace(parameters=[*signature.parameters.values()][1:])
    return signature


def _words(function: Any) -> set[str]:
    """The names in a function's code and in those of its file that it calls."""
    seen: set[str] = set()
    queue = [function]
    while queue:
        code = getattr(queue[-1], "__code__", None)
        spaces = getattr(queue.pop(), "__globals__", {})
        for name in code.co_names if code else ():
            if name not in seen:
                seen.add(folded(name))
                value = spaces.get(name)
                seen |= {"autograd"} if value is not None and _is_a(value, "torch") and isinstance(value, type) and \
                    any(b.__name__ == "Function" for b in value.__mro__) else set()
                queue.append(value)
    return seen
