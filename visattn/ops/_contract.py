"""The public door of an operator: its arguments are checked against its signature, its formula stays free of checks.

    @checked                            # types, dtypes and axes, as the signature declares them
    def forward(x: Float[Array, "N C H W"], w: Float[Array, "M C"], *, stride: int = 1): ...

    @checked(rules)                     # and what a signature cannot say; see `require`
    def forward(...): ...

Types that do not fit raise TypeError; shapes and values that do not fit raise ValueError; both name the
operator, the argument, what was expected and what came.  A combination of shapes and dtypes that once passed is
remembered, so a model that calls an operator a thousand times pays for the comparison once.
"""

import inspect
import types
import typing
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

import numpy as np
from jaxtyping import Bool, Float, Integer, _decorator, jaxtyped

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[Any]]
else:
    Array = Any                          # NumPy's, CuPy's, or any other array that NumPy's functions dispatch to

__all__ = ["Array", "Bool", "Float", "Integer", "checked", "require"]

DTYPES = ("float32", "float64")          # dtype in = dtype out
MAY_BE_EMPTY = {"N", "T", "S"}           # batch, queries, keys; so may the leading axes *B
PLAIN = {type(None), bool, int, float, str}
REMEMBERED = 4096                        # combinations of shapes per operator
WEIGHTS = Float[Array, "..."]            # of any shape

F = TypeVar("F", bound=Callable[..., Any])


def require(holds: Any, name: str, rule: str, value: Any) -> None:
    """Raise ValueError unless `holds`: "stride must be at least 1; got 0"."""
    if not holds:
        raise ValueError(f"{name} must {rule}; got {value}")


@overload
def checked(rules: Callable[..., None], /) -> Callable[[F], F]: ...
@overload
def checked(formula: F, /) -> F: ...


def checked(formula: Any, /) -> Any:
    """Decorate `forward` or `backward` with its door.  `@checked(rules)` also calls `rules`, a function of any of
    the same arguments by name, whose `require`s say what the signature cannot."""
    if formula.__name__ in ("forward", "backward"):
        return _door(formula, rules=None)
    return lambda f: _door(f, rules=formula)


def _door(formula: Callable[..., Any], rules: Callable[..., None] | None) -> Callable[..., Any]:
    signature = inspect.signature(formula)
    names, defaults = tuple(signature.parameters), {p.name: p.default for p in signature.parameters.values()}
    wanted = () if rules is None else tuple(inspect.signature(rules).parameters)
    operator = f"{formula.__module__.rpartition('.')[2]}.{formula.__name__}"
    passed: set[Any] = set()

    def admit(args: Any, options: Any, dtypes: tuple[str, ...] = DTYPES, hint: str = "") -> None:
        """Raise unless the arguments fit; `dtypes` of floating-point arrays, `hint` where they have another."""
        key = _key((dtypes, *args, tuple(options.items())))
        known = key in passed
        if known and rules is None:
            return
        try:
            bound = dict(zip(names, args), **options) if known else signature.bind(*args, **options).arguments
        except TypeError as error:
            raise TypeError(f"{operator}: {error}; its signature is {bare(signature)}") from None
        try:
            if not known:
                _check(signature, bound, dtypes, hint)
            if rules is not None:
                values = defaults | bound
                rules(*(values[name] for name in wanted))
        except (TypeError, ValueError) as error:
            raise type(error)(f"{operator}: {error}") from None
        if key is not None and len(passed) < REMEMBERED:
            passed.add(key)

    @wraps(formula)
    def door(*args: Any, **options: Any) -> Any:
        admit(args, options)
        return formula(*args, **options)

    door.admit = admit                                           # type: ignore[attr-defined]
    return door


def _key(value: Any) -> Any:
    """What a check of `value` depends on, as something hashable; None where that cannot be had."""
    kind = type(value)
    if kind in PLAIN:
        return kind, value
    if isinstance(value, tuple):
        parts = tuple(map(_key, value))
        return None if None in parts else (kind, parts)
    if hasattr(value, "shape"):
        return kind, value.shape, value.dtype
    if isinstance(value, (int, float, str)):
        return kind, value
    if isinstance(value, types.ModuleType):                      # the namespace of operators that a model takes
        return types.ModuleType, value.__name__
    return None


def _check(signature: inspect.Signature, arguments: dict[str, Any], dtypes: tuple[str, ...], hint: str) -> None:
    """Raise unless every argument is what the signature says; the axes' names bind across all of them."""
    expected = {name: p.annotation for name, p in signature.parameters.items()}
    # A cache comes first: it says what the axes are that dy must have.
    ordered = sorted(arguments.items(), key=lambda item: not _is_record(expected[item[0]]))
    seen: dict[str, tuple[Any, Any]] = {}
    with _axes_in_common():
        for name, value in ordered:
            _fit(name, value, expected[name], seen)
    came = {str(v.dtype): name for name, (v, a) in reversed(seen.items()) if _is_float(a)}
    for dtype, name in came.items():
        if dtype not in dtypes:
            raise TypeError(f"{name} must be a floating-point array of dtype {' or '.join(dtypes)}; "
                            f"got dtype {dtype}{hint}")
    if len(came) > 1:
        (one, first), (other, second) = list(came.items())[-2:][::-1]
        raise TypeError(f"{second} is {other} but {first} is {one}: give all floating-point arrays one dtype")


def _axes_in_common() -> AbstractContextManager[None]:
    """jaxtyped("context"), which would import JAX at its first call, to shorten JAX's tracebacks: half a second."""
    flag, _decorator._tb_flag = getattr(_decorator, "_tb_flag", False), False      # of its own, and not promised
    try:
        return jaxtyped("context")
    finally:
        _decorator._tb_flag = flag


def _fit(name: str, value: Any, annotation: Any, seen: dict[str, tuple[Any, Any]]) -> None:
    if annotation in (inspect.Parameter.empty, Any):
        return
    if isinstance(annotation, (types.UnionType, typing._UnionGenericAlias)):        # type: ignore[attr-defined]
        choices = typing.get_args(annotation)
        if value is None and type(None) in choices:
            return
        arrays = [choice for choice in choices if _is_array_type(choice)]
        if arrays:
            _fit(name, value, arrays[0], seen)
        elif not any(_is_plain(value, choice) for choice in choices):
            raise TypeError(f"{name} must be {_spell(annotation)}; got {_came(value)}")
    elif _is_array_type(annotation):
        _fit_array(name, value, annotation, seen)
    elif _is_record(annotation):
        if not isinstance(value, annotation):
            raise TypeError(f"{name} must be {_spell_record(annotation)}; got {_came(value)}")
        fields = typing.get_type_hints(annotation)
        for field in annotation._fields:
            part, its = getattr(value, field), fields.get(field, Any)
            if not _is_tree(its):
                _fit(f"{name}.{field}", part, its, seen)
            elif annotation.__name__ == "Params":
                _fit_tree(f"{name}.{field}", part, its, seen)
    elif typing.get_origin(annotation) is tuple and _has_arrays(annotation):
        parts = typing.get_args(annotation)
        if not isinstance(value, tuple) or len(value) != len(parts):
            raise TypeError(f"{name} must be a tuple of {len(parts)} arrays; got {_came(value)}")
        for i, (part, part_annotation) in enumerate(zip(value, parts)):
            _fit(f"{name}[{i}]", part, part_annotation, seen)
    elif typing.get_origin(annotation) is Literal:
        choices = typing.get_args(annotation)
        if not isinstance(value, (str, int, type(None))) or value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}; got {_came(value)}")
    elif not _is_plain(value, annotation):
        raise TypeError(f"{name} must be {_spell(annotation)}; got {_came(value)}")


def _fit_tree(name: str, value: Any, annotation: Any, seen: dict[str, tuple[Any, Any]]) -> None:
    """The weights of a part: built as declared, and floating-point arrays.  Its axes are its own, compared by the
    door of that part."""
    if isinstance(annotation, (types.UnionType, typing._UnionGenericAlias)):        # type: ignore[attr-defined]
        choices = typing.get_args(annotation)
        if value is None and type(None) in choices:
            return
        annotation = next((c for c in choices if _is_record(c) and isinstance(value, c)), annotation)
    if typing.get_origin(annotation) is tuple:
        if not isinstance(value, tuple):
            raise TypeError(f"{name} must be a tuple; got {_came(value)}")
        for i, part in enumerate(value):
            _fit_tree(f"{name}.{i}", part, typing.get_args(annotation)[0], seen)
    elif not _is_record(annotation) or not isinstance(value, annotation):
        raise TypeError(f"{name} must be {_spell_record(annotation)}; got {_came(value)}")
    else:
        fields = typing.get_type_hints(annotation)
        for field in annotation._fields:
            part, its = getattr(value, field), fields.get(field, Any)
            if _is_tree(its):
                _fit_tree(f"{name}.{field}", part, its, seen)
            elif part is not None or not _may_be_none(its):
                _fit_array(f"{name}.{field}", part, WEIGHTS, seen)


def _fit_array(name: str, value: Any, annotation: Any, seen: dict[str, tuple[Any, Any]]) -> None:
    axes = annotation.dim_str.split()
    kind = {Float: "a floating-point array", Bool: "a boolean array"}.get(_family(annotation), "an integer array")
    what = f"{kind} with axes ({', '.join(axes)})" if axes else f"{kind.replace('array', 'scalar')}"
    what = kind if axes == ["..."] else what
    if not axes and isinstance(value, float) and _is_float(annotation):
        return                                                   # backward(1.0, cache) of a loss
    # NumPy's own scalars are arrays of no axes; everything else must speak NumPy's dispatch protocol.
    if not (hasattr(value, "__array_function__") or isinstance(value, np.generic)):
        hint = "; pass a NumPy array, np.asarray(...)" if hasattr(value, "__len__") else ""
        raise TypeError(f"{name} must be {what}; got {_came(value)}{hint}")
    dtype = str(value.dtype)
    if dtype not in annotation.dtypes:
        hint = " of dtype float32 or float64" if _is_float(annotation) else ""
        raise TypeError(f"{name} must be {what}{hint}; got dtype {dtype}")
    if not isinstance(value, annotation):
        raise ValueError(f"{name} must be {what}; got shape {tuple(value.shape)}{_why(axes, value.shape, seen)}")
    variadic = any(axis.startswith(("*", "...")) for axis in axes)
    named = axes if not variadic else axes[1:] if axes[0].startswith(("*", "...")) else []
    for axis, size in zip(named, value.shape[len(value.shape) - len(named):]):
        if size == 0 and axis.lstrip("#") not in MAY_BE_EMPTY:
            raise ValueError(f"{name} must have at least one element along axis {axis}; got shape {value.shape}")
    seen[name] = value, annotation


def _why(axes: list[str], shape: tuple[int, ...], seen: dict[str, tuple[Any, Any]]) -> str:
    """Which axis disagrees with which argument, where that can be said of one axis."""
    lead = 1 if axes and axes[0].startswith(("*", "...")) else 0
    if len(shape) < len(axes) - lead or (not lead and len(shape) != len(axes)):
        return f": {len(shape)} axes instead of {len(axes) - lead}{' or more' if lead else ''}"
    known: dict[str, tuple[int, str]] = {}
    for name, (array, annotation) in seen.items():
        theirs = annotation.dim_str.split()
        for axis, size in zip(theirs[::-1], array.shape[::-1]):
            if axis.startswith(("*", "...")):
                break
            if not axis.startswith("#"):
                known.setdefault(axis, (size, name))
    for axis, size in zip(axes[::-1], shape[::-1]):
        bare = axis.lstrip("#")
        if bare in known and size != known[bare][0] and not (axis.startswith("#") and size == 1):
            return f": axis {bare} is {size}, but {known[bare][0]} in {known[bare][1]}"
    return ": its leading axes differ from those of the other arguments" if lead else ""


def _is_array_type(annotation: Any) -> bool:
    return hasattr(annotation, "dim_str")


def _is_float(annotation: Any) -> bool:
    return "float32" in annotation.dtypes


def _family(annotation: Any) -> Any:
    return Float if _is_float(annotation) else Bool if "bool" in annotation.dtypes else Integer


def _is_record(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, tuple) and hasattr(annotation, "_fields")


def _is_tree(annotation: Any) -> bool:
    """A record, a tuple of them, or a choice between some."""
    return _is_record(annotation) or any(map(_is_record, typing.get_args(annotation)))


def _may_be_none(annotation: Any) -> bool:
    return type(None) in typing.get_args(annotation)


def _has_arrays(annotation: Any) -> bool:
    return any(_is_array_type(part) for part in typing.get_args(annotation))


def _is_plain(value: Any, annotation: Any) -> bool:
    """Is this option (a number, a flag, a pair of integers …) of the declared type?"""
    if annotation is Any:
        return True
    if annotation is int:
        return isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if annotation is float:
        return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if annotation is bool:
        return isinstance(value, (bool, np.bool_))
    if typing.get_origin(annotation) is tuple:
        parts = typing.get_args(annotation)
        if len(parts) == 2 and parts[1] is Ellipsis:
            return isinstance(value, (tuple, list)) and all(_is_plain(v, parts[0]) for v in value)
        return (isinstance(value, (tuple, list)) and len(value) == len(parts)
                and all(_is_plain(v, part) for v, part in zip(value, parts)))
    if typing.get_origin(annotation) is Literal:
        return value in typing.get_args(annotation)
    if annotation in (None, type(None)):
        return value is None
    return not isinstance(annotation, type) or isinstance(value, annotation)


def _spell(annotation: Any) -> str:
    if isinstance(annotation, (types.UnionType, typing._UnionGenericAlias)):        # type: ignore[attr-defined]
        return " or ".join(_spell(choice) for choice in typing.get_args(annotation))
    if typing.get_origin(annotation) is Literal:
        return " or ".join(map(repr, typing.get_args(annotation)))
    if typing.get_origin(annotation) is tuple:
        return f"{len(typing.get_args(annotation))} of them"
    words = {int: "an integer", float: "a number", bool: "True or False", str: "a string", type(None): "None"}
    return words.get(annotation) or str(annotation)


def _spell_record(annotation: Any) -> str:
    """a linear.Params"""
    if not _is_record(annotation):
        return " or ".join(_spell_record(c) if _is_record(c) else _spell(c) for c in typing.get_args(annotation))
    return f"a {annotation.__module__.rpartition('.')[2]}.{annotation.__name__}"


def _came(value: Any) -> str:
    return repr(value) if isinstance(value, (bool, int, float, str, type(None))) else type(value).__name__


def bare(signature: inspect.Signature) -> str:
    """(q, k, v, *, scale=None): a signature without its annotations."""
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    return str(inspect.Signature(bare))
