"""How far an honest implementation may be from the reference: from the reference itself, not from taste.

    found = bounds(ops.attention, (q, k, v), dy=do, precision="float32")
    found.y[0].value, found.y[0].error             # |their y - value| ≤ error, element by element
    found.grads["dq"][0].error

The reference runs on arrays that carry error bounds (`error_array`), forward and backward.  Where the same mathematics
can be written in several ways (`equal` changes), each of them runs, and the bound is the largest.  No operator has a
tolerance of its own.
"""

import inspect
from collections.abc import Callable, Sequence
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from visattn import tree
from visattn.check import changes, memory
from visattn.check.error_rules import Bounded
from visattn.check.precision import Precision, nearest
from visattn.check.precision import precision as named

OWN = 2.0                   # in float64 the reference itself is as inexact as what it is compared with


class Within(NamedTuple):
    """Values (float64), and how far an honest result may be from each."""

    value: np.ndarray
    error: np.ndarray


class Bounds(NamedTuple):
    """What is right: leaf by leaf of the output and of every gradient."""

    y: list[Within]
    grads: dict[str, list[Within]]          # "dq": …, of the arguments given
    precision: Precision

    def parts(self) -> dict[str, list[Within]]:
        """{"y": …, "dq": …}: the output and the gradients alike."""
        return {"y": self.y, **self.grads}


def bounds(op: Any, args: Sequence[Any], options: dict[str, Any] | None = None, dy: Any = None,
           precision: str | Precision = "float32", accumulate: str | Precision | None = None, *,
           all_ways: bool = True) -> Bounds:
    """The values of an operator's output and gradients, and how far honest arithmetic may be from them.

    op          a module with forward and backward: an operator, or a model
    args        its positional arguments, float64; of a number that the precision cannot hold, the nearest is allowed
    dy          the cotangent of the output, a tree like it; None: no gradients
    precision   float64, float32, tf32, bfloat16 or float16: of all arrays that are stored
    accumulate  of running sums; by default float32, or float64 in float64
    all_ways    False: the reference as it stands, and no other way to write a line of it; quicker, and narrower

    Raises ValueError for a precision that there is not, and what the operator raises for arguments that do not fit.
    """
    p = named(precision)
    if accumulate is not None:
        p = p.accumulating(named(accumulate).stored)
    found = _bounds(op, args, options or {}, dy, p)
    return widened(found, op, args, options or {}, dy) if all_ways else found


@memory.remembered(lambda op, args, options, dy, p: (memory.key_of(op), memory.digest(args, options, dy), p))
def _bounds(op: Any, args: Sequence[Any], options: dict[str, Any], dy: Any, p: Precision) -> Bounds:
    y, grads, _ = exact(op, args, options, dy, p)
    near_y, near_grads = _run(_ways(op)[0], args, options, dy, p)
    return memory.unwritable(Bounds(
        [_stored(leaf, near, p) for leaf, near in zip(y, near_y, strict=True)],
        {name: [_stored(leaf, near, p) for leaf, near in zip(leaves, near_grads[name], strict=True)]
         for name, leaves in grads.items()}, p))


@memory.remembered(lambda found, op, args, options, dy: (memory.key_of(op), memory.digest(args, options, dy),
                                                         found.precision))
def widened(found: Bounds, op: Any, args: Sequence[Any], options: dict[str, Any], dy: Any) -> Bounds:
    """The bounds of the reference as it stands, with room for every other way to write a line of it."""
    y, grads, p = found
    for way in _ways(op)[1:]:
        other_y, other_grads = _run(way, args, options, dy, p)
        y = [_wider(leaf, other, p) for leaf, other in zip(y, other_y, strict=True)]
        grads = {name: [_wider(leaf, other, p) for leaf, other in zip(leaves, other_grads[name], strict=True)]
                 for name, leaves in grads.items()}
    return memory.unwritable(Bounds(y, grads, p))


def exact(op: Any, args: Sequence[Any], options: dict[str, Any], dy: Any, p: Precision) -> Bounds:
    """What is right, and no room beside it."""
    with np.errstate(all="ignore"):
        y, cache = op.forward(*args, **options)
        answers = () if dy is None else op.backward(dy, cache)
    values, grads = _named(op, args, y, answers, _exact)
    return Bounds(values, grads, p)


def _named(op: Any, args: Sequence[Any], y: Any, answers: Sequence[Any], what: Callable[[Any], Within]) -> Any:
    """(leaves of y, {"dq": leaves, …})"""
    names = names_of_gradients(op, args)[:len(answers)]
    grads = {name: [what(leaf) for leaf in tree.leaves(answer)] for name, answer in zip(names, answers, strict=True)}
    return [what(leaf) for leaf in tree.leaves(y)], grads


def _exact(a: Any) -> Within:
    return Within(np.asarray(a, float), np.zeros(np.shape(a)))


def _ways(op: Any) -> tuple[Any, ...]:
    """The reference, and each other way to write one of its lines; of a changed operator, of the lines that it has."""
    return _ways_of(op) if isinstance(op, ModuleType) else (op,)


@cache
def _ways_of(op: ModuleType) -> tuple[Any, ...]:
    plain = tuple(c for c in changes.changes_of(op, "plain") if changes.applies(op, c))
    others = (c for c in changes.changes_of(op, "equal") if changes.applies(op, c))
    return tuple(changes.changed(op, *plain, *another) for another in ((), *((change,) for change in others)))


def _run(op: Any, args: Sequence[Any], options: dict[str, Any], dy: Any, p: Precision) -> Any:
    def exact(a: np.ndarray) -> Bounded:
        a = np.array(a, float)
        return Bounded(a, np.where(nearest(a, p) == a, 0, p.stored * np.abs(a)), precision=p)

    def carry(t: Any) -> Any:
        return tree.map(lambda a: exact(a) if a.dtype.kind == "f" else a, t)

    carried = {key: carry(value) if tree.is_leaf(value) else value for key, value in options.items()}
    with np.errstate(all="ignore"):
        y, cache = op.forward(*carry(tuple(args)), **carried)
        answers = () if dy is None else op.backward(carry(dy), cache)
    return _named(op, args, y, answers, _within)


def names_of_gradients(op: Any, args: Sequence[Any]) -> list[str]:
    """["dq", "dk", …] of the positional arguments that are given."""
    return [f"d{name}" for name, a in zip(arguments_of(op), args) if a is not None]


def arguments_of(op: Any) -> list[str]:
    """The names of the positional arguments."""
    code = inspect.unwrap(op.forward).__code__
    return list(code.co_varnames[:code.co_argcount])


def _within(a: Any) -> Within:
    if not isinstance(a, Bounded):
        return Within(np.asarray(a, float), np.zeros(np.shape(a)))
    return Within(np.asarray(a.value, float), a.error)


def _stored(exact: Within, found: Within, p: Precision) -> Within:
    """What is exact, and the error found beside it; the result is rounded once more, to be given back."""
    value = exact.value
    error = found.error + p.stored * np.abs(np.where(np.isfinite(value), value, 0))
    return Within(value, error * OWN if p.name == "float64" else error)


def _wider(one: Within, found: Within, p: Precision) -> Within:
    """Room for another way, too; where its analysis says nothing, for the first."""
    other = _stored(one, found, p).error
    return Within(one.value, np.where(np.isinf(other), one.error, np.maximum(one.error, other)))
