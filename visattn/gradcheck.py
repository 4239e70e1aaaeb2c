"""The laws that every backward obeys, checked at any size with two forward calls per argument.

    from visattn import gradcheck
    gradcheck.check(op, args, options)                        # a module with forward and backward
    gradcheck.check(Pair(my_forward, my_backward), args)      # or your own two functions

    transposed     for a random dy and a random direction v of each argument a,
                   ⟨dy, (y(a + εv) - y(a - εv)) / 2ε⟩ = ⟨da, v⟩
    counted        one gradient per positional argument given, of the same tree and shapes
    pure           neither arguments, nor dy, nor the cache are written; backward may be called twice
    linear         backward(dy - 2 dz) = backward(dy) - 2 backward(dz)
    dtype kept     float32 in, float32 out

*Check by projection, explain by table*: a failure shows which elements of the gradient differ, and by what factor.
The laws hold between a backward and *its own* forward; that the forward is right needs someone else's word.
"""

from typing import Any, NamedTuple

import numpy as np

from visattn import tree

SHOWN = 8               # rows of the element table
EXPLAINED = 4096        # elements of a gradient up to which the table is made


class Pair(NamedTuple):
    """Your own functions as an operator: `y, cache = forward(*args)`, `grads = backward(dy, cache)`."""

    forward: Any
    backward: Any


class Law(NamedTuple):
    """How well one gradient obeys ⟨dy, dy/da · v⟩ = ⟨da, v⟩: error relative to ‖da‖‖v‖."""

    argument: str
    numeric: float
    analytic: float
    error: float


def check(op, args, options=None, rng=None, *, eps=1e-6, rtol=1e-7):
    """Raise AssertionError unless op.backward obeys every law at (args, options); float64 arguments, off kinks.

    eps   step of the central difference
    rtol  error allowed, relative to ‖gradient‖ ‖direction‖

    Raises TypeError where an argument is not an array of float64, or forward does not return a pair.
    """
    args, options, rng = given(args), options or {}, np.random.default_rng(0) if rng is None else rng
    name = name_of(op)
    _, cache, dy, grads = call(op, args, options, rng)

    for law, a, da in zip(laws(op, args, options, dy, grads, rng, eps), args, grads):
        assert law.error <= rtol, (
            f"{name}: the gradient of {law.argument} is not the transposed derivative\n"
            f"  along a random direction: backward {law.analytic:.6g}, difference {law.numeric:.6g} "
            f"(error {law.error:.1e}, allowed {rtol:.0e})\n"
            + element_table(op, args, options, dy, law.argument, a, da, eps))

    for one, two in zip(tree.leaves(grads), tree.leaves(op.backward(dy, cache)), strict=True):
        assert np.array_equal(one, two, equal_nan=True), (
            f"{name}: backward called twice with one cache gives two answers: it writes to what it is given")
    dz = tree.map(lambda u: np.asarray(rng.normal(size=u.shape)), dy)
    both = op.backward(tree.map(lambda u, w: u - 2 * w, dy, dz), cache)
    for one, two, sum in zip(*map(tree.leaves, (grads, op.backward(dz, cache), both)), strict=True):
        size = np.abs(one).max(initial=0) + 2 * np.abs(two).max(initial=0)
        assert np.allclose(sum, one - 2 * two, rtol=0, atol=1e-11 * size), f"{name}: backward is not linear in dy"
    check_dtype(op, args, options)


def check_dtype(op, args, options=None):
    """Raise AssertionError unless float32 arguments give a float32 output, cache and gradients."""
    args, options = tree.cast(given(args), np.float32), cast_options(options or {}, np.float32)
    y, cache = forward(op, args, options)
    grads = op.backward(tree.map(lambda u: np.ones_like(u, np.float32), y), cache)
    for what, part in (("output", y), ("cache", cache), ("gradients", grads)):
        dtypes = {str(a.dtype) for a in _arrays(part) if np.issubdtype(a.dtype, np.floating)}
        assert dtypes <= {"float32"}, f"{name_of(op)}: float32 arguments, but {what} of dtype {', '.join(dtypes)}"


def given(args):
    """The arguments without the optional ones at the end that are None: these have no gradient."""
    args = tuple(args)
    while args and args[-1] is None:
        args = args[:-1]
    return args


def cast_options(options, dtype):
    """The options with their floating-point arrays in another precision."""
    return {k: tree.cast(v, dtype) if _arrays(v) else v for k, v in options.items()}


def _arrays(value):
    """Every array in a cache or an option, whatever else is there."""
    if tree.is_leaf(value):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (tuple, list)) else ()
    return [a for part in parts for a in _arrays(part)]


def call(op, args, options, rng):
    """(y, cache, dy, grads) of one forward and one backward for a random dy; all but counted and pure.

    Arguments and dy are read-only meanwhile, so the line that writes to one of them raises.
    """
    name, args = name_of(op), given(args)
    require_float64(op, args)
    originals = tree.map(lambda a: a.copy(), args)
    with frozen((args, {k: v for k, v in options.items() if tree.is_leaf(v)})):
        y, cache = forward(op, args, options)
        dy = tree.freeze(tree.map(lambda u: np.asarray(rng.normal(size=u.shape)), y))
        grads = op.backward(dy, cache)
    for i, (before, after) in enumerate(zip(tree.leaves(originals), tree.leaves(args), strict=True)):
        assert np.array_equal(before, after, equal_nan=True), f"{name} writes to its arguments (array {i})"
    assert isinstance(grads, tuple), f"{name}: backward returns a tuple of gradients; got {type(grads).__name__}"
    assert len(grads) == len(args), f"{name}: {len(args)} arguments but {len(grads)} gradients"
    for argument, a, da in zip(argument_names(op, args), args, grads):
        shapes = [[(path, u.shape) for path, u in tree.named_leaves(t)] for t in (a, da)]
        assert shapes[0] == shapes[1], (
            f"{name}: the gradient of {argument} has another shape than {argument}: {shapes[1]} for {shapes[0]}")
    return y, cache, dy, grads


def forward(op, args, options):
    """(y, cache); TypeError where forward returns something else."""
    answer = op.forward(*args, **options)
    if not isinstance(answer, tuple) or len(answer) != 2:
        raise TypeError(f"{name_of(op)}: forward must return the pair (y, cache); got {type(answer).__name__}")
    return answer


def require_float64(op, args):
    """TypeError where an argument is not float64: in fewer digits a finite difference is mostly rounding."""
    for argument, a in zip(argument_names(op, args), args):
        for path, leaf in tree.named_leaves(a, argument):
            if str(leaf.dtype) != "float64":
                raise TypeError(f"{name_of(op)}: {path} is {leaf.dtype}, and finite differences need float64: "
                                f"pass {path}.astype(np.float64)")


class frozen:
    """The arrays of a tree, read-only for the length of a `with`."""

    def __init__(self, t):
        self.leaves = [leaf for leaf in tree.leaves(t) if isinstance(leaf, np.ndarray)]

    def __enter__(self):
        self.flags = [leaf.flags.writeable for leaf in self.leaves]
        tree.freeze(self.leaves)

    def __exit__(self, *_):
        for leaf, flag in zip(self.leaves, self.flags, strict=True):
            if flag:
                leaf.setflags(write=True)


def laws(op, args, options, dy, grads, rng, eps=1e-6):
    """[Law] of every argument: the transposed derivative, by projection on one random direction each."""
    found = []
    for i, (argument, a, da) in enumerate(zip(argument_names(op, args), args, grads)):
        v = tree.map(lambda u: np.asarray(rng.normal(size=u.shape)), a)
        numeric = derivative(op, args, options, dy, i, v, eps)
        analytic = float(tree.dot(da, v))
        scale = float(tree.dot(da, da) * tree.dot(v, v)) ** 0.5
        # A gradient that is exactly zero is judged on an absolute scale: there is nothing to be relative to.
        found.append(Law(argument, numeric, analytic, abs(numeric - analytic) / (scale or 1.0)))
    return found


def derivative(op, args, options, dy, i, v, eps=1e-6):
    """⟨dy, ∂y/∂args[i] · v⟩ by a central difference."""

    def f(step):
        moved = tree.map(lambda u, w: u + step * w, args[i], v)
        return float(tree.dot(dy, op.forward(*args[:i], moved, *args[i + 1:], **options)[0]))

    return (f(eps) - f(-eps)) / (2 * eps)


def numeric_gradient(op, args, options, dy, i, eps=1e-6):
    """The gradient of args[i], element by element: exact in what it says, and two forward calls for each element."""
    zero = tree.map(np.zeros_like, args[i])
    numeric = tree.map(np.zeros_like, args[i])
    for e, out in zip(tree.leaves(zero), tree.leaves(numeric), strict=True):
        for where in np.ndindex(e.shape):
            e[where] = 1
            out[where] = derivative(op, args, options, dy, i, zero, eps)
            e[where] = 0
    return numeric


def element_table(op, args, options, dy, argument, a, da, eps):
    """Where the gradient differs from the finite difference, largest first, and whether one factor explains all."""
    if sum(u.size for u in tree.leaves(a)) > EXPLAINED:
        return f"  ({argument} has more than {EXPLAINED} elements: check a smaller example for the table of elements)"
    i = argument_names(op, args).index(argument)
    numeric = numeric_gradient(op, args, options, dy, i, eps)
    rows, total = [], 0
    largest = max((float(abs(u).max()) for u in tree.leaves(numeric) if u.size), default=0.0)
    for (path, n), g in zip(tree.named_leaves(numeric, argument), tree.leaves(da), strict=True):
        total += n.size
        for where in np.ndindex(n.shape):
            if not abs(n[where] - g[where]) <= 1e-6 * (largest + abs(n[where])):
                rows.append((f"{path}[{', '.join(map(str, where))}]", float(g[where]), float(n[where])))
    rows.sort(key=lambda row: -abs(row[1] - row[2]))
    lines = [f"  {'element':<24}{'backward':>14}{'difference':>14}{'factor':>10}"]
    for element, got, true in rows[:SHOWN]:
        lines.append(f"  {element:<24}{got:>14.6g}{true:>14.6g}{got / true if true else np.nan:>10.4g}")
    lines.append(f"  {len(rows)} of {total} elements differ" + (f", {SHOWN} shown" if len(rows) > SHOWN else ""))
    factors = {round(got / true, 4) for _, got, true in rows if true}
    if len(rows) > 1 and len(factors) == 1:
        lines.append(f"  all by one factor: backward is {factors.pop():g} times the derivative")
    return "\n".join(lines)


def name_of(op):
    name = getattr(op, "__name__", None) or getattr(op.forward, "__name__", type(op).__name__)
    return str(name).rpartition(".")[2]


def argument_names(op, args):
    """The names of the positional arguments, from the signature of forward: "x", "w1" …"""
    code = getattr(getattr(op.forward, "__wrapped__", op.forward), "__code__", None)
    if code is None:
        return [f"argument {i}" for i in range(len(args))]
    names = list(code.co_varnames[: code.co_argcount])
    return [names[i] if i < len(names) else f"argument {i}" for i in range(len(args))]
