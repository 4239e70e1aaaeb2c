"""Visual attention, by hand: every formula as NumPy that reads like the paper, with its gradient derived by hand.

    ops         the operators, one a file:  y, cache = op.forward(*x);  grads = op.backward(dy, cache)
    models      operators made of operators, under the same contract
    gradcheck   the laws every backward obeys, for yours as well as ours
    tasks       data + model + loss + loop + metric + figure
    check       the definitions, index by index, that share no code with the operators
    data        real images that packages ship
    optim       sgd, momentum, adam over any tree of arrays
    tree        nested tuples, lists and dicts of arrays
    plot        attention over an image, gates, grids, curves
    lessons     quotations for notebooks, and the judge of their exercises

Each loads when it is first used, so `import visattn` is quick and needs NumPy alone.
"""

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

__version__ = "0.1.0"


def __getattr__(name: str) -> ModuleType:
    if name in __dir__():
        return import_module(f"visattn.{name}")
    raise AttributeError(f"visattn has no part called {name!r}; it has {', '.join(__dir__())}")


def __dir__() -> list[str]:
    return sorted(part.name for part in iter_modules(__path__) if not part.name.startswith("_"))
