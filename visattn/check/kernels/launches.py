"""What a twin launches, without launching it: for those who compile it elsewhere or work out what it would move.

    forward, backward = launches("softmax", 3, args, options)
    [launch.kernel for launch in forward], forward[0].grid, forward[0].defines
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from visattn import gpu, ops, tree
from visattn.check.cases import cases
from visattn.gpu import _device

HERE = Path(gpu.__file__).parent
FLOATS = ("float32", "float64")


def twin_file(operator: str) -> Path:
    """Where its kernels are launched: visattn/gpu/<family>/<operator>.py."""
    family = getattr(ops, operator).__name__.split(".")[2]
    return HERE / family / f"{operator}.py"


def calls(operator: str, dtype: Any = "float32") -> Iterator[tuple[Any, Any]]:
    """(args, options) of an operator's example and of all cases that its answers are compared on."""
    op = getattr(ops, operator)
    for args, options in [op.example(np.random.default_rng(0)), *((c.args, c.options) for c in cases(op))]:
        yield tree.map(lambda a: a.astype(dtype) if str(a.dtype) in FLOATS else a, tuple(args)), {
            k: v.astype(dtype) if str(getattr(v, "dtype", "")) in FLOATS else v for k, v in options.items()}


@contextmanager
def placed(place: str) -> Iterator[None]:
    """Launchers believe that kernels run at `place`, whether they could or not."""
    token = _device._chosen.set(place)
    had = place in _device._ready
    _device._ready.add(place)
    try:
        yield
    finally:
        _device._chosen.reset(token)
        if not had:
            _device._ready.discard(place)


def launches(operator: str, version: int, args: Any, options: Any) -> tuple[list[Any], list[Any]]:
    """What a twin's forward and its backward launch (`visattn.gpu._device.Launch`) in this version; nothing is
    launched, arrays hold NaN."""
    seen: list[Any] = []

    def note(kernel: Any, grid: Any, block: Any, *args: Any, shared: int = 0) -> None:
        grid, block = _device._three(grid), _device._three(block)
        if 0 not in grid:
            seen.append(_device.Launch(kernel.source, kernel.name, kernel.defines, grid, block, shared,
                                       tuple(map(_device._scalar, args))))

    true = _device.Kernel.__call__
    _device.Kernel.__call__ = note                                      # type: ignore[method-assign,assignment]
    try:
        with placed("host"):
            return run(operator, version, args, options, seen)
    finally:
        _device.Kernel.__call__ = true                                  # type: ignore[method-assign]


def run(operator: str, version: int, args: Any, options: Any, seen: list[Any] | None = None) -> tuple[Any, Any]:
    """Forward and backward, whose dy is of ones; of `seen`, what each of them added to it."""
    twin, seen = getattr(gpu, operator), [] if seen is None else seen
    with np.errstate(all="ignore"):
        y, cache = twin.forward(*args, **options, version=version)
        forward = len(seen)
        twin.backward(tree.map(np.ones_like, y), _with_indices(cache, operator, args, options), version=version)
    return seen[:forward], seen[forward:]


def _with_indices(cache: Any, operator: str, args: Any, options: Any) -> Any:
    """The cache with the integers that the reference finds: launchers sort by them, and nothing has written them."""
    indices = [name for name in cache._fields if getattr(getattr(cache, name), "dtype", np.dtype(bool)).kind == "i"]
    if not indices:
        return cache
    _, true = getattr(ops, operator).forward(*tree.map(lambda a: a.astype(np.float32), args), **options)
    return cache._replace(**{name: getattr(true, name) for name in indices})
