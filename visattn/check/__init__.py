"""Is an implementation right, and if not, which mistake is it?

    visattn.check.run("attention", my_attention)            # verdicts, the mistake by its name, a report
    visattn.check.bounds(op, args, dy=dy)                   # how far honest arithmetic may be from the reference
    visattn.check.cost(op, args)                            # multiply-adds, element operations, bytes

`definitions` says what each operator computes, index by index; `verify` holds the operators to it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visattn.check.costs import cost
    from visattn.check.judge import run
    from visattn.check.tolerance import bounds

__all__ = ["bounds", "cost", "run"]

HOME = {"run": "judge", "bounds": "tolerance", "cost": "costs"}


def __getattr__(name: str) -> Any:
    if name not in HOME:
        raise AttributeError(f"{__name__} has no {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"{__name__}.{HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
