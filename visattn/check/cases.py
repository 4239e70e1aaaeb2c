"""Cases: on which inputs an implementation is compared with the reference, and what each of them can catch.

    for case in cases(ops.attention, "float32"):
        print(case.name, "-", case.catches)

Some are general: draws of the operator's own `example`, and what tends to go wrong with any of them: tiny numbers,
large offsets, one channel that dwarfs the others, arrays that are not contiguous.  The others belong to the operator,
and stand with its mistakes (`CASES` in visattn/check/mistakes/…).

A case is made of integers alone: (operator, name, seed, precision) give the same numbers with any version of NumPy, and
every number is one that the precision can hold.  Inputs stay off kinks and ties, where derivatives are a matter of
convention, except in cases that are about them.
"""

import inspect
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from visattn import tree
from visattn.check import changes, memory
from visattn.check.precision import Precision, nearest
from visattn.check.precision import precision as named

DRAWS = 3               # of an operator's example
TRIES = 8               # draws of which one is off kinks and ties


class Case(NamedTuple):
    """Arguments, options and the cotangent of the output: float64 arrays of numbers that the precision can hold."""

    name: str
    catches: str
    seed: int
    args: tuple[Any, ...]
    options: dict[str, Any]
    dy: Any
    layout: str = "contiguous"              # how the function is given them: contiguous, strided, readonly


def cases(op: ModuleType, precision: str | Precision = "float32", seed: int = 0,
          names: Iterable[str] | None = None) -> list[Case]:
    """All cases of an operator in one precision, or those of these names; LookupError for a name that is none."""
    return list(_cases(op, named(precision), seed, None if names is None else tuple(names)))


@memory.remembered(lambda op, p, seed, names: (memory.key_of(op), p, seed, names))
def _cases(op: ModuleType, p: Precision, seed: int, names: tuple[str, ...] | None) -> tuple[Case, ...]:
    makers = general(op) | {maker.__name__: maker for maker in own(op)}
    for name in names or ():
        if name not in makers:
            raise LookupError(f"{name_of(op)} has no case {name!r}; it has {', '.join(makers)}")
    made = (make(op, makers[name], name, p, seed) for name in (makers if names is None else names))
    return memory.unwritable(tuple(case for case in made if case is not None))


def own(op: ModuleType) -> list[Callable[..., Any]]:
    """The operator's own cases: functions of rng, and of the precision if they ask for it."""
    return list(getattr(changes.listed(op.__name__), "CASES", ()))


def name_of(op: Any) -> str:
    return op.__name__.rpartition(".")[2]


def make(op: ModuleType, maker: Callable[..., Any], name: str, p: Precision, seed: int = 0) -> Case | None:
    """One case; None where its operator has nothing of the kind, or no draw of it is off its kinks."""
    general_one = getattr(maker, "general", False)
    for attempt in range(TRIES):
        rng = Integers(seed, name_of(op), name, attempt)
        wants = inspect.signature(maker).parameters
        with np.errstate(all="ignore"):
            drawn = maker(rng, p) if "precision" in wants else maker(rng)
            if drawn is None:
                return None
            args, options = fit(drawn[0], p), {k: fit(v, p) if tree.is_leaf(v) else v for k, v in drawn[1].items()}
            y, _ = op.forward(*args, **options)
            dy = cotangent(y, rng, p, getattr(maker, "scale", 1.0))
            if not general_one or smooth(op, args, options, dy, rng):
                catches = " ".join((maker.__doc__ or "").split())
                return Case(name, catches, seed, args, options, dy, getattr(maker, "layout", "contiguous"))
    return None


def smooth(op: Any, args: Any, options: Any, dy: Any, rng: Any) -> bool:
    """Does nothing jump when every number moves a little?"""
    before = _results(op, args, options, dy)
    ways = tree.map(lambda a: 1e-6 * (a * rng.uniform(-1, 1, size=a.shape) + 1e-3 * rng.normal(size=a.shape)), args)
    for sign in (1, -1):
        moved = tree.map(lambda a, way, sign=sign: a + sign * way, args, ways)
        for one, two in zip(before, _results(op, moved, options, dy), strict=True):
            scale = np.abs(np.where(np.isfinite(one), one, 0)).max(initial=0.0)
            if np.abs(np.where(np.isfinite(one - two), one - two, 0)).max(initial=0.0) > 1e-3 * scale + 1e-300:
                return False
    return True


def _results(op: Any, args: Any, options: Any, dy: Any) -> list[np.ndarray]:
    y, cache = op.forward(*args, **options)
    return [np.asarray(leaf) for leaf in (*tree.leaves(y), *tree.leaves(op.backward(dy, cache)))]


def cotangent(y: Any, rng: Any, p: Precision, scale: float = 1.0) -> Any:
    """A random dy for an output y."""
    return fit(tree.map(lambda u: scale * np.asarray(rng.normal(size=u.shape)), y), p)


def fit(t: Any, p: Precision) -> Any:
    """Every floating-point number of a tree to the nearest that the precision can hold, in float64."""
    return tree.map(lambda a: nearest(a, p) if a.dtype.kind == "f" else a, t)


# --- the general cases

def general(op: ModuleType) -> dict[str, Callable[..., Any]]:
    """{name: maker} of what is tried with every operator."""
    made: dict[str, Callable[..., Any]] = {}

    def case(name: str, catches: str, change: Callable[..., Any] = lambda args, options, rng: (args, options),
             layout: str = "contiguous", scale: float = 1.0) -> None:
        def maker(rng: Any) -> Any:
            args, options = op.example(rng)
            changed = change(tuple(args), options, rng)
            return changed if changed and takes(op, *changed) else None

        maker.__doc__, maker.general = catches, True                                    # type: ignore[attr-defined]
        maker.layout, maker.scale = layout, scale                                       # type: ignore[attr-defined]
        made[name] = maker

    for i in range(DRAWS):
        case(f"plain_{i}", "the operator's own example: sizes that all differ, gates that are open")
    case("bare", "nothing but what is required: what the defaults are", lambda a, o, rng: required(op, a, o))
    case("tiny", "numbers a thousand times smaller, with digits to the last: an ε in the wrong place, products that "
         "underflow, sums in coarser arithmetic", lambda a, o, rng: (first(a, lambda x: x / 1000), o), scale=1 / 3)
    case("offset", "a large common offset: variances by differences of squares, sums in low precision",
         lambda a, o, rng: (first(a, lambda x: x + 8), o))
    case("outlier", "one feature twenty times larger: errors that hide behind the largest number", _outlier)
    case("one", "a batch of one: axes that are mixed up or squeezed away",
         lambda a, o, rng: one_example(op, a, o))
    case("strided", "arrays that are not contiguous: strides that are taken for granted", layout="strided")
    case("readonly", "arrays that cannot be written: work done in the caller's memory", layout="readonly")
    return made


def required(op: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Arguments and options without those that have a default."""
    parameters = inspect.signature(op.forward).parameters.values()
    empty = inspect.Parameter.empty
    needed = {p.name for p in parameters if p.default is empty}
    keep = [p.name in needed for p in parameters if p.kind is not p.KEYWORD_ONLY][:len(args)]
    return (tuple(a for a, kept in zip(args, keep) if kept),
            {key: value for key, value in options.items() if key in needed})


def takes(op: Any, args: tuple[Any, ...], options: dict[str, Any]) -> bool:
    """Not every option can be left out by itself: the weights may be made for two groups."""
    try:
        op.forward(*args, **options)
    except (TypeError, ValueError):
        return False
    return True


def first(args: tuple[Any, ...], change: Callable[[Any], Any]) -> tuple[Any, ...]:
    return (tree.map(change, args[0]), *args[1:])


def _outlier(args: tuple[Any, ...], options: dict[str, Any], rng: Any) -> Any:
    def enlarge(x: Any) -> Any:
        x = x.copy()
        if x.ndim:
            x[(slice(None), 0) if x.ndim == 4 else (..., 0)] *= 20
        return x
    return first(args, enlarge), options


def one_example(op: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """The first example of a batch, by the axes N of the signature; None for an operator without a batch."""
    parameters = inspect.signature(op.forward).parameters
    kept = {}
    for name, value in [*zip(parameters, args), *options.items()]:
        axes = batch_axes(parameters[name].annotation) if tree.is_leaf(value) else []
        at = next((i for i, axis in enumerate(axes) if axis.lstrip("#") == "N"), None)
        kept[name] = value if at is None else value[(slice(None),) * at + (slice(0, 1),)]
    if all(np.shape(a) == np.shape(b) for a, b in zip(kept.values(), [*args, *options.values()]) if tree.is_leaf(b)):
        return None
    return tuple(kept[name] for name, _ in zip(parameters, args)), {key: kept[key] for key in options}


def batch_axes(annotation: Any) -> list[str]:
    """The axes of an annotation of an array, or of the first array in a choice."""
    for part in (annotation, *getattr(annotation, "__args__", ())):
        if hasattr(part, "dim_str"):
            return part.dim_str.split()
    return []


# --- numbers from integers

class Integers:
    """Random numbers as `numpy.random.Generator` gives them, but from a hash of integers: the same for ever.

    Multiples of 2⁻¹⁶ where they are not integers, which float32 holds exactly.
    """

    def __init__(self, *seeds: int | str) -> None:
        state = 0
        for seed in seeds:
            for number in [seed] if isinstance(seed, int) else seed.encode():
                state = int(mix(np.array([(state * 0x9E3779B97F4A7C15 + number + 1) % 2**64], np.uint64))[0])
        self.state = state

    def bits(self, n: int) -> np.ndarray:
        """n numbers of 64 bits: SplitMix64 (Steele, Lea & Flood, OOPSLA 2014)."""
        counts = np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(self.state)
        self.state = int(counts[-1]) if n else self.state
        return mix(counts)

    def random(self, size: Any = None) -> Any:
        """Uniform in [0, 1)."""
        return self._shaped(lambda n: (self.bits(n) >> np.uint64(48)).astype(float) / 2**16, size)

    def uniform(self, low: Any = 0.0, high: Any = 1.0, size: Any = None) -> Any:
        size = np.broadcast_shapes(np.shape(low), np.shape(high)) if size is None else size
        return low + (np.asarray(high) - low) * self.random(size or None)

    def normal(self, loc: Any = 0.0, scale: Any = 1.0, size: Any = None) -> Any:
        """The sum of twelve uniform numbers less six: mean 0, variance 1, never beyond ±6."""
        def draw(n: int) -> np.ndarray:
            twelve = (self.bits(12 * n) >> np.uint64(48)).reshape(n, 12)
            return twelve.sum(1).astype(float) / 2**16 - 6
        return loc + scale * self._shaped(draw, size)

    standard_normal = normal

    def integers(self, low: int, high: int | None = None, size: Any = None) -> Any:
        low, high = (0, low) if high is None else (low, high)
        drawn = self._shaped(lambda n: low + (self.bits(n) >> np.uint64(11)).astype(np.int64) % (high - low), size)
        return drawn if size is not None else int(drawn)

    def permutation(self, x: Any) -> np.ndarray:
        x = np.arange(x) if isinstance(x, (int, np.integer)) else np.asarray(x)
        return x[np.argsort(self.bits(len(x)), kind="stable")]

    def choice(self, a: Any, size: Any = None, replace: bool = True) -> Any:
        a = np.arange(a) if isinstance(a, (int, np.integer)) else np.asarray(a)
        if not replace:
            count = int(np.prod(size))
            return self.permutation(a)[:count].reshape(size)
        return a[self.integers(0, len(a), size=size)]

    @staticmethod
    def _shaped(draw: Callable[[int], np.ndarray], size: Any) -> Any:
        if size is None:
            return float(draw(1)[0])
        return draw(int(np.prod(size))).reshape(size)


def mix(z: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
