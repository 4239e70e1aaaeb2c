"""What a function gave back, sorted: its output, what it kept for the gradient, the gradients.

Accepted of an operator with one output: y;  (y,);  (y, cache);  (y, weights);  {"y": y, "p": p};  a record of such
fields.  Of one with several: (h, c);  ((h, c), cache);  (h, (h, c)) is too long.  All else is a Problem that says why.
"""

from collections.abc import Sequence
from dataclasses import fields as fields_of
from dataclasses import is_dataclass
from typing import Any, NamedTuple

from .adapt import RETURNED, Broken, folded
from .frameworks import Numpy
from .records import Problem, Spec

DEPTH = 3                                   # of records in records, when intermediates are looked for


class Output(NamedTuple):
    """What forward gave back, as the framework's arrays."""

    leaves: list[Any]
    kept: Any = None                        # what backward wants
    inner: dict[str, Any] = {}              # intermediates by name


def part_name(i: int) -> str:
    """y, y1, y2 …: how the parts of an output are called in Problems and Answers."""
    return f"y{i or ''}"


def read_output(value: Any, framework: Numpy, spec: Spec, name: str) -> Output:
    """Sort what forward gave back.  Raises Broken."""
    n = len(spec.outputs)
    if value is None:
        raise Broken("missing", f"{name} returned None: a return is missing", "y")
    if framework.owns(value):
        found = Output([value])
    elif (fields := _fields(value)) is not None and (chosen := _by_name(fields, spec)) is not None:
        rest = {key: part for key, part in fields.items() if all(part is not leaf for leaf in chosen)}
        found = Output(chosen, rest or None, rest)
    elif isinstance(value, (tuple, list)):
        found = _by_place(value, framework, n, spec, name)
    elif fields is not None:
        raise Broken("missing", f"{name} returned a {_kind(value)} of {', '.join(fields) or 'nothing'}: none is called "
                     f"{' or '.join(dict.fromkeys((*spec.outputs, 'y')))}", "y")
    else:
        raise Broken("dtype", f"{name} returned a {_kind(value)}, not a {framework.array_type}", "y")
    if len(found.leaves) != n:
        raise Broken("missing", f"{name} returned {_count(len(found.leaves), 'array')}; {spec.op} has {n} outputs", "y")
    for i, leaf in enumerate(found.leaves):
        part = part_name(i)
        if not framework.owns(leaf):
            raise Broken("dtype", f"{part} is a {_kind(leaf)}, not a {framework.array_type}", part)
        if why := framework.refused(leaf):
            raise Broken("dtype", f"{part} {why}", part)
    leaves = [framework.plain(leaf) for leaf in found.leaves]
    return found._replace(leaves=leaves, inner=dict(_arrays(found.inner, framework)))


def _by_place(value: Sequence[Any], framework: Numpy, n: int, spec: Spec, name: str) -> Output:
    if not _holds_array(value, framework):
        what = f"a {_kind(value)} of {_content(value)}"
        raise Broken("dtype", f"{name} returned {what}, not a {framework.array_type}", "y")
    first = value[0]
    if n == 1:
        if len(value) > 2 and not hasattr(value, "_fields"):
            raise Broken("shape", f"{name} returned {len(value)} things; {spec.op} has one output, beside which one "
                         "other thing may be returned: (y, cache)", "y")
        kept = value[1] if len(value) == 2 else value if len(value) > 2 else None
        return Output([first], kept, _inner(kept, framework))
    if len(value) == 2 and isinstance(first, (tuple, list)) and not framework.owns(value[1]) and len(first) == n:
        return Output(list(first), value[1], _inner(value[1], framework))
    arrays = [part for part in value if framework.owns(part)]
    if len(value) == n + 1 and not framework.owns(value[-1]):
        return Output(list(value[:-1]), value[-1], _inner(value[-1], framework))
    if len(value) > n:
        raise Broken("shape", f"{name} returned {len(value)} things; {spec.op} has {n} outputs", "y")
    return Output(arrays if len(arrays) < n else list(value))


def _by_name(fields: dict[str, Any], spec: Spec) -> list[Any] | None:
    """The outputs among named things, if all are there."""
    if len(spec.outputs) > 1:
        for names in (spec.outputs, [part_name(i) for i in range(len(spec.outputs))]):
            if all(name in fields for name in names):
                return [fields[name] for name in names]
        return None
    for name in dict.fromkeys((*spec.outputs, *RETURNED)):
        if name in fields:
            return [fields[name]]
    return list(fields.values()) if len(fields) == 1 else None


def _inner(kept: Any, framework: Numpy) -> dict[str, Any]:
    if framework.owns(kept):
        return {"weights": kept}
    return _fields(kept) or {}


def _fields(value: Any) -> dict[str, Any] | None:
    """The named parts of a record; None of anything else."""
    if isinstance(value, dict):
        return {key: part for key, part in value.items() if isinstance(key, str)}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return dict(zip(value._fields, value))
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields_of(value)}
    return None


def _arrays(fields: dict[str, Any], framework: Numpy, path: str = "", depth: int = DEPTH) -> list[tuple[str, Any]]:
    """("gate.x", array) for every array in records of records."""
    found: list[tuple[str, Any]] = []
    for name, part in fields.items():
        if framework.owns(part) and type(part) is not float and not framework.refused(part):
            found.append((path + name, framework.plain(part)))
        elif depth and (below := _fields(part)):
            found += _arrays(below, framework, f"{path}{name}.", depth - 1)
    return found


def read_gradients(value: Any, framework: Numpy, spec: Spec, name: str, order: Sequence[str], given: Sequence[str],
                   called: dict[str, str]) -> tuple[dict[str, Any], list[Problem]]:
    """The gradients by the operator's names, and what is wrong with single ones.  Raises Broken where all are lost.

    order   the arguments that the function takes, as its own parameters are ordered
    given   those that it got
    called  operator's name: the function's own
    """
    wanted = [n for n in order if n in given]
    listed = ", ".join(wanted)
    if value is None:
        raise Broken("missing", f"{name} returned None: a return is missing")
    fields = _fields(value)
    if framework.owns(value):
        parts = [value]
    elif fields is not None and (named := _gradients_by_name(fields, wanted, called)):
        parts = [named.get(n) for n in wanted]
    elif isinstance(value, (tuple, list)):
        if value and all(part is not None and not _holds_array([part], framework) for part in value):
            what = f"a {_kind(value)} of {_content(value)}"
            raise Broken("dtype", f"{name} returned {what}, not of {framework.array_type}s")
        parts = list(value)
        if len(parts) == len(order) > len(wanted):
            parts = [part for n, part in zip(order, parts) if n in wanted]
        while len(parts) > len(wanted) and parts[-1] is None:
            parts.pop()
    elif fields is not None:
        raise Broken("missing", f"{name} returned a {_kind(value)} of {', '.join(fields) or 'nothing'}; it is asked "
                     f"for {', '.join('d' + n for n in wanted)}")
    else:
        raise Broken("dtype", f"{name} returned a {_kind(value)}, not {framework.array_type}s")
    if len(parts) != len(wanted):
        kind = "missing" if len(parts) < len(wanted) else "shape"
        raise Broken(kind, f"{name} returned {_count(len(parts), 'gradient')}; it was given "
                     f"{_count(len(wanted), 'argument')}: {listed}")
    grads: dict[str, Any] = {}
    problems = []
    for n, part in zip(wanted, parts):
        if part is None:
            problems.append(Problem("missing", f"{name} has no gradient of {n}", f"d{n}"))
        elif not framework.owns(part):
            problems.append(Problem("dtype", f"d{n} is a {_kind(part)}, not a {framework.array_type}", f"d{n}"))
        elif why := framework.refused(part):
            problems.append(Problem("dtype", f"d{n} {why}", f"d{n}"))
        else:
            grads[n] = framework.plain(part)
    return grads, problems


def _gradients_by_name(fields: dict[str, Any], wanted: Sequence[str], called: dict[str, str]) -> dict[str, Any]:
    found = {}
    keys = {folded(key): part for key, part in fields.items()}
    for n in wanted:
        for own in (n, called.get(n, n)):
            for key in (f"d{own}", own, f"grad{own}", f"{own}grad"):
                if n not in found and folded(key) in keys:
                    found[n] = keys[folded(key)]
    return found


def _holds_array(value: Sequence[Any], framework: Numpy) -> bool:
    for part in value:
        if framework.owns(part) and type(part) is not float:
            return True
        if isinstance(part, (tuple, list)) and _holds_array(part, framework):
            return True
        if not isinstance(part, (tuple, list, str, bytes, int, float, complex, type(None))):
            return True                     # something else, which is named when it is looked at
    return False


def _content(value: Sequence[Any]) -> str:
    if not value:
        return "nothing"
    inside = {list: "lists", tuple: "tuples", str: "strings", bytes: "bytes", type(None): "None"}
    return inside.get(type(value[0]), "numbers")


def _kind(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"
