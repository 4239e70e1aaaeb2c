"""Which mistake is it?  An answer that is wrong is compared with what each known mistake would have given.

A mistake explains an answer where it gives the same numbers on every case, within the bound of its own arithmetic, and
where some case tells it from the reference by at least four bounds.  First single mistakes, then pairs.  Several that
explain it are all named.  None: the mistake is unknown, and that is what is said.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from visattn import tree
from visattn.check import changes, tolerance
from visattn.check.cases import Case
from visattn.check.changes import Change
from visattn.check.compare import compare, distance
from visattn.check.precision import Precision
from visattn.check.tolerance import Bounds, Within
from visattn.check.verdicts import Suspect

TELLS = 4.0                 # bounds by which a case must tell a mistake from the reference to be evidence
NEAR = 0.02                 # of the mistake's own effect: what a first look lets through
SLACK = 1.5                 # bounds of the mistake's arithmetic that the answer may be off
PAIRS = 2000                # pairs of mistakes that are tried at most


class Seen(NamedTuple):
    """One case, what the function answered to it, and what is right."""

    case: Case
    parts: dict[str, list[np.ndarray]]      # "y", "dq", …: leaves, of whatever shape; only what was answered
    bounds: Bounds
    raised: bool = False                    # it raised an exception instead

    def fits(self, part: str) -> bool:
        """Was this part answered, in the right shape?"""
        wanted = self.bounds.parts().get(part)
        return wanted is not None and shapes(self.parts.get(part)) == [w.value.shape for w in wanted]


def shapes(leaves: Sequence[np.ndarray] | None) -> list[tuple[int, ...]] | None:
    return None if leaves is None else [np.shape(leaf) for leaf in leaves]


class Explained(NamedTuple):
    """The changes that give an answer, and how many cases tell them from the reference."""

    changes: tuple[Change, ...]
    evidence: int


class Diagnosis:
    """The mistakes of one operator, tried on what was seen of one function in one precision."""

    def __init__(self, op: ModuleType, seen: Sequence[Seen], p: Precision) -> None:
        self.op, self.p = op, p
        self.seen = sorted(seen, key=lambda s: sum(np.size(a) for a in tree.leaves(s.case.args)))
        self.known = [c for c in changes.changes_of(op) if c.kind in ("mistake", "convention")]
        self._answers: dict[Any, dict[str, list[np.ndarray]] | None] = {}
        self._changed: dict[tuple[Change, ...], ModuleType] = {}
        self._wide: dict[str, Bounds] = {}
        self._effects: dict[Any, set[str]] = {}

    def explain(self, parts: Iterable[str], given: tuple[Change, ...] = (), kinds: Sequence[str] = ("mistake",),
                pairs: bool = True, still: tuple[str, ...] = ()) -> list[Explained]:
        """The changes, beside those `given`, that give these parts of every answer; nearest first; [] for unknown.

        still   parts that are right, and that the changes must leave alone
        """
        parts = tuple(parts)
        known = [c for c in self.known if c.kind in kinds and c not in given and not (still and self.moved(c, still))]
        moved = {c: self.moved(c, parts) for c in known}
        wrong = {s.case.name for s in self.seen if self._is_wrong(s, parts)}
        # What a mistake moves is wrong, but for mistakes that undo each other; what is wrong, one of two moves.
        known = [c for c in known if moved[c] and (given or moved[c] <= wrong)]
        found = self._explaining(((c,) for c in known if given or moved[c] >= wrong), parts, given)
        if not found and pairs:
            both = [(a, b) for a, b in itertools.combinations(known, 2)
                    if (a.op, a.line) != (b.op, b.line) and (given or moved[a] | moved[b] >= wrong)]
            found = self._explaining(both[:PAIRS], parts, given)
        return found

    def moved(self, change: Change, parts: tuple[str, ...]) -> set[str]:
        """The cases in which a change moves any of these parts."""
        key = change, parts
        if key not in self._effects:
            self._effects[key] = {s.case.name for s in self.seen if self._tells(s, self.answer((change,), s), parts)}
        return self._effects[key]

    def _is_wrong(self, s: Seen, parts: tuple[str, ...]) -> bool:
        """Is any of these parts outside of its bound, in whatever way its formula may be written?"""
        if s.raised or any(name in s.parts and not s.fits(name) for name in parts):
            return True
        off = [(got, wanted) for name in parts if name in s.parts
               for got, wanted in zip(s.parts[name], s.bounds.parts()[name], strict=True)
               if compare(got, wanted).worst > 1]
        if not off or any(self._beyond_rounding(got, wanted) for got, wanted in off):
            return bool(off)
        if s.case.name not in self._wide:
            self._wide[s.case.name] = tolerance.bounds(self.op, s.case.args, s.case.options, s.case.dy, self.p)
        return any(compare(got, wanted).worst > 1 for name in parts if name in s.parts
                   for got, wanted in zip(s.parts[name], self._wide[s.case.name].parts()[name], strict=True))

    def _beyond_rounding(self, got: np.ndarray, wanted: Within) -> bool:
        """No way to write a formula costs half of the digits of its largest number."""
        largest = np.abs(np.where(np.isfinite(wanted.value), wanted.value, 0)).max(initial=0.0)
        return distance(got, wanted.value) > self.p.stored**0.5 * largest

    def _explaining(self, sets: Iterable[tuple[Change, ...]], parts: tuple[str, ...],
                    given: tuple[Change, ...]) -> list[Explained]:
        found = []
        for some in sets:
            evidence = self.same(parts, (*given, *some))
            if evidence:
                found.append(Explained(some, evidence))
        return found

    def same(self, parts: tuple[str, ...], some: tuple[Change, ...]) -> int:
        """In how many cases changes that give these parts of every answer are told from the reference; else 0."""
        evidence = 0
        for s in self.seen:
            answer = self.answer(some, s)
            if (answer is None) != s.raised or (answer is not None and not self._near(s, answer, parts)):
                return 0
            evidence += s.raised or self._tells(s, answer, parts)
        return evidence if evidence and self._exactly(some, parts) else 0

    def answer(self, some: tuple[Change, ...], s: Seen) -> dict[str, list[np.ndarray]] | None:
        """What these changes give in a case, in the arithmetic of the precision; None if they cannot."""
        key = some, s.case.name
        if key not in self._answers:
            try:
                self._answers[key] = answer_of(self.changed(some), s.case, self.p)
            except Exception:                   # a change that does not fit these shapes, or another change
                self._answers[key] = None
        return self._answers[key]

    def changed(self, some: tuple[Change, ...]) -> ModuleType:
        """The operator with these changes, made once."""
        if some not in self._changed:
            self._changed[some] = changes.changed(self.op, *some)
        return self._changed[some]

    def _near(self, s: Seen, answer: dict[str, list[np.ndarray]], parts: tuple[str, ...]) -> bool:
        for name in parts:
            if name not in s.parts:
                continue
            if shapes(s.parts[name]) != shapes(answer.get(name)):
                return False
            if not s.fits(name):
                if not all(np.allclose(got, mine, 1e-3, 1e-6, equal_nan=True)
                           for got, mine in zip(s.parts[name], answer[name])):
                    return False
                continue
            for got, mine, right in zip(s.parts[name], answer[name], s.bounds.parts()[name], strict=True):
                effect = distance(mine, right.value)
                allowed = 2 * right.error + NEAR * (effect if np.isfinite(effect) else 0.0)
                if compare(got, Within(np.asarray(mine, float), allowed)).worst > 1:
                    return False
        return True

    def _tells(self, s: Seen, answer: dict[str, list[np.ndarray]] | None, parts: tuple[str, ...]) -> bool:
        """Does this case tell the changes from the reference, in any of these parts?"""
        if answer is None:                      # the change cannot be computed here: the function would have raised
            return True
        return any(np.shape(mine) != right.value.shape or compare(mine, right).worst >= TELLS
                   for name in parts if name in answer
                   for mine, right in zip(answer[name], s.bounds.parts()[name]))

    def _exactly(self, some: tuple[Change, ...], parts: tuple[str, ...]) -> bool:
        """The second look: within what the arithmetic of the changed operator itself explains."""
        op = self.changed(some)
        for s in self.seen:
            try:
                mine = tolerance.bounds(op, s.case.args, s.case.options, s.case.dy, self.p, all_ways=False).parts()
            except Exception:
                continue                        # NumPy calls without a rule of error: the first look must do
            for name in parts:
                if s.raised or not s.fits(name) or name not in mine:
                    continue
                for got, wanted, computed, right in zip(s.parts[name], mine[name],
                                                        (self.answer(some, s) or {}).get(name, ()),
                                                        s.bounds.parts()[name]):
                    # In this precision the change may overflow where in float64 it does not.
                    value = np.where(np.isfinite(computed), wanted.value, computed)
                    room = SLACK * np.maximum(wanted.error, right.error)
                    if compare(got, Within(value, room)).worst > 1:
                        return False
        return True

    def suspect(self, found: list[Explained]) -> Suspect:
        """The first of what explains an answer, with the others as rivals, in words."""
        some, evidence = found[0]
        rivals = tuple(" and ".join(c.name for c in other.changes) for other in found[1:])
        return Suspect(tuple(c.name for c in some), tuple(c.op for c in some),
                       " ".join(c.says for c in some), "; ".join(dict.fromkeys(c.see for c in some if c.see)),
                       "\n".join(c.line for c in some), "\n".join(c.instead for c in some),
                       ", ".join(c.by for c in some if c.by), evidence, rivals)


def answer_of(op: Any, case: Case, p: Precision) -> dict[str, list[np.ndarray]]:
    """{"y": leaves, "dq": leaves, …} of an operator, computed in float64, or in float32 where that is the precision:
    what overflows there must overflow here."""
    dtype = np.float32 if p.dtype == "float32" else np.float64
    args, dy = tree.cast(case.args, dtype), tree.cast(case.dy, dtype)
    options = {key: tree.cast(value, dtype) if tree.is_leaf(value) else value for key, value in case.options.items()}
    with np.errstate(all="ignore"):
        y, cache = op.forward(*args, **options)
        answers: dict[str, list[np.ndarray]] = {"y": [np.asarray(leaf) for leaf in tree.leaves(y)]}
        try:
            grads = op.backward(dy, cache)
        except Exception:                       # the output has another shape than its cotangent
            return answers
        for name, grad in zip(tolerance.names_of_gradients(op, args), grads, strict=True):
            answers[name] = [np.asarray(leaf) for leaf in tree.leaves(grad)]
    return answers


def intermediates(op: ModuleType, case: Case) -> Iterator[tuple[str, np.ndarray]]:
    """The named arrays of the reference's forward, in the order in which they appear, then those of its cache."""
    import sys

    formula, seen = op.forward.__wrapped__.__code__, {}

    def watch(frame: Any, event: str, arg: Any) -> Callable[..., Any] | None:
        if event == "return" and frame.f_code is formula:
            seen.update(frame.f_locals)
        return None

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        _, cache = op.forward(*case.args, **case.options)
    finally:
        sys.setprofile(before)
    names = [name for name in formula.co_varnames if name in seen]
    for name in names:
        if tree.is_leaf(seen[name]) and not any(seen[name] is a for a in tree.leaves(case.args)):
            yield name, np.asarray(seen[name])
    for name, leaf in tree.named_leaves(tuple_of_arrays(cache)):
        short = name.rpartition(".")[2]
        if short not in names:
            yield short, np.asarray(leaf)


def tuple_of_arrays(cache: Any) -> dict[str, Any]:
    """The fields of a cache that hold arrays, or records of arrays."""
    kept = {}
    for name in cache._fields:
        value = getattr(cache, name)
        if tree.is_leaf(value):
            kept[name] = value
        elif hasattr(value, "_fields"):
            kept[name] = tuple_of_arrays(value)
    return kept
