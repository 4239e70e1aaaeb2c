"""The operators on a GPU: the same paths, the same names, the same `forward`, `backward` and `Cache`.

    y, cache = visattn.gpu.softmax.forward(x)       # x on the GPU: CuPy, torch, anything with DLPack
    dx, = visattn.gpu.softmax.backward(dy, cache)

Where an operator has a twin (`gpu/<family>/<operator>.py`, kernels in the `.cu` beside it) its shipping version runs;
every other operator runs as its reference on the device's arrays, which is version 0 of each.  Models take this module
as their operators: `models.vit.forward(x, p, F=visattn.gpu)`.

    version 0   the reference on CuPy arrays: NumPy's dispatch
    version 1   a Numba CUDA kernel that reads like the NumPy
    version 2 … CUDA C++

`visattn.gpu.choose()` says where kernels would run and why; `visattn.gpu.use("host")` runs them on the CPU, and
`visattn.gpu.count(function, …)` tells there what they move, and where they break a rule of CUDA.
"""

import functools
import importlib.util
import sys
from importlib import import_module
from types import ModuleType
from typing import Any

from visattn import ops
from visattn.gpu._count import count, kernels
from visattn.gpu._device import Choice, NoDevice, choose, use
from visattn.gpu._host import KernelFault

__all__ = ["Choice", "KernelFault", "NoDevice", "choose", "count", "kernels", "twins", "use"]


@functools.cache
def twins() -> tuple[str, ...]:
    """The names of the operators that have kernels of their own."""
    return tuple(name for name in dir(ops) if _path(name) is not None)


def _path(name: str) -> str | None:
    family = getattr(ops, name).__name__.split(".")[2]
    path = f"{__name__}.{family}.{name}"
    try:
        return path if importlib.util.find_spec(path) else None
    except ModuleNotFoundError:                                     # no twin in the whole family
        return None


class _Reference(ModuleType):
    """An operator without kernels of its own: version 0 for whoever asks."""

    def __init__(self, op: ModuleType):
        super().__init__(f"{__name__}.{op.__name__.split('.', 2)[2]}", op.__doc__)
        self.Cache, self.reference = op.Cache, op
        for name in ("Params", "init", "example"):
            if hasattr(op, name):
                setattr(self, name, getattr(op, name))
        self.forward, self.backward = _on_device(op.forward), _on_device(op.backward)


def _on_device(formula: Any) -> Any:
    @functools.wraps(formula)
    def door(*args: Any, version: int = 0, **options: Any) -> Any:
        from visattn.gpu import _device, _twin
        name = f"{formula.__module__.rpartition('.')[2]}.{formula.__name__}"
        if version not in (0, None):
            raise ValueError(f"{name}: version must be 0, the reference; it has no kernels of its own; got {version}")
        place = _device.here()
        with _twin.stream_of(place, args):
            args, options, back = _twin.bring(name, place, args, options)
            return back(formula(*args, **options))

    return door


def __getattr__(name: str) -> Any:
    if name.startswith("_") or name not in dir(ops):
        raise AttributeError(f"{__name__} has no {name!r}; it has {', '.join(dir(ops))}")
    path = _path(name)
    found = import_module(path) if path else _Reference(getattr(ops, name))
    setattr(sys.modules[__name__], name, found)
    return found


def __dir__() -> list[str]:
    return sorted([*__all__, *dir(ops)])
