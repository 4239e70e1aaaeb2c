"""Do the operators compute what their papers say, and are their gradients the derivatives?

    results = verify()                      # every operator, then every model
    results = verify(["attention"])         # some of them
    all(r.passed for r in results)

Of each, at random draws of its own example:

    forward    against its definition, index by index, which shares no code with it
    gradient   against finite differences along a random direction of every argument
    laws       backward is linear, pure and repeatable, gives one gradient per argument, and float32 stays float32
    float32    the same lines in float32 against float64
    time       of one forward and one backward at the example, in microseconds

Errors are relative to the largest number of the array they occur in.  The limits are the same for all:

    FORWARD    two float64 computations of one formula differ by rounding alone
    GRADIENT   a central difference with step 1e-6 knows a derivative to about that
    FLOAT32    an honest float32 answer is the exact answer, give or take FLOAT32 units of rounding, to a question
               whose numbers were each moved by at most FLOAT32 units (a mixed forward-backward bound).  The
               limit is therefore FLOAT32 · (1 + how many units the answer moves when its arguments move by one),
               and that is measured, in float64.  8 = √64: rounding errors add like the root of their number,
               and a sum in an example has at most some dozens of terms.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from visattn import catalogue, gradcheck, tree
from visattn.check import definitions

FORWARD = 1e-10
GRADIENT = 1e-7
FLOAT32 = 8
SEEDS = (0, 1, 2)
TIMED = 0.01                    # seconds spent on timing each direction
EPS32 = float(np.finfo(np.float32).eps)


class Result(NamedTuple):
    """What was found of one operator or model.  An error that was not measured is None."""

    name: str
    family: str                         # primitives, gates, pairs, sampling, recurrent, models
    forward_error: float | None         # None: it has no definition of its own
    gradient_error: float | None
    float32_error: float | None         # in units of float32's rounding
    float32_limit: float | None
    forward_us: float | None
    backward_us: float | None
    passed: bool
    problems: tuple[str, ...]           # one line each; empty if it passed


def verify(names: Iterable[str] | None = None, progress: Callable[[str], None] = lambda name: None) -> list[Result]:
    """[Result] of the operators and models of these names, or of all; `progress` is called before each."""
    found = []
    for op in catalogue.select(names):
        name = gradcheck.name_of(op)
        progress(name)
        found.append(verify_one(op, getattr(definitions, name) if name in dir(definitions) else None))
    return found


def in_words(results: list[Result]) -> str:
    """What these results prove, or what they do not, in a sentence or two."""
    failed = [r.name for r in results if not r.passed]
    if failed:
        return (f"{len(failed)} of {len(results)} {'does' if len(failed) == 1 else 'do'} not hold: "
                f"{', '.join(failed)}.")

    def worst(field):
        return max((getattr(r, field) for r in results if getattr(r, field) is not None), default=None)

    operators = sum(r.family != "models" for r in results)
    models = len(results) - operators
    counted = [f"{n} {what}{'s' * (n != 1)}" for n, what in ((operators, "operator"), (models, "model")) if n]
    words = [f"{' and '.join(counted)} {'holds' if len(results) == 1 else 'hold'}."]
    if worst("forward_error") is not None:
        words.append(f"Each operator equals its definition, written index by index and sharing no code with it, "
                     f"to {worst('forward_error'):.0e}.")
    words.append(f"Each gradient equals a finite difference to {worst('gradient_error'):.0e}; "
                 f"float32 stays within {worst('float32_error'):.0f} units of its rounding.")
    return " ".join(words)


def verify_one(op: Any, definition: Any = None, seeds: Iterable[int] = SEEDS) -> Result:
    """Result of one operator.  Whatever goes wrong in it is a problem of its, not an exception of ours."""
    worst: dict[str, float] = {}
    problems: dict[str, str] = {}                       # of each law, the first
    family = catalogue.family_of(op)
    if definition is None and family != "models":
        problems["definition"] = "it has no definition to be compared with"
    with np.errstate(all="ignore"):
        for seed in seeds:
            for law in (_forward, _gradient, _float32):
                try:
                    rng = np.random.default_rng(seed)
                    args, options = op.example(rng)
                    errors, problem = law(op, definition, gradcheck.given(args), options, rng)
                    for key, error in errors.items():
                        worst[key] = max(error, worst.get(key, 0.0), key=_nan_is_worst)
                except Exception as error:
                    problem = _line(error)
                if problem:
                    problems.setdefault(law.__name__, problem)
        try:
            forward_us, backward_us = times(op)
        except Exception as error:
            forward_us = backward_us = None
            problems["times"] = _line(error)
    return Result(gradcheck.name_of(op), family, worst.get("forward"), worst.get("gradient"), worst.get("float32"),
                  worst.get("limit"), forward_us, backward_us, not problems, tuple(dict.fromkeys(problems.values())))


def _forward(op, definition, args, options, rng):
    """The largest deviation of the output from the definition."""
    if definition is None:
        return {}, None
    y, _ = op.forward(*args, **options)
    wanted = definition.forward(*args, **options)
    error = max(deviation(got, want) for got, want in zip(tree.leaves(y), tree.leaves(wanted), strict=True))
    problem = None if error <= FORWARD else f"forward is not what the definition says: off by {error:.2g}"
    return {"forward": error}, problem


def _gradient(op, definition, args, options, rng):
    """The largest deviation of a gradient from a finite difference, and every other law of a backward."""
    *_, dy, grads = gradcheck.call(op, args, options, rng)
    found = gradcheck.laws(op, args, options, dy, grads, rng)
    worst = max(found, key=lambda law: _nan_is_worst(law.error))
    if not worst.error <= GRADIENT:
        return {"gradient": worst.error}, (
            f"the gradient of {worst.argument} is not the derivative: along a random direction "
            f"{worst.analytic:.6g}, by finite differences {worst.numeric:.6g}")
    try:
        gradcheck.check(op, args, options, rng, rtol=GRADIENT)
    except AssertionError as broken:
        return {"gradient": worst.error}, _line(broken)
    return {"gradient": worst.error}, None


def _float32(op, definition, args, options, rng):
    """The largest deviation of float32 from float64 in units of rounding, and the largest that is honest."""
    # The same numbers in both precisions: what rounding them cost is not the operator's doing.
    args32, options32 = tree.cast(args, np.float32), gradcheck.cast_options(options, np.float32)
    args64, options64 = tree.cast(args32, np.float64), gradcheck.cast_options(options32, np.float64)
    y, _ = op.forward(*args64, **options64)
    dy32 = tree.map(lambda u: np.asarray(rng.normal(size=u.shape), np.float32), y)
    dy64 = tree.cast(dy32, np.float64)

    exact = _results(op, args64, options64, dy64)
    rounded = _results(op, args32, options32, dy32)
    moved = [_results(op, *nudged(args64, options64, dy64, rng)) for _ in range(3)]

    error, limit, closest = 0.0, 0.0, -1.0
    for i, truth in enumerate(exact):
        scale = max((float(np.abs(u).max()) for u in truth if u.size), default=0.0) * EPS32 or 1.0
        off = max((difference(a, b) / scale for a, b in zip(rounded[i], truth, strict=True)), default=0.0)
        moves = max((difference(a, b) / scale for m in moved for a, b in zip(m[i], truth, strict=True)), default=0.0)
        allowed = FLOAT32 * (1 + moves)
        if not off / allowed <= closest:
            error, limit, closest = off, allowed, off / allowed
    problem = None if error <= limit else (
        f"float32 loses too much: off by {error:.3g} units of rounding where {limit:.3g} are honest")
    return {"float32": error, "limit": limit}, problem


def _results(op, args, options, dy):
    """[[arrays of the output], [arrays of the first gradient], …]"""
    y, cache = op.forward(*args, **options)
    return [tree.leaves(part) for part in (y, *op.backward(dy, cache))]


def nudged(args, options, dy, rng):
    """Every floating-point number of them moved by at most one unit of float32's rounding, at random."""

    def nudge(a):
        if not np.issubdtype(a.dtype, np.floating):
            return a
        return a * (1 + EPS32 * rng.uniform(-1, 1, a.shape))

    options = {k: tree.map(nudge, v) if tree.is_leaf(v) else v for k, v in options.items()}
    return tree.map(nudge, args), options, tree.map(nudge, dy)


def times(op):
    """Microseconds of one forward and one backward at the example, the fastest of as many as TIMED allows."""
    args, options = op.example(np.random.default_rng(0))
    y, cache = op.forward(*args, **options)
    dy = tree.map(np.ones_like, y)
    return (fastest(lambda: op.forward(*args, **options)), fastest(lambda: op.backward(dy, cache)))


def fastest(call, seconds=TIMED):
    best, end = np.inf, time.perf_counter() + seconds
    while True:
        start = time.perf_counter()
        call()
        now = time.perf_counter()
        best = min(best, now - start)
        if now >= end:
            return best * 1e6


def deviation(got, wanted):
    """The largest difference of two arrays, relative to the largest number of the second."""
    got, wanted = np.asarray(got), np.asarray(wanted)
    scale = float(np.abs(np.where(np.isfinite(wanted), wanted, 0)).max(initial=0.0))
    return difference(got, wanted) / (scale or 1.0)


def difference(got, wanted):
    """The largest difference of two arrays; infinite where shapes differ, or one is not a number and the other is."""
    if np.shape(got) != np.shape(wanted):
        return np.inf
    with np.errstate(all="ignore"):
        same = (got == wanted) | (np.isnan(got) & np.isnan(wanted))
        apart = np.where(same, 0.0, np.abs(np.asarray(got, float) - np.asarray(wanted, float)))
    return float(np.where(np.isnan(apart), np.inf, apart).max(initial=0.0))


def _nan_is_worst(error):
    return np.inf if np.isnan(error) else error


def _line(error):
    """An exception in one line; of an assertion, its message."""
    text = str(error).strip().splitlines()
    name = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
    return name + (text[0] if text else type(error).__name__)
