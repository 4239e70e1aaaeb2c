"""A variant of each exercise for each student, from the name under which it is handed in.

    mine = of("hw1", "ada", ["attention", "squeeze_excite"])
    mine["attention"]       {"options": {"causal": "bottom_right", "scale": 0.25}, "axes": {"q": [-1, -2], …}, …}

What varies is read off an operator's signature: options that have several sensible values, and the order of axes, as it
differs between libraries: channels last as in keras, weights from inputs to outputs, features before tokens.  The
reference is the same for all: an answer is called through `adapted`, which moves axes on the way in and out.
"""

import functools
import inspect
import typing
from collections.abc import Callable, Sequence
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from visattn import ops
from visattn.check.cases import Integers, batch_axes
from visattn.check.tolerance import arguments_of

# Values worth asking for, where a signature does not list them, or lists some that change how much there is to do.
# None is the operator's own rule, such as 1/√D.
VALUES: dict[str, tuple[Any, ...]] = {"scale": (None, 0.25, 0.5, 1.5), "softcap": (None, 2.0, 5.0), "axis": (-1, 0, 1),
                                      "eps": (1e-5, 1e-3, 1e-2), "label_smoothing": (0.0, 0.1, 0.25),
                                      "mode": (), "form": ()}
LAST, OUT, TOKENS = [1, -1], [-1, -2], [-1, -2]             # as np.moveaxis takes them
WORDS = {"channels": "channels come last: (N, H, W, C)", "weights": "weights go from inputs to outputs: (in, out)",
         "tokens": "features come before tokens: (…, features, tokens)"}


class Choices(NamedTuple):
    """What may vary in one operator."""

    options: dict[str, tuple[Any, ...]]
    orders: dict[str, dict[str, list[int]]]                 # "channels": {"x": [1, -1], "y": [1, -1]}

    @property
    def number(self) -> int:
        return int(np.prod([len(v) for v in self.options.values()], initial=1)) * 2 ** len(self.orders)


@cache
def choices(op: ModuleType) -> Choices:
    """The options and orders of axes that may differ from student to student."""
    options, shapes = {}, {}
    signature = inspect.signature(op.forward)
    for p in signature.parameters.values():
        if p.kind is p.KEYWORD_ONLY:
            values = _values(p)
            if len(values) > 1:
                options[p.name] = values
        else:
            shapes[p.name] = [axis.lstrip("#") for axis in batch_axes(p.annotation)]
    returned = typing.get_args(signature.return_annotation)
    several = bool(returned) and typing.get_origin(returned[0]) is tuple            # outputs, whose axes stay
    shapes["y"] = [] if several else [axis.lstrip("#") for axis in batch_axes(returned[0] if returned else None)]
    orders: dict[str, dict[str, list[int]]] = {"channels": {}, "weights": {}, "tokens": {}}
    for name, axes in shapes.items():
        if len(axes) == 4 and axes[1] in ("C", "O") and axes[2][:1] in ("H", "P"):
            orders["channels"][name] = LAST
        elif len(axes) == 2 and name.startswith("w"):
            orders["weights"][name] = OUT
        elif len(axes) >= 2 and axes[-2] in ("T", "S") and axes[-1] in ("D", "E", "I", "C", "O"):
            orders["tokens"][name] = TOKENS
    return Choices(options, {kind: moved for kind, moved in orders.items() if moved})


def _values(p: inspect.Parameter) -> tuple[Any, ...]:
    if p.name in VALUES:
        return VALUES[p.name]
    parts = typing.get_args(p.annotation) if typing.get_origin(p.annotation) is not typing.Literal else (p.annotation,)
    literal = next((a for a in (*parts, p.annotation) if typing.get_origin(a) is typing.Literal), None)
    if literal is not None:
        return (*typing.get_args(literal), *([None] if type(None) in parts else []))
    return (False, True) if p.annotation is bool else ()


def fixed(op: ModuleType) -> tuple[str, ...]:
    """The options that are no arguments of an answer, because they belong to its variant."""
    return tuple(choices(op).options)


def of(assignment: str, student: str, names: typing.Iterable[str]) -> dict[str, dict[str, Any]]:
    """{operator: {"options": …, "axes": …, "seed": …}} of one student; letters' case and spaces around do not count."""
    who = student.strip().casefold()
    if not who:
        raise ValueError('student must be the name or number under which you hand in; got ""')
    found = {}
    for name in names:
        can, rng = choices(getattr(ops, name)), Integers(assignment, who, name)
        options = {key: values[rng.integers(len(values))] for key, values in can.options.items()}
        chosen = [moved for moved in can.orders.values() if rng.integers(2)]
        axes = {key: list(way) for moved in chosen for key, way in moved.items()}
        found[name] = {"options": options, "axes": axes, "seed": rng.integers(2**31)}
    return found


def told(op: str, variant: dict[str, Any]) -> list[tuple[str, str]]:
    """[(what, how)]: a student's variant in words, with the shapes of an example."""
    can, axes = choices(getattr(ops, op)), variant["axes"]
    rows = [(key, repr(value)) for key, value in variant["options"].items()]
    for kind, moved in can.orders.items():
        if moved.keys() & axes.keys():
            rows.append((kind, WORDS[kind]))
    args, _, y = example(op, variant)
    rows += [(name, f"{tuple(a.shape)}, for example") for name, a in args.items()]
    return [*rows, ("y", f"{tuple(y.shape)}, then")] if hasattr(y, "shape") else rows


def example(op: str, variant: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], Any]:
    """(arguments, options that are still arguments, the right output) of an example in a student's order of axes."""
    module, rng = getattr(ops, op), Integers(variant["seed"], op)
    drawn, options = module.example(rng)
    drawn, options = tuple(drawn), {k: v for k, v in options.items() if k not in variant["options"]}
    try:
        other = resized(module, drawn, options, rng)
        y, _ = module.forward(*other[0], **other[1], **variant["options"])
        drawn, options = other
    except (TypeError, ValueError):                                 # not every size goes with every option
        y, _ = module.forward(*drawn, **options, **variant["options"])
    args = {n: moved(variant["axes"], n, a, 1) for n, a in zip(arguments_of(module), drawn) if a is not None}
    return args, options, moved(variant["axes"], "y", y, 1)


def resized(op: ModuleType, args: tuple[Any, ...], options: dict[str, Any],
            rng: Integers) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """An example with axes of other sizes, up to two longer: what is longer begins again."""
    sizes: dict[str, int] = {}
    parameters = inspect.signature(op.forward).parameters

    def grown(name: str, a: Any) -> Any:
        if not hasattr(a, "shape"):
            return a
        axes = [axis.lstrip("#") for axis in batch_axes(parameters[name].annotation)]
        for i, axis in enumerate(reversed(axes), 1):
            if len(axis) == 1 and axis.isalpha() and i <= a.ndim and a.shape[-i] > 1:
                n = sizes.setdefault(axis, a.shape[-i] + rng.integers(3))
                a = a.take(np.arange(n) % a.shape[-i], axis=-i)
        return a

    return (tuple(grown(n, a) for n, a in zip(arguments_of(op), args)),
            {name: grown(name, value) for name, value in options.items()})


def moved(axes: dict[str, list[int]], name: str, a: Any, way: int) -> Any:
    """An array in a student's order of axes, or with way = -1 back in the reference's."""
    return a if a is None or name not in axes else np.moveaxis(a, *axes[name][::way])


def adapted(names: Sequence[str], axes: dict[str, list[int]], forward: Callable[..., Any],
            backward: Callable[..., Any] | None) -> tuple[Callable[..., Any], Callable[..., Any] | None]:
    """A student's two functions as the reference is called: axes are moved on the way in and out.

    This function stands alone, for its text is put beside an answer that runs elsewhere.
    """
    def turn(name: str, a: Any, way: int) -> Any:
        return a if a is None or name not in axes else np.moveaxis(a, *axes[name][::way])

    @functools.wraps(forward)
    def called(*args: Any, **options: Any) -> Any:
        mine = [turn(n, a, 1) for n, a in zip(names, args)]
        options = {n: turn(n, a, 1) if n in names else a for n, a in options.items()}
        answer = forward(*mine, **options)
        if not (isinstance(answer, tuple) and len(answer) == 2):
            return answer
        return turn("y", answer[0], -1), answer[1]

    if backward is None:
        return called, None

    @functools.wraps(backward)
    def differentiated(dy: Any, cache: Any) -> Any:
        grads = backward(turn("y", dy, 1), cache)
        if not isinstance(grads, (tuple, list)):
            return grads
        return tuple(turn(n, g, -1) for n, g in zip(names, grads))

    return called, differentiated
