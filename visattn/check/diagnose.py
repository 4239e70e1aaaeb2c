"""Which mistake is it?  An answer that is wrong is compared with what each known mistake would have given.

A mistake explains an answer where it gives the same numbers on every case, within the bound of its own arithmetic, and
where some case tells it from the reference by at least four bounds.  First single mistakes, then pairs.  Several that
explain it are all named.  None: the mistake is unknown, and that is what is said.
"""

import inspect
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from visattn import tree
from visattn.check import changes, memory, tolerance
from visattn.check.cases import Case
from visattn.check.changes import Change
from visattn.check.compare import compare
from visattn.check.precision import Precision
from visattn.check.tolerance import Bounds, Within
from visattn.check.verdicts import Suspect
from visattn.check.verify import difference

TELLS = 4.0                 # bounds by which a case must tell a mistake from the reference to be evidence
NEAR = 0.02                 # of the mistake's own effect: what a first look lets through
SLACK = 1.5                 # bounds of the mistake's arithmetic that the answer may be off
PAIRS = 2000                # pairs of mistakes that are tried at most
RANKED = 6                  # right and wrong cases each by which pairs are ranked
UNLIKELY = 200              # and of those, unlikely ones

Changes = tuple[Change, ...]


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
    aside: bool = False                     # the output is right: only the gradient is that of the changed operator


class Tried:
    """What an operator gives in a case, computed when it is asked for: in float64, or in float32 where that is the
    precision, since what overflows there must overflow here.

    like        what another operator gives, whose forward is the same
    """

    def __init__(self, op: Any, case: Case, p: Precision, like: "Tried | None" = None) -> None:
        self.op, self.case, self.like = op, case, like
        self.dtype = np.float32 if p.dtype == "float32" else np.float64

    @cached_property
    def _forward(self) -> Any:
        """(y, cache), which nobody may write in; None if it raises: a change need not fit these shapes, or another
        change."""
        return memory.unwritable(self._run()) if self.like is None else self.like._forward

    def _run(self) -> Any:
        args = tree.cast(self.case.args, self.dtype)
        options = {key: tree.cast(value, self.dtype) if tree.is_leaf(value) else value
                   for key, value in self.case.options.items()}
        try:
            with np.errstate(all="ignore"):
                return self.op.forward(*args, **options)
        except Exception:
            return None

    @cached_property
    def _gradients(self) -> dict[str, list[np.ndarray]]:
        """By name; none if backward raises, as where the output has another shape than its cotangent."""
        names = tolerance.names_of_gradients(self.op, self.case.args)
        for forward in (lambda: self._forward, self._run):      # once more with a cache of its own to write in
            try:
                with np.errstate(all="ignore"):
                    grads = self.op.backward(tree.cast(self.case.dy, self.dtype), forward()[1])
                return {name: arrays(grad) for name, grad in zip(names, grads, strict=True)}
            except Exception:
                continue
        return {}

    @property
    def raises(self) -> bool:
        """Does forward raise?"""
        return self._forward is None

    def part(self, name: str) -> list[np.ndarray] | None:
        """The leaves of "y", or of a gradient; None where there are none."""
        if self._forward is None:
            return None
        return self._y if name == "y" else self._gradients.get(name)

    @cached_property
    def _y(self) -> list[np.ndarray]:
        return arrays(self._forward[0])


@memory.remembered(lambda op, case, p, like=None: (memory.key_of(op), memory.digest(case.args, case.options, case.dy),
                                                   p.dtype))
def tried(op: Any, case: Case, p: Precision, like: Tried | None = None) -> Tried:
    """What an operator gives in a case."""
    return Tried(op, case, p, like)


def arrays(t: Any) -> list[np.ndarray]:
    """The leaves of a tree."""
    return [np.asarray(leaf) for leaf in tree.leaves(t)]


class Diagnosis:
    """The mistakes of one operator, tried on what was seen of one function in one precision."""

    def __init__(self, op: ModuleType, seen: Sequence[Seen], p: Precision) -> None:
        self.op, self.p = op, p
        self.seen = sorted(seen, key=lambda s: sum(np.size(a) for a in tree.leaves(s.case.args)))
        self.known = [c for c in changes.changes_of(op) if c.kind in ("mistake", "convention")
                      and changes.applies(op, c)]                   # not where a convention took its line
        self._silent = {c for c in self.known if not changes.felt_by_forward(op, c)}
        self._changed: dict[Changes, ModuleType] = {}
        self._tried: dict[tuple[Changes, str], Tried] = {}
        self._near: dict[tuple[Changes, str, str], bool] = {}
        self._tells: dict[tuple[Changes, str, str], bool] = {}
        self._bounds: dict[tuple[Changes, str], Bounds | None] = {}
        self._wrong: dict[tuple[str, ...], set[str]] = {}
        self._found: dict[Any, list[Explained]] = {}

    # --- what explains an answer

    def explain(self, parts: Iterable[str], given: Changes = (), kinds: Sequence[str] = ("mistake",),
                pairs: bool = True, still: tuple[str, ...] = ()) -> list[Explained]:
        """The changes, beside those `given`, that give these parts of every answer; nearest first; [] for unknown.

        still   parts that are right.  Changes that leave them alone are looked at first; others explain an answer
                whose other parts were not made with them: a gradient that belongs to another output
        """
        key = tuple(parts), given, tuple(kinds), pairs, still
        if key not in self._found:
            self._found[key] = self._explain(*key)
        return self._found[key]

    def _explain(self, parts: tuple[str, ...], given: Changes, kinds: tuple[str, ...], pairs: bool,
                 still: tuple[str, ...]) -> list[Explained]:
        if pairs:
            found = self.explain(parts, given, kinds, False, still)
            return found or self._explaining(self._pairs(parts, given, kinds, still), parts, given)
        found = self._explaining(((c,) for c in self.known if c.kind in kinds and c not in given), parts, given)
        quiet = [e for e in found if not self._moves(e.changes, still)]
        return quiet or [e._replace(aside=True) for e in found]

    def _explaining(self, sets: Iterable[Changes], parts: tuple[str, ...], given: Changes) -> list[Explained]:
        found = ((some, self.same(parts, (*given, *some))) for some in sets)
        return [Explained(some, evidence) for some, evidence in found if evidence]

    def same(self, parts: tuple[str, ...], some: Changes) -> int:
        """In how many cases changes that give these parts of every answer are told from the reference; else 0."""
        if not self._all_near(parts, some):
            return 0
        # Of an output of another shape no cotangent is known: a gradient is evidence of nothing there.
        evidence = sum(any(self.tells(some, s, part) for part in parts if part == "y" or s.fits("y"))
                       for s in self.seen)
        return evidence if evidence and self.agrees(parts, some) else 0

    def agrees(self, parts: tuple[str, ...], some: Changes) -> bool:
        """Do changes give these parts of every answer, whether or not they are told from the reference?"""
        return self._all_near(parts, some) and all(self._exactly(some, s, part) for s in self.seen for part in parts)

    def _all_near(self, parts: tuple[str, ...], some: Changes) -> bool:
        return self._fit_together(some) and all(self.near(some, s, part)
                                                for s in self._by_weight(parts) for part in parts)

    def _fit_together(self, some: Changes) -> bool:
        """Not where one takes away the line that another is of."""
        try:
            self.changed(some)
        except LookupError:
            return False
        return True

    def _by_weight(self, parts: tuple[str, ...]) -> list[Seen]:
        """First the cases that are wrong, which few changes explain; small ones first."""
        wrong = self.wrong(parts)
        return sorted(self.seen, key=lambda s: s.case.name not in wrong)

    def _pairs(self, parts: tuple[str, ...], given: Changes, kinds: tuple[str, ...],
               still: tuple[str, ...]) -> Iterator[Changes]:
        """Pairs of changes, the likely ones first.

        Where one of the two makes no difference by itself, the other alone should give what was seen, and where neither
        does, what is right.  A change may still make a difference once another is made: such pairs come later, and not
        all of them are tried.  A convention may sleep until then: no row is empty before a mask is one key short.
        """
        known = [c for c in self.known if c.kind in kinds and c not in given and not self._moves((c,), still)
                 and (c.kind == "convention" or self._moves((c,), parts))]
        if len(known) < 2:
            return
        off = self.wrong(parts)
        looked = [s for s in self.seen if s.case.name not in off][:RANKED] + \
                 [s for s in self.seen if s.case.name in off][:RANKED]
        moves = np.array([[any(self.tells((c,), s, part) for part in parts) for s in looked] for c in known])
        near = np.array([[all(self.near((c,), s, part) for part in parts) for s in looked] for c in known])
        wrong = np.array([s.case.name in off for s in looked])
        asleep = moves.sum(1) == 0
        ranked = []
        for a, b in itertools.combinations(range(len(known)), 2):
            if (known[a].op, known[a].line) != (known[b].op, known[b].line):
                alone = np.zeros_like(wrong) if asleep[a] or asleep[b] else (
                    moves[a] & ~moves[b] & ~near[a] | moves[b] & ~moves[a] & ~near[b])
                neither = ~moves[a] & ~moves[b] & wrong
                undone = moves[a] & moves[b] & ~wrong
                ranked.append((int((alone | neither).sum()), int(undone.sum()), a, b))
        ranked.sort()
        likely = sum(against == 0 for against, *_ in ranked)
        for _, _, a, b in ranked[:min(PAIRS, likely + UNLIKELY)]:
            yield known[a], known[b]

    # --- one set of changes in one case

    def tried(self, some: Changes, s: Seen) -> Tried:
        """What these changes give in a case."""
        key = some, s.case.name
        if key not in self._tried:
            of = tried if len(some) < 2 else Tried              # pairs are many, and each is tried once
            felt = self._felt(some, "y")
            self._tried[key] = of(self.changed(some), s.case, self.p, None if felt == some else self.tried(felt, s))
        return self._tried[key]

    def changed(self, some: Changes) -> ModuleType:
        """The operator with these changes, made once."""
        if some not in self._changed:
            self._changed[some] = changes.changed(self.op, *some)
        return self._changed[some]

    def _felt(self, some: Changes, part: str) -> Changes:
        """Those of the changes that this part may depend on: the output feels no change of a backward."""
        return tuple(c for c in some if c not in self._silent) if part == "y" else some

    def near(self, some: Changes, s: Seen, part: str) -> bool:
        """The first look: do these changes give what was seen, or nearly?"""
        some = self._felt(some, part)
        key = some, s.case.name, part
        if key not in self._near:
            self._near[key] = self._is_near(self.tried(some, s), s, part)
        return self._near[key]

    def _is_near(self, tried: Tried, s: Seen, part: str) -> bool:
        if part not in s.bounds.parts() or tried.raises or s.raised:
            return part not in s.bounds.parts() or tried.raises == s.raised
        if part != "y" and not s.fits("y") and shapes(tried.part("y")) == shapes(s.parts.get("y")):
            return True                         # to an output of this shape, the cotangent is none
        mine, given = tried.part(part), s.parts.get(part)
        if mine is None or given is None or shapes(mine) != shapes(given):
            return mine is None and given is None
        if not s.fits(part):
            return all(np.allclose(got, leaf, 1e-3, 1e-6, equal_nan=True) for got, leaf in zip(given, mine))
        for got, leaf, right in zip(given, mine, s.bounds.parts()[part], strict=True):
            with np.errstate(invalid="ignore"):
                effect = np.abs(leaf - right.value)
            allowed = 2 * right.error + NEAR * effect[np.isfinite(effect)].max(initial=0.0)
            if compare(got, Within(np.asarray(leaf, float), allowed)).worst > 1:
                return False
        return True

    def tells(self, some: Changes, s: Seen, part: str) -> bool:
        """Does this case tell the changes from the reference, in this part?"""
        some = self._felt(some, part)
        key = some, s.case.name, part
        if key not in self._tells:
            mine, right = self.tried(some, s).part(part), s.bounds.parts().get(part)
            self._tells[key] = right is not None and (mine is None or any(
                leaf.shape != wanted.value.shape or compare(leaf, wanted).worst >= TELLS
                for leaf, wanted in zip(mine, right)))
        return self._tells[key]

    def _moves(self, some: Changes, parts: tuple[str, ...]) -> bool:
        """Does any case tell the changes from the reference, in any of these parts?"""
        return any(self.tells(some, s, part) for s in self.seen for part in parts)

    def _exactly(self, some: Changes, s: Seen, part: str) -> bool:
        """The second look: within what the arithmetic of the changed operator itself explains."""
        mine = self.tried(some, s).part(part)
        if mine is None or not s.fits(part):
            return True
        for i, (got, leaf, right) in enumerate(zip(s.parts[part], mine, s.bounds.parts()[part], strict=True)):
            if compare(got, Within(np.asarray(leaf, float), right.error)).worst <= 1:
                continue
            own = self._own_bounds(some, s)
            if own is None or part not in own.parts():
                continue                        # NumPy calls without a rule of error: the first look must do
            wanted = own.parts()[part][i]
            # In this precision the change may overflow where in float64 it does not.
            value = np.where(np.isfinite(leaf), wanted.value, leaf)
            if compare(got, Within(value, SLACK * np.maximum(wanted.error, right.error))).worst > 1:
                return False
        return True

    def _own_bounds(self, some: Changes, s: Seen) -> Bounds | None:
        key = some, s.case.name
        if key not in self._bounds:
            try:
                self._bounds[key] = tolerance.bounds(self.changed(some), s.case.args, s.case.options, s.case.dy,
                                                     self.p, all_ways=False)
            except Exception:
                self._bounds[key] = None
        return self._bounds[key]

    # --- what is wrong

    def wrong(self, parts: tuple[str, ...]) -> set[str]:
        """The cases in which any of these parts is."""
        if parts not in self._wrong:
            self._wrong[parts] = {s.case.name for s in self.seen if self._is_wrong(s, parts)}
        return self._wrong[parts]

    def _is_wrong(self, s: Seen, parts: tuple[str, ...]) -> bool:
        """Is any of these parts outside of its bound, in whatever way its formula may be written?"""
        right = s.bounds.parts()
        if s.raised or any(name in right and not s.fits(name) for name in parts):
            return True
        pairs = [(name, i, got, right[name][i]) for name in parts if name in right
                 for i, got in enumerate(s.parts[name])]
        off = [(name, i, got, wanted) for name, i, got, wanted in pairs if compare(got, wanted).worst > 1]
        if not off or any(self._beyond_rounding(got, wanted) for *_, got, wanted in off):
            return bool(off)
        wide = tolerance.widened(s.bounds, self.op, s.case.args, s.case.options, s.case.dy).parts()
        return any(compare(got, wide[name][i]).worst > 1 for name, i, got, _ in off)

    def _beyond_rounding(self, got: np.ndarray, wanted: Within) -> bool:
        """No way to write a formula costs half of the digits of its largest number."""
        largest = np.abs(np.where(np.isfinite(wanted.value), wanted.value, 0)).max(initial=0.0)
        return difference(got, wanted.value) > self.p.stored**0.5 * largest

    # --- in words

    def suspect(self, found: list[Explained]) -> Suspect:
        """The first of what explains an answer, with the others as rivals, in words."""
        some, evidence, aside = found[0]
        rivals = tuple(" and ".join(c.name for c in other.changes) for other in found[1:])
        says = " ".join(c.says for c in some)
        return Suspect(tuple(c.name for c in some), tuple(c.op for c in some),
                       f"The output is right, but this is the gradient of another: {says}" if aside else says,
                       "; ".join(dict.fromkeys(c.see for c in some if c.see)),
                       "\n".join(c.line for c in some), "\n".join(c.instead for c in some),
                       ", ".join(c.by for c in some if c.by), evidence, rivals)


def intermediates(op: ModuleType, case: Case) -> Iterator[tuple[str, np.ndarray]]:
    """The named arrays of the reference's forward, in the order in which they appear, then those of its cache; no
    arguments."""
    import sys

    formula, seen, given = op.forward.__wrapped__.__code__, {}, inspect.signature(op.forward).parameters

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
    names = [name for name in formula.co_varnames if name in seen and name not in given]
    for name in names:
        if tree.is_leaf(seen[name]):
            yield name, np.asarray(seen[name])
    for name, leaf in tree.named_leaves(tuple_of_arrays(cache)):
        short = name.rpartition(".")[2]
        if short not in names and short not in given:
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
