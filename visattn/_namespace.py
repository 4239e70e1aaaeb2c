"""A package as one flat, lazy namespace of the modules below it (PEP 562)."""

import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pkgutil import walk_packages
from types import ModuleType


def find(package: str, path: list[str]) -> dict[str, str]:
    """{short name: dotted path} of every public module below `package`."""
    found: dict[str, str] = {}
    for info in walk_packages(path, package + "."):
        short = info.name.rpartition(".")[2]
        if info.ispkg or short.startswith("_"):
            continue
        if short in found:
            raise ImportError(f"two modules are called {short}: {found[short]} and {info.name}")
        found[short] = info.name
    return found


def lazy(package: str, path: list[str]) -> tuple[Callable[[str], ModuleType], Callable[[], list[str]]]:
    """(__getattr__, __dir__) for `package`: a module below it loads when its short name is first used."""
    names = cache(lambda: find(package, path))

    def __getattr__(name: str) -> ModuleType:
        if name not in names():
            raise AttributeError(f"{package} has no {name!r}; it has {', '.join(sorted(names()))}")
        module = import_module(names()[name])
        setattr(sys.modules[package], name, module)          # next time without __getattr__
        return module

    return __getattr__, lambda: sorted(names())
