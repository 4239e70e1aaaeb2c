"""Are the GPU kernels what the references say?

    for row in verify(place="host"):            # or "cuda"; every twin, version and dtype, at its example
        print(row.name, row.version, row.dtype, row.worst)

A twin is run forward and backward; its output, every floating-point field of its cache and every gradient are held to
the running error bound of the reference (`tolerance.bounds`) for the precision at hand, element by element.  Errors
are told as parts of that bound: 1 is the limit, and no kernel has a tolerance of its own.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from visattn import gpu, ops, tree
from visattn._extras import need
from visattn.check.tolerance import Within, bounds
from visattn.gpu import _device, _twin

FLOATS = ("float32", "float64", "float16", "bfloat16")


class Part(NamedTuple):
    """One array of what a twin gave, beside what it should be."""

    name: str                   # "y", "cache.p", "dq"
    worst: float                # the largest error, in bounds; inf where the shape or a NaN is wrong
    says: str                   # where, and what stands there; empty where it holds


class Row(NamedTuple):
    """One version of one twin in one precision."""

    name: str
    version: int
    dtype: str
    worst: float
    parts: tuple[Part, ...]
    problem: str                # what went wrong, empty where it holds


def plan(names: Iterable[str] | None = None, place: str = "cuda") -> list[tuple[str, int, str]]:
    """[(operator, version, dtype)] of what `place` can run of these twins, or of all; LookupError for a name that has
    no twin."""
    chosen = gpu.twins() if names is None else tuple(names)
    for name in chosen:
        if name not in gpu.twins():
            raise LookupError(f"{name} has no kernels of its own; {', '.join(gpu.twins())} have")
    return [(name, version, dtype) for name in chosen for version in runs_at(name, place)
            for dtype in dtypes_of(name, version)]


def verify(names: Iterable[str] | None = None, *, place: str, progress: Callable[[str], None] = lambda name: None,
           seed: int = 0) -> list[Row]:
    """[Row] of every version and dtype of these twins, or of all, each at its example.  Raises NoDevice where `place`
    cannot be."""
    rows = []
    with gpu.use(place):
        for name, version, dtype in plan(names, place):
            progress(f"{name} v{version} {dtype}")
            rows.append(verify_one(name, version, dtype, place, seed))
    return rows


def verify_one(name: str, version: int, dtype: str, place: str, seed: int = 0) -> Row:
    """One version at the example; whatever goes wrong in it is its problem, not an exception of ours."""
    try:
        args, options = getattr(ops, name).example(np.random.default_rng(seed))
        parts = tuple(compare(name, args, options, version=version, place=place, dtype=dtype, seed=seed)[0])
    except Exception as error:
        return Row(name, version, dtype, np.inf, (), f"{type(error).__name__}: {str(error).splitlines()[0]}")
    worst = max(parts, key=lambda part: part.worst)
    return Row(name, version, dtype, worst.worst, parts, "" if worst.worst <= 1 else f"{worst.name}: {worst.says}")


def runs_at(name: str, place: str) -> list[int]:
    """The versions of a twin that `place` runs."""
    twin = getattr(gpu, name)
    has_v1 = _twin.has_v1(twin.__name__)
    return {"simulator": [1] if has_v1 else [], "host": list(range(2, twin.SHIPS + 1)),
            "cuda": [0, *([1] if has_v1 else []), *range(2, twin.SHIPS + 1)]}[place]


def dtypes_of(name: str, version: int) -> tuple[str, ...]:
    """What a version takes."""
    return ("float32",) if version < 2 else tuple(getattr(gpu, name).forward.dtypes)


def compare(name: str, args: Sequence[Any], options: dict[str, Any] | None = None, *, version: int | None, place: str,
            dtype: str = "float32", turn: int = 0, checked: bool = False, seed: int = 0) -> tuple[list[Part], Any]:
    """([Part], (y, cache, grads)): a twin at these arguments of the reference.

    args        float64; what `dtype` cannot hold is rounded to it first
    turn        the order of threads and blocks in the host build
    checked     in the checked host build, which raises KernelFault where a rule of CUDA is broken
    """
    op, twin, options = getattr(ops, name), getattr(gpu, name), dict(options or {})
    rng = np.random.default_rng(seed)
    args = cast(cast(tuple(args), dtype), "float64")
    y, _ = op.forward(*args, **options)
    dy = cast(cast(tree.map(lambda a: np.asarray(rng.normal(size=a.shape)), y), dtype), "float64")
    expected = bounds(op, args, options, dy, precision=dtype)
    kept = bounds(_with_cache(op), args, options, precision=dtype, all_ways=False).y[len(tree.leaves(y)):]

    with running(place, turn, checked):
        given = [on_device(cast(t, dtype), place) for t in (args, dy)]
        y, cache = twin.forward(*given[0], **{k: on_device(v, place) for k, v in options.items()}, version=version)
        grads = twin.backward(given[1], cache, version=version)
        y, grads = (tree.map(off_device, t) for t in (y, grads))
    if type(cache) is not op.Cache:
        raise TypeError(f"{name}: the cache is a {type(cache).__name__} of {type(cache).__module__}")
    parts = [_part(f"y{_number(i, expected.y)}", a, w) for i, (a, w) in enumerate(_zip(tree.leaves(y), expected.y))]
    parts += [_part(f"cache.{field}", off_device(a), w) for (field, a), w in _zip(list(floating(cache)), kept)]
    for (which, leaves), g in _zip(list(expected.grads.items()), list(grads)):
        parts += [_part(f"{which}{_number(i, leaves)}", a, w) for i, (a, w) in enumerate(_zip(tree.leaves(g), leaves))]
    return parts, (y, cache, grads)


def running(place: str, turn: int = 0, checked: bool = False) -> Any:
    """Kernels at `place`, threads in the order `turn`, checked or not."""
    return _device.launching(place=place, turning=turn, checking=checked)


def cast(t: Any, dtype: str) -> Any:
    """A tree with its floating-point arrays in this precision; bfloat16 is that of ml_dtypes."""
    kind = need("ml_dtypes", "proofs").bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    return tree.map(lambda a: np.asarray(a).astype(kind) if str(a.dtype) in FLOATS else a, t)


def on_device(t: Any, place: str) -> Any:
    if place != "cuda":
        return t
    cupy = need("cupy", "gpu")
    return tree.map(cupy.asarray, t) if hasattr(t, "shape") or isinstance(t, tuple) else t


def off_device(a: Any) -> Any:
    return a.get() if hasattr(a, "get") else np.asarray(a)


def floating(cache: Any) -> Iterator[tuple[str, Any]]:
    """("p", array) for every floating-point array of a cache, and of the caches inside it."""
    for field, value in zip(cache._fields, cache):
        if hasattr(value, "_fields"):
            yield from ((f"{field}.{path}", leaf) for path, leaf in floating(value))
        elif hasattr(value, "dtype") and str(value.dtype) in FLOATS:
            yield field, value


def _with_cache(op: Any) -> ModuleType:
    """The operator with the floating-point fields of its cache as further outputs."""
    def forward(*args: Any, **options: Any) -> Any:
        y, cache = op.forward(*args, **options)
        return (y, [leaf for _, leaf in floating(cache)]), cache

    changed = ModuleType(op.__name__)
    vars(changed).update(vars(op))
    changed.forward = forward                                       # type: ignore[attr-defined]
    return changed


def _part(name: str, theirs: Any, expected: Within) -> Part:
    theirs, (value, error) = np.asarray(theirs, np.float64), expected
    if theirs.shape != value.shape:
        return Part(name, np.inf, f"shape {theirs.shape} instead of {value.shape}")
    with np.errstate(all="ignore"):
        off = np.abs(theirs - value) / error
    off = np.where((theirs == value) | (np.isnan(theirs) & np.isnan(value)), 0, off)
    off = np.where(np.isnan(off), np.inf, off)
    if not off.size:
        return Part(name, 0.0, "")
    at = tuple(int(i) for i in np.unravel_index(off.argmax(), off.shape))
    worst = float(off[at])
    says = "" if worst <= 1 else (f"{int((off > 1).sum())} of {off.size} elements off, the worst at {at}: {theirs[at]} "
                                  f"instead of {value[at]} ± {error[at]:.2g}")
    return Part(name, worst, says)


def _zip(theirs: list[Any], ours: list[Any]) -> Iterable[Any]:
    if len(theirs) != len(ours):
        raise ValueError(f"{len(theirs)} arrays instead of {len(ours)}")
    return zip(theirs, ours)


def _number(i: int, leaves: Sequence[Any]) -> str:
    return f"[{i}]" if len(leaves) > 1 else ""
