"""What each call of NumPy does to errors: the rules of `Bounded` arrays.

Each is the first-order rule of running error analysis (Higham, "Accuracy and Stability of Numerical Algorithms",
chapter 3): what the operands' errors give, and one rounding of the result.  A sum of n terms costs
g(n) = (4 + 2√n + n/32) units of the accumulator: √n for rounding errors that are like independent ones (Higham & Mary
2019), the rest for short sums and for accumulators that truncate.

Where an honest computation may decide otherwise (a comparison closer than the errors, a rounding to an integer), the
decision carries an error too, and what depends on it gets a bound that allows both: an index that rounding may move
is followed to every place that it reaches.  Where not even that can be said, the bound is infinite: such an element is
evidence for nothing.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from visattn.check.error_array import CREATIONS, FUNCTIONS, MOVES, UFUNCS, Bounded, Rule, errors, plain, values
from visattn.check.precision import Precision

LIBRARY = 16                # units of the accumulator that a library's exp, tanh, erf … may be off by
SPREAD = 3                  # standard deviations allowed to the rounded operands of a matrix product


def precision_of(*operands: Any) -> Precision:
    for a in operands:
        if isinstance(a, Bounded):
            return a.precision
        if isinstance(a, (tuple, list)):
            for part in a:
                if isinstance(part, Bounded):
                    return part.precision
    raise TypeError("none of the operands carries an error")


def rounded(value: Any, error: Any, p: Precision) -> Bounded:
    """A result, stored: one rounding more, or a flush to zero; and nothing is known beyond the largest number.

    Integers are not rounded."""
    value = np.asarray(value)
    if value.dtype.kind in "iu":
        return Bounded(value, np.broadcast_to(error, value.shape), precision=p)
    size = np.abs(value)
    stored = error + (p.stored * size + p.tiny)
    known = (size + stored).max(initial=0) <= 0.5 * p.largest
    if not known:
        finite = np.isfinite(value)
        stored = error + (p.stored * np.where(finite, size, 0) + p.tiny)
    if not value.all():                                                             # an exact zero stays one
        stored = np.where((value == 0) & (np.asarray(error) == 0), 0, stored)
    if known:
        return Bounded.of(value, stored, p)
    return Bounded(value, np.where(finite & (size + stored > 0.5 * p.largest), np.inf, stored), precision=p)


def sum_cost(n: float, p: Precision) -> float:
    """g(n) of the accumulator."""
    return (4 + 2 * n**0.5 + n / 32) * p.accumulate


def magnitude(a: Any) -> Any:
    """|a|, and 0 for what is infinite by intention, such as a masked score."""
    a = np.abs(values(a))
    finite = np.isfinite(a)
    return a if finite.all() else np.where(finite, a, 0)


def times(a: Any, b: Any) -> Any:
    """a b for bounds: 0 · ∞ is 0, for a zero is exact."""
    product = a * b
    return np.where(np.isnan(product), 0, product) if np.isnan(product).any() else product


def ufunc(*names: str) -> Callable[[Rule], Rule]:
    def add(rule: Rule) -> Rule:
        UFUNCS.update(dict.fromkeys(names, rule))
        return rule
    return add


def function(*names: str) -> Callable[[Rule], Rule]:
    def add(rule: Rule) -> Rule:
        FUNCTIONS.update(dict.fromkeys(names, rule))
        return rule
    return add


# --- arithmetic

@ufunc("add", "subtract")
def _add(a: Any, b: Any, sign: int = 1, **_: Any) -> Bounded:
    # The operands may have been rounded themselves on the way: p (g - D) may have been computed as p g - p D.
    p = precision_of(a, b)
    value = values(a) + sign * values(b)
    fresh = p.stored * (magnitude(a) + magnitude(b)) if np.ndim(values(a)) and np.ndim(values(b)) else 0.0
    return rounded(value, errors(a) + errors(b) + (0.0 if value.dtype.kind in "iu" else fresh), p)


UFUNCS["subtract"] = lambda a, b, **_: _add(a, b, -1)


@ufunc("multiply")
def _multiply(a: Any, b: Any, **_: Any) -> Bounded:
    p, ea, eb = precision_of(a, b), errors(a), errors(b)
    error = times(magnitude(a), eb) + times(ea, magnitude(b)) + times(ea, eb)
    return rounded(values(a) * values(b), error, p)


@ufunc("divide", "true_divide")
def _divide(a: Any, b: Any, **_: Any) -> Bounded:
    p, ea, eb = precision_of(a, b), errors(a), errors(b)
    value, least = values(a) / values(b), magnitude(b) - eb
    error = np.where(least > 0, (ea + times(magnitude(value), eb)) / np.where(least > 0, least, 1), np.inf)
    exact = (ea == 0) & (eb == 0)
    return rounded(value, np.where(exact, 0, error), p)


@ufunc("negative")
def _negative(a: Bounded, **_: Any) -> Bounded:
    return Bounded(-a.value, a.error, precision=a.precision)


@ufunc("positive")
def _positive(a: Bounded, **_: Any) -> Bounded:
    return a


@ufunc("absolute", "fabs")
def _absolute(a: Bounded, **_: Any) -> Bounded:
    return Bounded(np.abs(a.value), a.error, precision=a.precision)


@ufunc("square")
def _square(a: Bounded, **_: Any) -> Bounded:
    return _multiply(a, a)


@ufunc("power")
def _power(a: Any, n: Any, **_: Any) -> Bounded:
    if isinstance(n, Bounded) or np.ndim(n):
        raise TypeError("there is no rule of error for a power that is not one number")
    n = float(n)
    if n == 2:
        return _multiply(a, a)
    return _elementary(a, lambda x: x**n, lambda x: np.abs(n * x ** (n - 1)))


def _elementary(a: Bounded, f: Rule, slope: Rule, units: float = LIBRARY) -> Bounded:
    """f(a), with the steepest slope at the ends and the middle of where a may be."""
    p, value = a.precision, f(a.value)
    steepest = np.maximum(slope(a.value), np.maximum(slope(a.value - a.error), slope(a.value + a.error)))
    return rounded(value, times(steepest, a.error) + units * p.accumulate * magnitude(value), p)


@ufunc("exp")
def _exp(a: Bounded, **_: Any) -> Bounded:
    value = np.exp(a.value)
    error = times(value, np.expm1(a.error)) + LIBRARY * a.precision.accumulate * value
    return rounded(value, error, a.precision)


@ufunc("expm1")
def _expm1(a: Bounded, **_: Any) -> Bounded:
    return _elementary(a, np.expm1, np.exp)


@ufunc("exp2")
def _exp2(a: Bounded, **_: Any) -> Bounded:
    return _elementary(a, np.exp2, lambda x: np.log(2) * np.exp2(x))


@ufunc("log")
def _log(a: Bounded, **_: Any) -> Bounded:
    # Near 1 a logarithm is as good as its argument, which was rounded.
    return _elementary(a, np.log, lambda x: np.where(x > 0, 1 / np.where(x > 0, x, 1), np.inf))


@ufunc("log1p")
def _log1p(a: Bounded, **_: Any) -> Bounded:
    return _elementary(a, np.log1p, lambda x: np.where(x > -1, 1 / np.where(x > -1, 1 + x, 1), np.inf))


@ufunc("log2")
def _log2(a: Bounded, **_: Any) -> Bounded:
    return _log(a) / np.log(2)


@ufunc("sqrt")
def _sqrt(a: Bounded, **_: Any) -> Bounded:
    value = np.sqrt(a.value)
    error = np.maximum(value - np.sqrt(np.maximum(a.value - a.error, 0)), np.sqrt(a.value + a.error) - value)
    return rounded(value, error, a.precision)


@ufunc("tanh")
def _tanh(a: Bounded, **_: Any) -> Bounded:
    return _elementary(a, np.tanh, lambda x: 1 - np.tanh(x) ** 2)


@ufunc("cos")
def _cos(a: Bounded, **_: Any) -> Bounded:
    return _elementary(a, np.cos, lambda x: np.minimum(1, np.abs(np.sin(x)) + a.error))


@ufunc("sin")
def _sin(a: Bounded, **_: Any) -> Bounded:
    return _elementary(a, np.sin, lambda x: np.minimum(1, np.abs(np.cos(x)) + a.error))


@ufunc("sign")
def _sign(a: Bounded, **_: Any) -> Bounded:
    return Bounded(np.sign(a.value), 2 * ((np.abs(a.value) <= a.error) & (a.error > 0)), precision=a.precision)


@ufunc("copysign")
def _copysign(a: Any, b: Any, **_: Any) -> Bounded:
    undecided = (magnitude(b) <= errors(b)) & (errors(b) > 0)
    error = errors(a) + np.where(undecided, 2 * magnitude(a), 0)
    return Bounded(np.copysign(values(a), values(b)), error, precision=precision_of(a, b))


@ufunc("floor")
def _floor(a: Bounded, **_: Any) -> Bounded:
    return _to_integer(a, np.floor)


@ufunc("ceil")
def _ceil(a: Bounded, **_: Any) -> Bounded:
    return _to_integer(a, np.ceil)


@ufunc("rint")
def _rint(a: Bounded, **_: Any) -> Bounded:
    return _to_integer(a, np.rint)


@ufunc("trunc")
def _trunc(a: Bounded, **_: Any) -> Bounded:
    return _to_integer(a, np.trunc)


def _to_integer(a: Bounded, f: Rule) -> Bounded:
    low, high = f(a.value - a.error), f(a.value + a.error)
    return Bounded(f(a.value), np.where(low == high, 0, high - low), precision=a.precision)


@ufunc("remainder", "fmod")
def _remainder(a: Any, b: Any, **_: Any) -> Bounded:
    # Of a number that may be on either side of a multiple, the remainder may be anything.
    p, value, ea = precision_of(a, b), np.mod(values(a), values(b)), errors(a) + p_add(a)
    jumps = np.floor((values(a) - ea) / values(b)) != np.floor((values(a) + ea) / values(b))
    return rounded(value, np.where(jumps & (errors(a) > 0), np.abs(values(b)), errors(a)), p)


def p_add(a: Any) -> Any:
    return a.precision.stored * magnitude(a) if isinstance(a, Bounded) else 0.0


# --- the larger and the smaller

@ufunc("maximum")
def _maximum(a: Any, b: Any, **_: Any) -> Bounded:
    va, vb, ea, eb = values(a), values(b), errors(a), errors(b)
    error = np.where(va - ea > vb + eb, ea, np.where(vb - eb > va + ea, eb, np.maximum(ea, eb)))
    return Bounded(np.maximum(va, vb), error, precision=precision_of(a, b))


@ufunc("minimum")
def _minimum(a: Any, b: Any, **_: Any) -> Bounded:
    return -_maximum(-a, -b)


def _passing_over_nan(choose: Rule, rule: Rule) -> Rule:
    """fmax and fmin: beside what is not a number, the other one, with its error."""
    def chosen(a: Any, b: Any, **_: Any) -> Bounded:
        error = np.where(np.isnan(values(a)), errors(b), np.where(np.isnan(values(b)), errors(a), rule(a, b).error))
        return Bounded(choose(values(a), values(b)), error, precision=precision_of(a, b))
    return chosen


UFUNCS["fmax"], UFUNCS["fmin"] = _passing_over_nan(np.fmax, _maximum), _passing_over_nan(np.fmin, _minimum)


@function("clip")
def _clip(a: Any, low: Any = None, high: Any = None, **_: Any) -> Bounded:
    a = a if low is None else _maximum(a, low)
    return a if high is None else _minimum(a, high)


@function("max", "amax")
def _max(a: Bounded, axis: Any = None, *, keepdims: bool = False, **_: Any) -> Bounded:
    """The largest of what may be largest has the largest of their errors."""
    value = a.value.max(axis, keepdims=True)
    surest = (a.value - a.error).max(axis, keepdims=True)
    error = np.where(a.value + a.error >= surest, a.error, 0).max(axis, keepdims=True)
    made = Bounded(value, error, precision=a.precision)
    return made if keepdims else made._both(lambda x: x.squeeze(axis) if axis is not None else x.reshape(()))


@function("argmax")
def _argmax(a: Bounded, axis: Any = None, keepdims: bool = False, **_: Any) -> Any:
    place = a.value.argmax(axis, keepdims=True)
    surest = (a.value - a.error).max(axis, keepdims=True)
    rivals = ((a.value + a.error >= surest) & (a.error + np.zeros_like(surest) > 0)).sum(axis, keepdims=True) > 1
    made = Bounded(place, np.where(rivals, np.inf, 0), precision=a.precision)
    return (made if keepdims else made._both(lambda x: x.squeeze(axis))).decided()


# --- decisions

def _compare(a: Any, b: Any, test: Any) -> Any:
    """Booleans; undecided, with an error of 1, where the operands are closer than their errors."""
    va, vb, slack = values(a), values(b), errors(a) + errors(b)
    undecided = (np.abs(va - vb) <= slack) & (slack > 0)
    if not undecided.any():
        return test(va, vb)
    if test in (np.equal, np.not_equal):
        undecided &= va != vb                                   # a number equals itself, whatever its error
    return Bounded(test(va, vb), undecided, precision=precision_of(a, b)).decided()


def comparison(test: Any) -> Rule:
    return lambda a, b, **_: _compare(a, b, test)


def predicate(test: Any) -> Rule:
    return lambda a, **_: test(a.value)


for _name in ("less", "less_equal", "greater", "greater_equal", "equal", "not_equal"):
    UFUNCS[_name] = comparison(getattr(np, _name))

for _name in ("isnan", "isfinite", "isinf", "signbit"):
    UFUNCS[_name] = predicate(getattr(np, _name))


@ufunc("logical_not", "invert")
def _not(a: Bounded, **_: Any) -> Bounded:
    return Bounded(~a.value, a.error, precision=a.precision)


def _logical(operation: Rule) -> Rule:
    def rule(a: Any, b: Any, **_: Any) -> Any:
        answers = [operation(x, y) for x in _either(a) for y in _either(b)]
        undecided = np.any([answer != answers[0] for answer in answers], axis=0)
        return Bounded(operation(values(a), values(b)), undecided, precision=precision_of(a, b)).decided()
    return rule


def _either(a: Any) -> list[Any]:
    """What an undecided boolean may be."""
    return [values(a)] if not isinstance(a, Bounded) else [a.value, np.where(a.error > 0, ~a.value, a.value)]


for _name, _operation in (("and", np.logical_and), ("or", np.logical_or), ("xor", np.logical_xor)):
    UFUNCS[f"logical_{_name}"] = UFUNCS[f"bitwise_{_name}"] = _logical(_operation)


@function("where")
def _where(condition: Any, a: Any, b: Any) -> Any:
    p, chosen = precision_of(condition, a, b), values(condition)
    value, error = np.where(chosen, values(a), values(b)), np.where(chosen, errors(a), errors(b))
    if isinstance(condition, Bounded):
        gap = np.abs(values(a) - values(b)) + errors(a) + errors(b)
        error = np.where(condition.error > 0, np.where(np.isnan(gap), np.inf, gap), error)
    return Bounded(value, error, precision=p).decided()


# --- sums and products of many

def _count(a: np.ndarray, total: np.ndarray) -> float:
    return a.size / max(total.size, 1)


@function("sum")
def _sum(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False, **_: Any) -> Bounded:
    p, value = a.precision, a.value.sum(axis, dtype=float if a.dtype == bool else None, keepdims=keepdims)
    if a.dtype == bool:
        return Bounded(value, a.error.sum(axis, keepdims=keepdims), precision=p)
    cost = sum_cost(_count(a.value, value), p)
    return rounded(value, a.error.sum(axis, keepdims=keepdims) + cost * magnitude(a).sum(axis, keepdims=keepdims), p)


@ufunc("add.reduce")
def _add_reduce(a: Bounded, axis: Any = 0, keepdims: bool = False, **_: Any) -> Bounded:
    return _sum(a, axis, keepdims=keepdims)


@function("mean")
def _mean(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False, **_: Any) -> Bounded:
    total = _sum(a, axis, keepdims=keepdims)
    n = _count(a.value, total.value)
    return rounded(total.value / n, total.error / n, a.precision)


@function("cumsum")
def _cumsum(a: Any, axis: Any = None, **_: Any) -> Bounded:
    n = a.size if axis is None else a.shape[axis]
    error = a.error.cumsum(axis) + sum_cost(n, a.precision) * magnitude(a).cumsum(axis)
    return rounded(a.value.cumsum(axis), error, a.precision)


def _product(contract: Rule, n: float, a: Any, b: Any) -> Bounded:
    """Any sum of n products of an element of a and one of b."""
    p, A, B = precision_of(a, b), magnitude(a), magnitude(b)
    ea, eb = (x.error if isinstance(x, Bounded) else np.broadcast_to(0.0, np.shape(x)) for x in (a, b))
    error = sum_cost(n, p) * contract(A, B) + _lost(contract, A, eb) + _lost(contract, ea, B + eb)
    value = contract(values(a), values(b))
    if p.operand > p.accumulate:                                # rounded to fit the unit that multiplies
        error = error + SPREAD * p.operand * np.sqrt(contract(A * A, B * B))
    if p.operand > p.stored:                                    # or cut: then every product is smaller, and so the sum
        error = error + p.operand * magnitude(value)
    return rounded(value, error, p)


def _lost(contract: Rule, x: Any, y: Any) -> Any:
    """x y summed, of which one holds errors: infinite where what is unknown meets anything but a zero."""
    if not (x.any() and y.any()):
        return 0.0
    lost = contract(x, y)
    if np.isfinite(lost).all():
        return lost
    unknown = contract(1.0 * np.isinf(x), 1.0 * (y > 0)) + contract(1.0 * (x > 0), 1.0 * np.isinf(y))
    known = contract(np.where(np.isinf(x), 0, x), np.where(np.isinf(y), 0, y))
    return np.where(unknown > 0, np.inf, known)


@ufunc("matmul")
def _matmul(a: Any, b: Any, **_: Any) -> Bounded:
    return _product(np.matmul, values(a).shape[-1], a, b)


@function("dot")
def _dot(a: Any, b: Any, **_: Any) -> Bounded:
    return _product(np.dot, values(a).shape[-1], a, b)


@function("tensordot")
def _tensordot(a: Any, b: Any, axes: Any = 2) -> Bounded:
    value = np.tensordot(values(a), values(b), axes)
    n = (values(a).size * values(b).size / max(value.size, 1)) ** 0.5
    return _product(lambda x, y: np.tensordot(x, y, axes), n, a, b)


@function("einsum")
def _einsum(subscripts: str, *operands: Any, **_: Any) -> Bounded:
    if len(operands) > 2:
        raise TypeError("there is no rule of error for an einsum of more than two arrays")
    if len(operands) == 1:
        operand, = operands
        p, value = operand.precision, np.einsum(subscripts, operand.value)
        cost = sum_cost(_count(operand.value, value), p) * np.einsum(subscripts, magnitude(operand))
        return rounded(value, np.einsum(subscripts, operand.error) + cost, p)
    inputs, output = subscripts.replace(" ", "").replace("...", "").split("->")
    axes: dict[str, int] = {}
    for letters, a in zip(inputs.split(","), operands):
        axes |= dict(zip(letters[::-1], values(a).shape[::-1]))
    n = float(np.prod([size for letter, size in axes.items() if letter not in output] or [1]))
    return _product(lambda x, y: np.einsum(subscripts, x, y), n, *operands)


@ufunc("add.at")
def _add_at(target: Bounded, index: Any, what: Any, **_: Any) -> None:
    """What may belong elsewhere may be missing where it is added, and may stand wherever its index reaches."""
    p, at, hit = target.precision, plain(index), np.zeros(target.shape)
    astray = errors(what) + magnitude(what)
    for step, possible in reached(index, len(target.value)):
        there = at if step == 0 else np.where(possible, at + step, 0)
        one = 1.0 * _widened(possible, target.ndim - 1)
        np.add.at(hit, there, one)
        if step:
            np.add.at(target.error, there, times(one, astray))
    cost = sum_cost(float(hit.max(initial=1)), p)
    np.add.at(target.value, at, values(what))
    lost = errors(what) + (cost + p.stored) * magnitude(what) + p.tiny
    lost = np.where(_widened(_unknown(index), target.ndim - 1), lost + astray, lost)
    np.add.at(target.error, at, np.broadcast_to(lost, np.shape(values(what))))


# --- what only moves numbers

MOVES |= {
    "broadcast_to", "broadcast_arrays", "concatenate", "copy", "expand_dims", "flip", "moveaxis", "pad", "ravel",
    "repeat", "reshape", "roll", "sliding_window_view", "split", "squeeze", "stack", "swapaxes", "take_along_axis",
    "tile", "transpose", "tril", "triu", "diagonal", "hstack", "vstack"}


@function("move")
def _move(function: Rule, args: Any, options: Any) -> Any:
    """The same movement of values and of errors; padding and the like is exact."""
    p = precision_of(*args, *options.values())
    value = function(*_each(args, values), **_each(options, values))
    no_error = {key: 0 if key in ("constant_values",) else part for key, part in options.items()}
    error = function(*_each(args, _errors_like), **_each(no_error, _errors_like))
    if isinstance(value, (tuple, list)):
        return type(value)(_made(v, e, p) for v, e in zip(value, error))
    return _made(value, error, p)


def _made(value: np.ndarray, error: np.ndarray, p: Precision) -> Any:
    return Bounded.of(value, error, p).decided()


def _each(parts: Any, what: Rule) -> Any:
    if isinstance(parts, dict):
        return {key: _each(part, what) for key, part in parts.items()}
    if isinstance(parts, (tuple, list)):
        return type(parts)(_each(part, what) for part in parts)
    return what(parts) if isinstance(parts, (Bounded, np.ndarray)) else parts


def _errors_like(a: Any) -> Any:
    """The errors of an array; zeros for one that has none, but an index stays what it is."""
    if isinstance(a, Bounded):
        return a.error if a.dtype.kind not in "iu" else a.value
    return a if a.dtype.kind in "iu" else np.zeros(a.shape)


@function("take")
def _take(a: Any, indices: Any, axis: int | None = None, **_: Any) -> Bounded:
    """Where an index may reach another place, the bound allows what stands there."""
    at, table = plain(indices), values(a)
    unsure = errors(a) + np.zeros(table.shape)
    value, error = np.take(table, at, axis), np.take(unsure, at, axis)
    for step, possible in reached(indices, table.size if axis is None else table.shape[axis]):
        if step:
            there = np.where(possible, at + step, 0)
            other = np.abs(np.take(table, there, axis) - value) + np.take(unsure, there, axis)
            possible = _widened(possible, value.ndim - np.ndim(at) - (axis or 0))
            error = np.maximum(error, np.where(possible, other, 0))
    return Bounded(value, error, precision=precision_of(a, indices))


def reached(index: Any, n: int) -> Iterator[tuple[int, Any]]:
    """(step, where an index may truly be that far off), for the steps within its error and within n places."""
    yield 0, np.True_
    if _unknown(index).any():
        at, error = index.value, index.error
        for step in range(1, int(min(error.max(), n - 1)) + 1):
            yield step, (error >= step) & (at + step < n)
            yield -step, (error >= step) & (at >= step)


def _unknown(index: Any) -> Any:
    if isinstance(index, tuple) and any(isinstance(part, Bounded) for part in index):
        raise TypeError("there is no rule of error for several indices of which one is undecided")
    return index.error > 0 if isinstance(index, Bounded) else np.False_


def _widened(a: Any, axes: int) -> Any:
    """An array of indices with axes of one for what stands at each of them."""
    return np.reshape(a, (*np.shape(a), *(1,) * axes)) if np.ndim(a) else a


# --- new arrays, like one that is there

def creation(make: Rule) -> Rule:
    """np.zeros and its kin: exact, and carrying errors from now on if they hold floating-point numbers."""
    def rule(like: Bounded, *args: Any, **options: Any) -> Any:
        value = make(*args, **options)
        return Bounded(value, precision=like.precision) if value.dtype.kind == "f" else value
    return rule


for _name in ("zeros", "ones", "empty", "full", "arange", "eye", "array", "asarray"):
    CREATIONS[_name] = creation(getattr(np, _name))


def _like(fill: Any) -> Rule:
    def rule(like: Bounded, a: Any, dtype: Any = None, shape: Any = None, **_: Any) -> Any:
        like = a if isinstance(a, Bounded) else like
        return creation(np.full)(like, a.shape if shape is None else shape, fill, dtype=dtype or a.dtype)
    return rule


CREATIONS |= {"zeros_like": _like(0), "empty_like": _like(0), "ones_like": _like(1),
              "full_like": lambda like, a, fill_value, **options: _like(fill_value)(like, a, **options)}


@function("any")
def _any(a: Bounded, axis: Any = None, **options: Any) -> Any:
    return a.value.any(axis)


@function("all")
def _all(a: Bounded, axis: Any = None, **options: Any) -> Any:
    return a.value.all(axis)


@function("result_type", "shape", "ndim", "size")
def _about(*args: Any) -> Any:
    return np.result_type(*map(values, args))
