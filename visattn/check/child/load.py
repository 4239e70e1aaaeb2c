"""Somebody's function: imported from a file or a module, found by its name, with the gradient that belongs to it."""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from . import packages
from .raised import described
from .records import Spec


class CannotLoad(Exception):
    """There is nothing to call; the message says why."""


class Loaded(NamedTuple):
    """What is called, and where it comes from."""

    forward: Any
    backward: Callable[..., Any] | None = None
    name: str = ""                          # as texts call it
    files: tuple[str, ...] = ()             # whose lines are named when something is raised
    packages: set[str] = set()              # that its file imports
    notes: tuple[str, ...] = ()


def find(spec: Spec, forward: Any = None, backward: Any = None) -> Loaded:
    """The function that a Spec names, or those given.  Raises CannotLoad, or packages.Missing."""
    if forward is not None:
        return _given(forward, backward, spec)
    path = Path(spec.file) if spec.file else None
    if path is None and not spec.module:
        raise CannotLoad("neither a file, a module nor a function is named")
    source = _source(spec, path)
    imported = packages.imports(source)
    notes = packages.prepare(imported, spec.framework)
    label = path.name if path else spec.module
    try:
        module = _from_file(path) if path else importlib.import_module(spec.module)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        install = packages.INSTALL.get(package)
        raise CannotLoad(f"{label} imports {error.name}, which is not installed" +
                         (f": pip install {install}" if install else "")) from error
    except (Exception, SystemExit) as error:
        raise CannotLoad(f"{label} cannot be imported: {described(error, (str(path or ''),))}") from error
    name = spec.name or _chosen(module, spec, label)
    found = _attribute(module, name, label)
    owned = _owned(found)
    if owned is not None:
        found, by_hand = owned
    elif not callable(found):
        raise CannotLoad(f"{label}:{name} is of type {type(found).__name__}, no function")
    else:
        by_hand = _backward_of(module, name)
    by_hand = _attribute(module, spec.backward, label) if spec.backward else by_hand
    file = getattr(module, "__file__", None) or ""
    return Loaded(found, by_hand, name.rpartition(".")[2] if name != "forward" else spec.op or name, (file,), imported,
                  tuple(notes))


def _given(forward: Any, backward: Any, spec: Spec) -> Loaded:
    owned = _owned(forward)
    if owned is not None:
        forward, backward = owned[0], backward or owned[1]
    if not callable(forward):
        raise CannotLoad(f"{forward!r} is not a function")
    inner = inspect.unwrap(forward) if not isinstance(forward, type) else forward
    code = getattr(getattr(inner, "__func__", inner), "__code__", None)
    module = sys.modules.get(getattr(inner, "__module__", None) or "")
    file = code.co_filename if code else getattr(module, "__file__", None) or ""
    name = getattr(forward, "__name__", "") or type(forward).__name__
    imported = set() if module is None else {
        value.__name__.partition(".")[0] for value in list(vars(module).values()) if isinstance(value, ModuleType)}
    name = spec.op if spec.op and name in ("forward", "<lambda>") else name
    return Loaded(forward, backward, name, (file,), imported)


def _owned(thing: Any) -> tuple[Any, Any] | None:
    """(forward, backward) of a module, or of an object that has them and cannot be called itself."""
    if not isinstance(thing, ModuleType) and (callable(thing) or not callable(getattr(thing, "forward", None))):
        return None
    if not callable(getattr(thing, "forward", None)):
        raise CannotLoad(f"{getattr(thing, '__name__', thing)} has no forward")
    return thing.forward, getattr(thing, "backward", None)


def _source(spec: Spec, path: Path | None) -> str:
    """The text of the file, read before it is imported: some packages must be told things before."""
    if path is not None:
        if not path.is_file():
            raise CannotLoad(f"there is no file {path}")
        if path.suffix == ".ipynb":
            raise CannotLoad(f"{path.name} is a notebook: give the function itself, or save its cells as a .py file")
        return path.read_text(encoding="utf-8", errors="replace")
    try:
        found = importlib.util.find_spec(spec.module)
    except (ImportError, ValueError) as error:
        raise CannotLoad(f"there is no module {spec.module}: {error}") from error
    if found is None:
        raise CannotLoad(f"there is no module {spec.module}")
    origin = Path(found.origin or "")
    return origin.read_text(encoding="utf-8", errors="replace") if origin.suffix == ".py" and origin.is_file() else ""


def _from_file(path: Path) -> ModuleType:
    """Import a file as scripts are: its folder first on the path, its name its own unless that is taken."""
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    name = path.stem
    if not name.isidentifier() or name in sys.modules or name in sys.stdlib_module_names:
        name = f"checked_{id(path)}_{''.join(c if c.isalnum() else '_' for c in path.stem)}"
    loader = importlib.machinery.SourceFileLoader(name, str(path))
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _attribute(module: ModuleType, name: str, label: str) -> Any:
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            own = ", ".join(_own(module)) or "no function"
            raise CannotLoad(f"{label} has no {name}; it has {own}")
        found = getattr(found, part)
    return found


def _own(module: ModuleType) -> list[str]:
    """The public functions and classes that a file defines itself."""
    return [name for name, value in vars(module).items()
            if not name.startswith("_") and callable(value) and getattr(value, "__module__", None) == module.__name__]


def _chosen(module: ModuleType, spec: Spec, label: str) -> str:
    """The name of the function meant where none is said."""
    last = spec.op.rpartition(".")[2]
    own = _own(module)
    for name in ("forward", last, "build"):
        if name and callable(getattr(module, name, None)):
            return name
    alone = [name for name in own if "backward" not in name and not name.endswith(("_bwd", "_grad"))]
    if len(alone) == 1:
        return alone[0]
    if not own:
        raise CannotLoad(f"{label} defines no function")
    raise CannotLoad(f"{label} has {', '.join(own)}: say which, as {label}:{(alone or own)[0]}")


def _backward_of(module: ModuleType, name: str) -> Callable[..., Any] | None:
    """The gradient that belongs to a function, by its name; `backward` where it cannot be another's."""
    owner, _, last = name.rpartition(".")
    place = _attribute(module, owner, "") if owner else module
    candidates = [f"{last}_backward", f"backward_{last}", f"{last}_bwd"]
    for ours, theirs in (("forward", "backward"), ("fwd", "bwd")):
        if ours in last:
            candidates.insert(0, last.replace(ours, theirs))
    if last == "forward" or not callable(getattr(place, "forward", None)):
        candidates.append("backward")
    for candidate in candidates:
        found = getattr(place, candidate, None)
        if callable(found) and not isinstance(found, type):
            return found
    return None
