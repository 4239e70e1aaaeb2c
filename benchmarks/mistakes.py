"""Every known mistake, alone and in pairs, put before the checker: is it rejected, and is it named?

    python benchmarks/mistakes.py [--op attention] [--minutes 30] [--pairs 60] [--out build/mistakes] [--save]

The function that is checked is the operator with one line of it, or of an operator that it is made of, changed:

    alone      in float64 and float32, forward and its own backward
    float32    the same, in float32 only
    autograd   in float64: the changed forward with the derivative of its output, where a mistake changes that; of one
               mistake for every five pairs
    backward   the right forward with the gradient of the changed operator, where a mistake changes both
    pair       two mistakes on different lines, drawn with a seed
    beside     a mistake and what a library does on purpose, on different lines, as many
    bfloat16, float16      the changed operator's exact answer, rounded once, against the bounds of that precision

A name is right where the mistake is the one that is named, or one of the rivals that are listed with it; of a pair,
both.  It is as good where what is named is the same function: the same numbers on every case; or where the mistake in
the output is named, and the gradient is the derivative of that output, and said to be.  Half: one of two is named, and
nothing that is not so.  Convention: the mistake is the same function as what a library does, and that is said.  No
effect: in no case of this operator is it told from the reference.  Results are kept line by line in --out, and what is
there is not run again.
"""

import inspect
import itertools
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from visattn import catalogue, ops, tree
from visattn.check import cases, changes, diagnose, judge, memory, tolerance
from visattn.check.calling import Calls
from visattn.check.changes import Change
from visattn.check.child.records import Accepts, Answer, Problem
from visattn.check.diagnose import TELLS
from visattn.check.precision import PRECISIONS, nearest
from visattn.check.verdicts import Report
from visattn.ops import _contract

HERE = Path(__file__).parent
BOTH, HALF = ("float64", "float32"), ("bfloat16", "float16")
WAYS = ("alone", "float32", "backward", "autograd", "pair", "beside", *HALF)
OUTCOMES = ("named", "half", "unnamed", "misnamed", "accepted", "convention", "no effect")
KEPT = 500_000              # answers, of one operator: cases, bounds, and what each change gives
SAME = 1e-9                 # of the largest number: two functions are one
DIRECTIONS = 2              # along which a gradient is asked whether it is one
EXACT = 1e-12               # of the sum of its terms, that it may be off in them
STEPS = 2.0 ** -12, 2.0 ** -16, 2.0 ** -20      # of differences, of an argument's mean size; short ones reach no kink

# The function that is checked.

class Direct:
    """An operator's module as the function that is checked; `gradients` may be another's."""

    isolation = ("none: in this process",)

    def __init__(self, reference: ModuleType, op: Any, right: Any = None, numeric: bool = False) -> None:
        self.op, self.right, self.numeric = op, right, numeric
        self.names = tolerance.arguments_of(reference)
        takes = tuple(inspect.signature(reference.forward).parameters)
        self.accepts = Accepts("numpy", takes, "autograd" if numeric else "backward", dtypes=BOTH)

    def call(self, args: Any, options: Any, dy: Any, *, dtype: str, layout: str = "contiguous", repeat: int = 2
             ) -> Answer:
        given = [args.get(name) for name in self.names]
        while given and given[-1] is None:
            given.pop()
        asked = [name for name, a in zip(self.names, given) if a is not None]
        given = [None if a is None else tree.cast(a, dtype) for a in given]
        options = {key: tree.cast(v, dtype) if tree.is_leaf(v) else v for key, v in options.items()}
        with np.errstate(all="ignore"):
            try:
                y, kept = self.op.forward(*given, **options)
                shown = y if self.right is None else self.right.forward(*given, **options)[0]
            except Exception as error:
                return Answer(problems=(Problem("raised", f"{type(error).__name__}: {error}"),))
            leaves = tuple(np.asarray(leaf) for leaf in tree.leaves(shown))
            if dy is None:
                return Answer(leaves)
            try:
                if self.numeric:
                    with without_doors():
                        grads = derivative(self.op, given, options, dy, dtype)
                else:
                    rest = iter(dy)
                    cotangent = tree.map(lambda u: np.asarray(next(rest)).astype(dtype), y)
                    grads = tuple(self.op.backward(cotangent, kept))
                    if len(grads) != len(asked):
                        raise ValueError(f"{len(grads)} gradients for {len(asked)} arguments")
            except Exception as error:
                says = f"{type(error).__name__}: {error}"
                return Answer(leaves, problems=tuple(Problem("raised", says, f"d{name}") for name in asked))
        return Answer(leaves, grads)


@contextmanager
def without_doors() -> Iterator[None]:
    """Operators take numbers of any precision."""
    before, _contract._check = _contract._check, lambda *given: None
    try:
        yield
    finally:
        _contract._check = before


def derivative(op: Any, args: list[Any], options: dict[str, Any], dy: Any, dtype: str) -> tuple[Any, ...]:
    """The gradient of ⟨dy, y⟩: the operator's own where in extended precision that is it, else by a complex step or by
    differences, in extended precision.

    What overflows in `dtype`, and in extended precision does not, has no gradient: all that it is made of gets NaN.
    """
    exact, places = Exact(op, args, options, dy), [i for i, a in enumerate(args) if a is not None]
    own = _gradients(op, args, options, dy, dtype, len(places))
    grads = []
    for i, wide, mine in zip(places, _gradients(op, args, options, dy, np.longdouble, len(places)), own):
        if wide is not None and exact.is_gradient(i, wide):
            grads.append(mine)
        else:
            grads.append(exact.gradient(i, exact.lost(op, args, options)).astype(dtype))
    return tuple(grads)


def _gradients(op: Any, args: list[Any], options: dict[str, Any], dy: Any, dtype: Any, count: int) -> list[Any]:
    """What the operator's own backward gives in a precision; None for each where it raises, or gives not as many."""
    try:
        y, kept = op.forward(*_cast(args, dtype), **_cast(options, dtype))
        rest = iter(dy)
        grads = list(op.backward(tree.map(lambda u: np.asarray(next(rest)).astype(dtype), y), kept))
    except Exception:
        grads = []
    return grads if len(grads) == count else [None] * count


def _cast(given: Any, dtype: Any) -> Any:
    """Arguments or options with their floating-point arrays in another precision."""
    def one(a: Any) -> Any:
        return a.astype(dtype) if isinstance(a, np.ndarray) and a.dtype.kind == "f" else a

    return {key: one(a) for key, a in given.items()} if isinstance(given, dict) else [one(a) for a in given]


class Exact:
    """⟨dy, y⟩ of an operator in extended precision, and its gradient.  An output that is infinite has none."""

    def __init__(self, op: Any, args: list[Any], options: dict[str, Any], dy: Any) -> None:
        self.op, self.args, self.options = op, _cast(args, np.longdouble), _cast(options, np.longdouble)
        self.y = self.outputs(self.args)
        if [u.shape for u in self.y] != [np.shape(d) for d in dy]:
            raise ValueError("the output and its cotangent have different shapes")
        self.dy = [np.asarray(d, np.longdouble) for d in dy]

    def outputs(self, args: list[Any]) -> list[np.ndarray]:
        return [np.asarray(u) for u in tree.leaves(self.op.forward(*args, **self.options)[0])]

    def lost(self, op: Any, args: list[Any], options: dict[str, Any]) -> list[np.ndarray]:
        """Which outputs are not finite in the precision of these arguments, and are in this one."""
        return [np.isfinite(u) & ~np.isfinite(np.asarray(mine))
                for u, mine in zip(self.y, tree.leaves(op.forward(*args, **options)[0]))]

    def sums(self, args: list[Any], lead: tuple[int, ...] = (), of: list[np.ndarray] | None = None) -> Any:
        """⟨dy, y⟩ for every index of leading axes apart; their sizes divide those of the output."""
        total = 0
        for u, dy, was, some in zip(self.outputs(args), self.dy, self.y, of or self.y):
            terms = np.where(np.isinf(was) if of is None else ~some, 0, u * dy)
            blocks = [n for size, mine in zip(u.shape, lead) for n in (mine, size // mine)]
            total = total + terms.reshape(*blocks, -1).sum((*range(1, 2 * len(lead), 2), -1))
        return total

    def beside(self, i: int, moved: np.ndarray, lead: tuple[int, ...] = (), of: Any = None) -> Any:
        return self.sums([*self.args[:i], moved, *self.args[i + 1:]], lead, of)

    def is_gradient(self, i: int, grad: np.ndarray) -> bool:
        """Is this the gradient of argument i, along random directions?"""
        rng, a = np.random.default_rng(0), self.args[i]
        if np.shape(grad) != a.shape:
            return False
        for _ in range(DIRECTIONS):
            way = _size(a) * rng.choice([-1.0, 1.0], size=a.shape)
            wanted, room = (grad * way).sum(), EXACT * np.abs(grad * way).sum()
            if not any(abs(_difference(lambda h, way=way: self.beside(i, a + h * way), step) - wanted) <= room
                       for step in STEPS):
                return False
        return True

    def gradient(self, i: int, lost: list[np.ndarray]) -> np.ndarray:
        """Of argument i: what holds along random directions, or else by differences, one element at a time."""
        a = self.args[i]
        if np.isnan(self.sums(self.args)):
            return np.full_like(a, np.nan)
        tries = (way(i, *axes) for axes in self.shared(a) for way in (self.by_complex_step, self.by_differences))
        found = next((g for g in tries if g is not None and self.is_gradient(i, g)), None)
        found = self.by_differences(i) if found is None else found
        reached = self.by_differences(i, of=lost) if any(gone.any() for gone in lost) else np.zeros_like(a)
        return np.where(reached != 0, np.nan, found)

    def shared(self, a: np.ndarray) -> list[tuple[int, int]]:
        """(before, n): the first n axes of an argument may be those of the output, after as many as it has before them;
        most first, in the end none."""
        spread = max(0, self.y[0].ndim - a.ndim)
        tries = [(before, n) for before in dict.fromkeys((spread, 0)) for n in range(a.ndim, 0, -1)]
        fits = [(before, n) for before, n in tries if all(before + n <= u.ndim and all(
            size and of % size == 0 for size, of in zip(a.shape[:n], u.shape[before:])) for u in self.y)]
        return [*fits[:1], (0, 0)]

    def by_differences(self, i: int, before: int = 0, n: int = 0, of: Any = None) -> np.ndarray:
        """As if every index of the first n axes of argument i reached outputs of its own alone."""
        out, a = np.zeros_like(self.args[i]), self.args[i]
        for place in np.ndindex(a.shape[n:]):
            one = np.zeros_like(a)
            one[..., *place] = _size(a)
            slopes = _difference(lambda h, one=one: self.beside(i, a + h * one, (1,) * before + a.shape[:n], of))
            out[..., *place] = np.reshape(slopes, a.shape[:n]) / _size(a)
        return out

    def by_complex_step(self, i: int, before: int, n: int) -> np.ndarray | None:
        """The same in one step instead of four; None where the formula has no complex numbers."""
        twin, h = Exact.__new__(Exact), np.longdouble(2.0) ** -100
        vars(twin).update(vars(self) | {"args": _cast(self.args, np.clongdouble)})
        out, a = np.zeros_like(self.args[i]), twin.args[i]
        try:
            for place in np.ndindex(a.shape[n:]):
                moved = a.copy()
                moved[..., *place] += 1j * h
                slopes = twin.beside(i, moved, (1,) * before + a.shape[:n]).imag / h
                out[..., *place] = np.reshape(slopes, a.shape[:n])
        except (TypeError, ValueError, AttributeError):
            return None
        return out


def _size(a: np.ndarray) -> Any:
    """The mean size of the numbers that are finite and not 0; 1 where there are none."""
    sizes = np.abs(a[np.isfinite(a) & (a != 0)])
    return sizes.mean() if sizes.size else np.longdouble(1)


def _difference(f: Any, step: float = STEPS[0]) -> Any:
    """f′(0), of fourth order."""
    h = np.longdouble(step)
    return (8 * (f(h) - f(-h)) - (f(2 * h) - f(-2 * h))) / (12 * h)


def check(reference: ModuleType, runner: Direct, stages: tuple[str, ...]) -> Report:
    return judge.judged(Calls(reference, runner, [PRECISIONS[s] for s in stages], {}, 0))


# What came of it.

class Row(NamedTuple):
    op: str
    way: str
    names: tuple[str, ...]              # of the mistakes that were made
    outcome: str
    verdict: str
    said: tuple[str, ...]               # "dq: dq_unscaled | rival"
    seconds: float
    worst: float                        # bounds


def tried(op: ModuleType, some: tuple[Change, ...], precision: str) -> list[Any]:
    """[(case, {part: leaves or None}, bounds)] of the changed operator, in the arithmetic of a precision."""
    p, found = PRECISIONS[precision], []
    for case in cases.cases(op, p):
        right = tolerance.bounds(op, case.args, case.options, case.dy, p, all_ways=False)
        try:
            changed = changes.changed(op, *some)
        except LookupError:
            return []
        answer = diagnose.tried(changed, case, PRECISIONS["float64"] if precision in HALF else p)
        found.append((case, {part: answer.part(part) for part in right.parts()}, right))
    return found


def effect(op: ModuleType, some: tuple[Change, ...], precision: str) -> float:
    """The largest difference that the changes make anywhere, in bounds."""
    return max((_apart(mine[part], leaves) for _, mine, right in tried(op, some, precision)
                for part, leaves in right.parts().items()), default=0.0)


def _apart(mine: Any, leaves: Any) -> float:
    if mine is None or diagnose.shapes(mine) != [w.value.shape for w in leaves]:
        return np.inf
    return max((diagnose.compare(got, wanted).worst for got, wanted in zip(mine, leaves)), default=0.0)


def same_function(op: ModuleType, one: tuple[Change, ...], two: tuple[Change, ...], part: str) -> bool:
    """Do two sets of changes give the same numbers on every case, in one part?"""
    first, second = tried(op, one, "float64"), tried(op, two, "float64")
    if not first or not second:
        return False                                # some of these changes take each other's line
    for (_, a, _), (_, b, _) in zip(first, second):
        x, y = a.get(part), b.get(part)
        if (x is None) != (y is None) or diagnose.shapes(x) != diagnose.shapes(y):
            return False
        for u, v in zip(x or (), y or ()):
            size = np.abs(np.where(np.isfinite(u), u, 0)).max(initial=0.0)
            if diagnose.difference(u, v) > SAME * size:
                return False
    return True


def judged(op: ModuleType, way: str, some: tuple[Change, ...], report: Report, seconds: float) -> Row:
    names, known = {c.name for c in some}, {(c.op, c.name): c for c in changes.changes_of(op)}
    said, of_part, listed = [], {}, set()
    for part in report.parts:
        if part.suspect is not None:
            s = part.suspect
            found = [s.names, *(tuple(rival.split(" and ")) for rival in s.rivals)]
            mine = next((some_names for some_names in found if names.issuperset(some_names)), s.names)
            of_part[part.name] = tuple(known[where, name] for where, name in zip(s.operators, s.names)
                                       ) if mine == s.names else tuple(c for c in some if c.name in mine)
            said.append(f"{part.name}: {' | '.join(map(' and '.join, found))}")
            listed |= set(itertools.chain(*found))
    worst = max((part.ratio for part in report.parts), default=0.0)
    conventions = {f.value for f in report.findings if f.name == "convention"}
    held = tuple(c for c in changes.changes_of(op, "convention") if c.name in conventions)
    listed |= conventions
    if report.passed:
        same = all(same_function(op, some, held, part.name) for part in report.parts)
        outcome = "convention" if held and same else "accepted"
    elif not of_part and not conventions:
        outcome = "unnamed"
    elif not all({c.name for c in (*held, *cs)} <= names or same_function(op, some, (*held, *cs), part)
                 or _completes(op, some, cs, part, of_part.get("y", ())) for part, cs in of_part.items()):
        outcome = "misnamed"
    else:
        whole = tuple(dict.fromkeys(itertools.chain(held, *of_part.values())))
        outcome = "named" if names <= listed or all(
            same_function(op, some, whole, part.name) or part.consistent
            for part in report.parts if (way, part.name) != ("backward", "y")) else "half"
    return Row(catalogue.describe(op).name, way, tuple(c.name for c in some), outcome, report.verdict,
               tuple(said + [f"convention {c}" for c in conventions]), round(seconds, 2), worst)


def _completes(op: ModuleType, some: tuple[Change, ...], more: tuple[Change, ...], part: str,
               forward: tuple[Change, ...]) -> bool:
    """Is a gradient's mistake, with that of the output, the same function?"""
    return part != "y" and same_function(op, some, tuple(dict.fromkeys([*forward, *more])), part)


# What is run.

def work(op: ModuleType, ways: tuple[str, ...], pairs: int, seed: int) -> Iterator[tuple[str, tuple[Change, ...]]]:
    """(way, changes) of one operator."""
    known = changes.changes_of(op, "mistake")
    for way in ways:
        rng = np.random.default_rng([seed, *catalogue.describe(op).name.encode()])
        if way in ("pair", "beside"):
            two = (itertools.combinations(known, 2) if way == "pair" else
                   itertools.product(changes.changes_of(op, "convention"), known))
            both = [(a, b) for a, b in two if (a.op, a.line) != (b.op, b.line)]
            for i in rng.permutation(len(both))[:pairs] if both else ():
                yield way, both[i]
        elif way == "autograd":
            for i in rng.permutation(len(known))[:max(1, pairs // 5)] if known else ():
                yield way, (known[i],)
        else:
            for change in known:
                yield way, (change,)


def one(op: ModuleType, way: str, some: tuple[Change, ...]) -> Row | None:
    """One function before the checker; None where the way is no other than one that is run anyway."""
    start, name = time.perf_counter(), catalogue.describe(op).name
    try:
        changed = changes.changed(op, *some)
    except LookupError:
        return None                                 # the second is of a line that the first has taken away

    def row(outcome: str, worst: float = 0.0, verdict: str = "") -> Row:
        return Row(name, way, tuple(c.name for c in some), outcome, verdict, (),
                   round(time.perf_counter() - start, 2), worst)

    if way in HALF:
        return row(*_rounded(op, some, way))
    stages = BOTH[:1] if way == "autograd" else BOTH if way in ("alone", "pair", "beside", "backward") else (way,)
    largest = max(effect(op, some, stage) for stage in stages)
    if largest < 1:
        return row("no effect", largest)
    if way == "backward":
        moves = [{part for _, mine, right in tried(op, some, "float64") for part, leaves in right.parts().items()
                  if _apart(mine[part], leaves) >= TELLS and (part == "y") == y} for y in (True, False)]
        if not all(moves) or any(mine["y"] is None for _, mine, _ in tried(op, some, "float64")):
            return None                             # it is in backward, or in forward alone; or forward raises
        runner = Direct(op, changed, right=op)
    elif way == "autograd":
        if not any(_apart(mine["y"], right.y) >= TELLS for _, mine, right in tried(op, some, "float64")):
            return None
        runner = Direct(op, changed, numeric=True)
    else:
        runner = Direct(op, changed)
    found = judged(op, way, some, check(op, runner, stages), time.perf_counter() - start)
    if way == "backward" and found.outcome == "accepted" and _honest(op, some):
        return None                                 # the same gradient, written in another way
    return found


def _honest(op: ModuleType, some: tuple[Change, ...]) -> bool:
    """Are the gradients of a changed operator within the bounds of some way to write the reference's?"""
    p = PRECISIONS["float64"]
    return all(_apart(mine[part], leaves) <= judge.HONEST for case, mine, _ in tried(op, some, "float64")
               for part, leaves in tolerance.bounds(op, case.args, case.options, case.dy, p).grads.items())


def _rounded(op: ModuleType, some: tuple[Change, ...], precision: str) -> tuple[str, float]:
    """Is the exact answer of the changed operator, rounded once to a half precision, accepted by its bounds alone?
    And the largest difference that the changes make, in bounds, of numbers that the precision can tell from zero."""
    p, worst, largest = PRECISIONS[precision], 0.0, 0.0
    for _, mine, right in tried(op, some, precision):
        for part, leaves in right.parts().items():
            leaves = [leaf._replace(error=np.maximum(leaf.error, p.tiny)) for leaf in leaves]
            largest = max(largest, _apart(mine[part], leaves))
            if mine[part] is not None:
                with np.errstate(all="ignore"):
                    worst = max(worst, _apart([nearest(leaf, p) for leaf in mine[part]], leaves))
            else:
                worst = np.inf
    if largest == 0:
        return "no effect", 0.0
    return ("accepted" if worst <= judge.HONEST else "rejected"), largest


def main(
    op: Annotated[list[str] | None, typer.Option(help="An operator; all by default.")] = None,
    minutes: Annotated[float, typer.Option(help="After which no further check begins.")] = 600,
    pairs: Annotated[int, typer.Option(help="Pairs of mistakes per operator.")] = 60,
    way: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(WAYS)}; all by default.")] = None,
    seed: Annotated[int, typer.Option(help="Of the draw of pairs.")] = 0,
    out: Annotated[Path, typer.Option(help="Where results are kept, line by line.")] = Path("build/mistakes"),
    save: Annotated[bool, typer.Option(help="Write benchmarks/results/mistakes-<date>.json.")] = False,
):
    """Put every mistake before the checker, and count."""
    end = time.monotonic() + 60 * minutes
    out.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for module in catalogue.select(op or [name for name in catalogue.everything() if name in dir(ops)]):
        name = catalogue.describe(module).name
        path = out / f"{name}.jsonl"
        kept = [Row(*json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []
        kept = [row._replace(names=tuple(row.names), said=tuple(row.said)) for row in kept]
        done = {(row.way, row.names) for row in kept}
        start = time.monotonic()
        with memory.kept(KEPT), path.open("a") as log:
            for of_way, some in work(module, tuple(way or WAYS), pairs, seed):
                if time.monotonic() > end:
                    break
                if (of_way, tuple(c.name for c in some)) in done:
                    continue
                try:
                    row = one(module, of_way, some)
                except Exception as error:          # of the checker: this must not happen
                    row = Row(name, of_way, tuple(c.name for c in some), "crash", repr(error)[:200], (), 0.0, 0.0)
                if row is not None:
                    kept.append(row)
                    log.write(json.dumps(row) + "\n")
                    log.flush()
                    if row.outcome in ("half", "unnamed", "misnamed", "accepted", "crash") and of_way not in HALF:
                        print(f"  {row.op} {row.way} {' and '.join(row.names)}: {row.outcome} ({row.verdict}) "
                              f"{'; '.join(row.said)}", flush=True)
        rows += kept
        print(f"{name}: {dict(Counter(row.outcome for row in kept if row.way not in HALF))} "
              f"{time.monotonic() - start:.0f} s", flush=True)
    show(rows, Console())
    if save:
        target = HERE / "results" / f"mistakes-{date.today()}.json"
        target.write_text(json.dumps(summary(rows), indent=1, ensure_ascii=False) + "\n")


def summary(rows: list[Row]) -> dict[str, Any]:
    """The counts, and every mistake that was not rejected and named."""
    counts: dict[str, dict[str, int]] = {}
    for row in rows:
        of_way = counts.setdefault(row.way, {})
        of_way[row.outcome] = of_way.get(row.outcome, 0) + 1
    return {
        "date": str(date.today()),
        "command": "python " + " ".join(["benchmarks/mistakes.py", *sys.argv[1:]]),
        "operators": len({row.op for row in rows}),
        "counts": counts,
        "seconds of a check at most": max((row.seconds for row in rows), default=0),
        "not named": [row._asdict() for row in rows if row.outcome in ("half", "unnamed", "misnamed", "crash")],
        "accepted": [row._asdict() for row in rows if row.outcome == "accepted"],
        "no effect": [row._asdict() for row in rows if row.outcome == "no effect" and row.way == "alone"],
    }


@cache
def _order() -> dict[str, int]:
    return {entry.name: i for i, entry in enumerate(catalogue.catalogue())}


def show(rows: list[Row], console: Console) -> None:
    table = Table("operator", *OUTCOMES, "crash", title="in float64 and float32")
    full = [row for row in rows if row.way not in HALF]
    for name in [*sorted({row.op for row in full}, key=lambda n: _order()[n]), "all"]:
        count = Counter(row.outcome for row in full if name in (row.op, "all"))
        table.add_row(name, *(str(count[o]) for o in (*OUTCOMES, "crash")))
    console.print(table)
    table = Table("way", *OUTCOMES, "rejected", "crash", "named of rejected")
    for way in dict.fromkeys(row.way for row in rows):
        count = Counter(row.outcome for row in rows if row.way == way)
        rejected = sum(count[o] for o in ("named", "half", "unnamed", "misnamed"))
        table.add_row(way, *(str(count[o]) for o in (*OUTCOMES, "rejected", "crash")),
                      f"{count['named'] / rejected:.1%}" if rejected else "")
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
