"""Packages that only some parts of visattn need, imported when they are needed."""

from importlib import import_module
from typing import Any


class MissingPackage(ImportError):
    """A package of an extra is not installed; the message is the line that installs it."""


def need(module: str, extra: str = "demo") -> Any:
    """The module, or MissingPackage: 'sklearn is not installed: pip install "visattn[demo]"'."""
    package = module.partition(".")[0]
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != package:
            raise
        raise MissingPackage(f'{package} is not installed: pip install "visattn[{extra}]"', name=package) from None
