"""For which framework a function is written: what it names itself, directly or through others of its file, decides."""

from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

from .packages import Missing, needed

FRAMEWORKS = ("triton", "numba", "cupy", "keras", "torch", "jax")       # who is made of another comes first


def detect(functions: list[Any], packages: set[str]) -> tuple[str, str]:
    """(framework, why): what the functions name, else what their file imports, else NumPy.

    Raises Missing where that is not one framework.
    """
    for found, why in ((packages_used(functions), "the function uses"), (packages, "its file imports")):
        chosen = [name for name in FRAMEWORKS if name in found]
        if "triton" in chosen or "keras" in chosen:
            chosen = [name for name in chosen if name not in ("torch", "jax")]
        if len(chosen) > 1:
            raise Missing(f"{why} both {' and '.join(chosen)}: say which with framework={chosen[0]}")
        if chosen == ["keras"]:
            return _backend(), f"{why} keras, which runs on {_backend()}"
        if chosen:
            return chosen[0], f"{why} {chosen[0]}"
        if "numpy" in found:
            return "numpy", f"{why} numpy"
    return "numpy", "nothing names another framework"


def _backend() -> str:
    backend = needed("keras").config.backend()
    if backend not in ("torch", "jax", "numpy"):
        raise Missing(f"keras runs on {backend}, which is not known here: set KERAS_BACKEND to torch or jax")
    return backend


def packages_used(functions: list[Any]) -> set[str]:
    """The packages of all that functions name: values, annotations, what they import, the classes that they are."""
    found: set[str] = set()
    for part, names in _reached(functions):
        if isinstance(part, FunctionType):
            found |= {_package(note) for note in part.__annotations__.values()}
            found |= {name for name in FRAMEWORKS if name in names}
            found |= {_package(value) for value in _values(part, names)}
        else:
            kind = part if isinstance(part, type) else type(part)
            found |= {_package(part), *(_package(base) for base in kind.__mro__)}
    return found


def names_used(functions: list[Any]) -> set[str]:
    """The names in the code of functions and of those of the same file that they call; of classes, of their bases."""
    return set().union(*(names for _, names in _reached(functions)))


def _reached(functions: list[Any]) -> Iterator[tuple[Any, set[str]]]:
    """(function, class or object, the names in its code) of all that functions come to within their file."""
    seen: set[int] = set()
    queue = [f for f in functions if f is not None]
    while queue:
        part = queue.pop()
        part = getattr(part, "__func__", part)
        if id(part) in seen:
            continue
        seen.add(id(part))
        wrapped = [getattr(part, name, None) for name in ("__wrapped__", "fn", "py_func", "func")]
        queue += [inner for inner in wrapped if callable(inner)]
        names = _names(part.__code__) if isinstance(part, FunctionType) else set()
        if isinstance(part, FunctionType):
            queue += [value for value in _values(part, names) if callable(value) and _module(value) == part.__module__]
        elif isinstance(part, type) or _module(type(part)) not in ("builtins", "functools"):
            kind = part if isinstance(part, type) else type(part)
            names = {word for base in kind.__mro__ for word in _module(base).split(".")}
            queue += [base for base in kind.__mro__ if _module(base) == _module(kind) and base is not part]
            queue += [method for method in vars(kind).values() if isinstance(method, (FunctionType, staticmethod))]
        yield part, names


def _values(function: FunctionType, names: set[str]) -> list[Any]:
    """What these names are where the function stands."""
    found = [function.__globals__[name] for name in names if name in function.__globals__]
    for cell in function.__closure__ or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:                  # not set yet
            continue
    return found


def _package(value: Any) -> str:
    if isinstance(value, str):
        return value.partition(".")[0]
    name = value.__name__ if isinstance(value, ModuleType) else _module(value)
    return (_module(type(value)) if name in ("", "builtins", "typing") else name).partition(".")[0]


def _module(value: Any) -> str:
    name = getattr(value, "__module__", None)
    return name if isinstance(name, str) else ""


def _names(code: CodeType) -> set[str]:
    return set(code.co_names).union(*(_names(part) for part in code.co_consts if isinstance(part, CodeType)))
