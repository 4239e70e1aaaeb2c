"""The verdict on the output and on each gradient of one function, from what it answered.

    judgement = Judgement(calls, ops.attention)
    judgement.parts                                     # a Part for "y", and for each gradient

What is right is the operator, or a copy of it that follows a library's convention.
"""

import inspect
import typing
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from visattn import tree
from visattn.check import tolerance
from visattn.check.calling import Calls
from visattn.check.cases import Case, Integers, fit
from visattn.check.changes import Change
from visattn.check.child.records import Answer, Problem
from visattn.check.compare import Compared, compare
from visattn.check.diagnose import Diagnosis, Explained, Seen
from visattn.check.precision import FINEST_FIRST, PRECISIONS, Precision
from visattn.check.tolerance import Within
from visattn.check.verdicts import RIGHT, Map, Part, Verdict

HONEST = 1.5                # bounds up to which a result is accepted, with a word above 1
LIKELY = 0.5                # bounds of a coarser arithmetic up to which an error is likely to be its own
SYSTEMATIC = 0.9            # the share of an error that stays when the arguments are nudged: above, it is no rounding,
                            # not even one that cuts off, whose errors all have one sign
WIDENED = (". NumPy widens float32 beside a number of its own, such as np.sqrt(q.shape[-1]): write q.shape[-1] ** 0.5, "
           "which is one of Python's")
NUDGES = 6
SMALL = 1e-4                # of the largest number: below, an unknown mistake may be a constant
SEVERE = ("mutated", "changing", "shape", "device", "missing")
FAILED = ("raised", "resource", "crash", "forged")
STEEP = 16                  # the largest argument of a case, above which differences are the last resort
NOTHING = Compared(np.zeros(0), 0.0, False, 0.0)
Beside = tuple[dict[str, list], dict[str, list[Within]]]            # what came, part by part, and what is right


class Judgement:
    """What is to be said of every part, with `op` as what is right.

    asked       for one precision: the finer ones are there to show mistakes
    strict      a library's convention counts as wrong
    """

    def __init__(self, calls: Calls, op: ModuleType, *, asked: bool = False, strict: bool = False) -> None:
        self.calls, self.op, self.asked, self.strict = calls, op, asked, strict
        self.stages, self.accepts = calls.stages, calls.accepts
        self.seen: dict[str, list[Seen]] = {p.name: [] for p in self.stages}
        self.compared: dict[tuple[str, str, str], Compared] = {}            # of (precision, case, part)
        self.problems: dict[tuple[str, str], list[Problem]] = {}
        self._others: dict[tuple[Precision, Precision, str], tolerance.Bounds] = {}
        self._moved: dict[tuple[str, str, float], list[Beside]] = {}
        self._look()
        self._widen()
        told = (problem.part for found in self.problems.values() for problem in found if problem.part)
        names = dict.fromkeys([*(part for *_, part in self.compared), *told])
        self.diagnoses = {stage: Diagnosis(op, seen, PRECISIONS[stage]) for stage, seen in self.seen.items() if seen}
        self.explained: list[Explained] = []                                # what the last part was explained by
        self.forward_mistake: tuple[Change, ...] = ()
        self.unknown = False                                                # is any part wrong in an unknown way?
        y = self._part("y")
        if y.suspect is not None:
            y = self._by_gradients(y)
        wrong = y.verdict in ("wrong", "range", "failed") or y.suspect is not None
        self.output_is_right = y.verdict in (*RIGHT, "contract")
        self.parts = self._one_name_for_all([y, *(self._part(name, wrong) for name in names if name != "y")])

    # --- what was answered, beside what is right

    def _look(self) -> None:
        """Every answer beside what is right."""
        for (stage, name), (case, answer) in self.calls.answers.items():
            p = PRECISIONS[stage]
            # A shape that is not the reference's may be right by a convention: that is seen below.
            by_convention = self.op is not self.calls.op
            self.problems[stage, name] = [pr for pr in answer.problems if not by_convention or pr.kind != "shape"]
            kinds = {problem.kind for problem in answer.problems}
            if "raised" in kinds and not answer.y and self._refuses_together(stage, case):
                self.problems[stage, name] = []
                continue
            if "raised" not in kinds and (kinds & {*FAILED, "unsupported"} or not answer.y):
                continue
            try:
                with np.errstate(all="ignore"):
                    right = tolerance.bounds(self.op, case.args, case.options, self.calls.cotangent_of(case), p,
                                             all_ways=False)
            except (ValueError, IndexError, TypeError):
                if not by_convention:
                    raise
                self.problems[stage, name] = []             # by a convention, these shapes may mean nothing
                continue
            parts = self._arranged(stage, name, case, answer, right)
            seen = Seen(case, parts, right, "raised" in kinds and not parts)
            self.seen[stage].append(seen)
            self._compare(stage, seen)

    def _refuses_together(self, stage: str, case: Case) -> bool:
        """Did the function answer to each option of a case, but not to all of them at once?"""
        def options(c: Case) -> set[str]:
            return {key for key, value in c.options.items() if value is not None} - set(self.calls.required)

        wanted = options(case)
        answered = [options(c) for (s, _), (c, answer) in self.calls.answers.items() if s == stage and answer.y]
        if len(wanted) < 2 or not all(any(key in some for some in answered) for key in wanted):
            return False
        if any(wanted <= some for some in answered):
            return False
        self.calls.note(f"it refuses {' and '.join(sorted(wanted))} together: left out")
        return True

    def _compare(self, stage: str, seen: Seen) -> None:
        for part, leaves in seen.parts.items():
            if seen.fits(part):
                pairs = [compare(got, wanted) for got, wanted in zip(leaves, seen.bounds.parts()[part], strict=True)]
                self.compared[stage, seen.case.name, part] = max(pairs, key=lambda c: c.worst)

    def _widen(self) -> None:
        """What is outside of the reference's own bound may be right in another way to write it: that is asked of the
        worst case of each part, and of the next, until one is surely wrong, or none is left."""
        wide: set[tuple[str, str]] = set()
        wrong: set[str] = set()                                 # in a finer precision already
        for stage, part in dict.fromkeys((stage, part) for stage, _, part in self.compared):
            while part not in wrong:
                name = max((n for s, n, q in self.compared if (s, q) == (stage, part)),
                           key=lambda n: self.compared[stage, n, part].worst)
                worst = self.compared[stage, name, part].worst
                if worst <= 1 or (stage, name) in wide:
                    if worst > HONEST:
                        wrong.add(part)
                    break
                wide.add((stage, name))
                at = next(i for i, seen in enumerate(self.seen[stage]) if seen.case.name == name)
                seen = self.seen[stage][at]
                bounds = tolerance.widened(seen.bounds, self.op, seen.case.args, seen.case.options,
                                           self.calls.cotangent_of(seen.case))
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

    # --- the verdict on a part

    def _part(self, name: str, wrong_output: bool = False) -> Part:
        """The verdict on one part, from the worst that can be said of it to the best."""
        broken = self.broken(name, FAILED, "failed") or self.broken(name, SEVERE, "contract")
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
        broken = self.broken(name, ("dtype", "aliases"), "contract")
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

    def broken(self, name: str, kinds: tuple[str, ...], verdict: Verdict) -> Part | None:
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
        consistent = name != "y" and wrong_output and self.consistent(name)
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
            beyond = f"beyond {p.largest:.3g}, the largest number of {p.dtype}"
            if part.map and np.isnan(part.map.got):
                return part._replace(says="Not a number, where the exact result is finite: 0/0, ∞/∞ or ∞ - ∞ on the "
                                          f"way, as in a softmax over nothing but -∞, or after something {beyond}.")
            return part._replace(says=f"Infinite, where the exact result is finite: something on the way is {beyond}.")
        self.unknown = True
        says = "An unknown mistake: none of the known ones gives these numbers."
        right = next(s for s in self.seen[stage] if s.case.name == case).bounds.parts()[name]
        small = part.map and abs(part.map.got - part.map.wanted) / (_largest(w.value for w in right) or 1.0)
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
            found = diagnosis.explain([name], given=self.forward_mistake, pairs=False)
            if found or not all(s.fits(name) for s in self.seen[stage]):
                return found
            return diagnosis.explain([name], pairs=False)               # it may not read what the forward kept
        if self.unknown or not self.output_is_right:    # beside what is unknown, two known mistakes are unlikely
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

    def consistent(self, name: str) -> bool:
        """Is a gradient the derivative of the function's own output?  In float64, by differences, in some of the cases
        where it is not the reference's; in one, if there is any, where the output is."""
        if self.stages[0].name != "float64" or not self.seen.get("float64"):
            return False

        def off(s: Seen, part: str) -> bool:
            return self.compared.get(("float64", s.case.name, part), NOTHING).worst > HONEST

        wrong = [s for s in self.seen["float64"] if off(s, name) and s.case.layout == "contiguous"]
        wrong = [s for s in wrong if _largest(tree.leaves(s.case.args)) <= STEEP] or wrong
        wrong.sort(key=lambda s: (not s.case.name.startswith(("plain", "bare")),
                                  sum(np.size(a) for a in tree.leaves(s.case.args))))
        chosen = [*wrong[:2], *[s for s in wrong[2:] if not off(s, "y")][:1]]
        return bool(chosen) and all(self.calls.derivatives(s.case).get(name, False) for s in chosen)

    def _coarser(self, name: str, stage: str) -> str:
        """In which coarser arithmetic this would be right, in a sentence; "" where the formula is another."""
        p = PRECISIONS[stage]
        finer = [q.name for q in self.stages if FINEST_FIRST.index(q.name) < FINEST_FIRST.index(stage)]
        right_before = any(self._worst(q, name) <= HONEST for q in finer if self.seen.get(q))
        candidates: list[tuple[str, Precision]] = []
        # What coarse sums lose stays the same where the arguments move: nothing else tells it from a wrong formula.
        for unit in ("float32", "float16", "bfloat16") if right_before else ():
            if PRECISIONS[unit].stored > p.accumulate:
                candidates.append((f"sums are kept in {unit}", p.accumulating(PRECISIONS[unit].stored)))
        for coarse in FINEST_FIRST[FINEST_FIRST.index(p.name) + 1:]:
            if PRECISIONS[coarse].operand > p.operand:
                candidates.append((f"its errors are those of {coarse}", PRECISIONS[coarse]))
        candidates.sort(key=lambda c: max(c[1].accumulate, c[1].operand * 0.999))
        off = [(self._off(name, stage, q), says) for says, q in candidates
               if right_before or self._rounds(name, stage, q)]
        # An honest error is a fraction of its bound: the finest arithmetic of which it is at most half is likely.
        for error, says in sorted(off, key=lambda found: found[0] > LIKELY):
            if error <= HONEST:
                return (f"The right formula in coarser arithmetic than {p.name}: {says}. Check it as what it is, or "
                        f"compute in {p.name}.")
        if right_before:
            return (f"The right formula, but less exact than {p.name}: in finer arithmetic it is right, here it is off "
                    f"by {self._worst(stage, name):.2g} bounds.")
        return ""

    def _worst(self, stage: str, name: str) -> float:
        return max((c.worst for (s, _, part), c in self.compared.items() if s == stage and part == name),
                   default=np.inf)

    def _off(self, name: str, stage: str, q: Precision, most: int | None = None) -> float:
        """The largest error of a part in bounds of another precision, in all or so many cases; or the first that is too
        large for honest arithmetic, looking at the worst cases first."""
        largest = 0.0
        fitting = [s for s in self.seen[stage] if s.fits(name)]
        for s in sorted(fitting, key=lambda s: -self.compared[stage, s.case.name, name].worst)[:most]:
            coarse = self._in_another(q, s).parts()[name]
            for got, wanted, mine in zip(s.parts[name], coarse, s.bounds.parts()[name], strict=True):
                room = Within(wanted.value, np.maximum(wanted.error, mine.error))
                largest = max(largest, compare(got, room).worst)
            if largest > HONEST:
                break
        return largest

    def _in_another(self, q: Precision, s: Seen) -> tolerance.Bounds:
        """The bounds of another precision for what was answered in this one, made once for all parts."""
        key = q, s.bounds.precision, s.case.name
        if key not in self._others:
            dy = self.calls.cotangent_of(s.case)
            self._others[key] = tolerance.bounds(self.op, s.case.args, s.case.options, dy, q, all_ways=False)
        return self._others[key]

    def _rounds(self, name: str, stage: str, q: Precision) -> bool:
        """May the worst error be one of rounding in another precision?"""
        return self._off(name, stage, q, most=1) <= HONEST and not self._systematic(name, stage, q)

    def _systematic(self, name: str, stage: str, q: Precision) -> bool:
        """Is the error the same when the arguments move a little?  Rounding errors are not."""
        worst = max((s for s in self.seen[stage] if s.fits(name)),
                    key=lambda s: self.compared[stage, s.case.name, name].worst)
        found = []
        for parts, right in self._nudged(stage, worst.case, 16 * max(q.stored, q.operand)):
            if name not in parts:
                return True
            found.append(np.concatenate([(got - wanted.value).ravel()
                                         for got, wanted in zip(parts[name], right[name])]))
        errors = np.where(np.isfinite(found), found, 0)
        return bool((errors.mean(0) ** 2).sum() > SYSTEMATIC * (errors**2).mean(0).sum())

    def _nudged(self, stage: str, case: Case, size: float) -> list[Beside]:
        """What the function gives, and what is right, where every number of a case moves by so much of itself."""
        key = stage, case.name, size
        if key not in self._moved:
            p, rng = PRECISIONS[stage], Integers(self.calls.seed, "nudge")

            def nudge(a: np.ndarray) -> np.ndarray:
                return a * (1 + size * rng.uniform(-1, 1, size=a.shape))

            self._moved[key] = []
            for _ in range(NUDGES):
                moved = case._replace(args=fit(tree.map(nudge, case.args), p), dy=fit(tree.map(nudge, case.dy), p))
                answer = self.calls.call(moved, p, repeat=1)
                right = tolerance.exact(self.op, moved.args, moved.options, self.calls.cotangent_of(moved), p)
                parts = self._arranged(stage, case.name, moved, answer, right) if answer.y else {}
                self._moved[key].append((parts, right.parts()))
        return self._moved[key]

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
        axes = axes_of(self.calls.op, name, ratio.ndim)
        kept, names, index = ratio, list(axes), list(at)
        while kept.ndim > 3:                                    # of many leading axes the place of the worst is shown
            kept, names, index = kept[index[0]], names[1:], index[1:]
        return Map(case, tuple(names), kept, ratio.shape, tuple(int(i) for i in at), float(got[at]),
                   float(wanted.value[at]), float(wanted.error[at]))


def _largest(arrays: Iterable[np.ndarray]) -> float:
    """The largest finite number in floating-point arrays; 0 where there is none."""
    return max((float(np.abs(a[np.isfinite(a)]).max(initial=0)) for a in arrays if a.dtype.kind == "f"), default=0.0)


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
