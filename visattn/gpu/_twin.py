"""What every twin has in common: its door, its versions, and arrays from anywhere.

A twin stands at its reference's path below `visattn/gpu/` and has the same `forward`, `backward` and `Cache`:

    @twin                                           # finds visattn.ops.primitives.softmax.forward by the path
    def forward(x, *, axis=-1, mask=None, version=SHIPS): ...

`version` picks a rung of the ladder: 0 is the reference itself on the device's arrays, 1 the Numba kernel in the file
beside (`softmax_v1.py`), 2 and on are kernels of the `.cu`; the default is the one that ships, and in Numba's
simulator 1, or 0 where there is no 1.
"""

import contextlib
import functools
import importlib.util
import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from visattn import tree
from visattn.gpu import _device

HALF = ("float32", "float16", "bfloat16")


def twin(function: Callable[..., Any] | None = None, *, dtypes: tuple[str, ...] = ("float32",)) -> Any:
    """Decorate the `forward` or `backward` of a twin.  `dtypes`: what its kernels take from version 2 on; version 1
    takes float32, version 0 what the reference takes."""
    if function is None:
        return functools.partial(twin, dtypes=dtypes)
    path = function.__module__
    operator, name = path.rpartition(".")[2], function.__name__
    reference = getattr(import_module(path.replace("visattn.gpu", "visattn.ops", 1)), name)
    ships = inspect.signature(function).parameters["version"].default

    @functools.wraps(function)
    def door(*args: Any, version: int | None = None, **options: Any) -> Any:
        place = _device.here()
        version = (int(has_v1(path)) if place == "simulator" else ships) if version is None else version
        _able(path, version, ships, place)
        with stream_of(place, args):
            args, options, back = bring(f"{operator}.{name}", place, args, options)
            if version == 0:
                return back(reference(*args, **options))
            takes = ("float32",) if version == 1 else dtypes
            reference.admit(args, options, takes, f"; version=0 takes float32 and float64, this is version {version}")
            if version == 1:
                return back(getattr(import_module(f"{path}_v1"), name)(*args, **options))
            return back(function(*args, version=version, **options))

    door.dtypes = dtypes                                            # type: ignore[attr-defined]
    return door


@functools.cache
def has_v1(path: str) -> bool:
    """Is there a Numba kernel beside this twin?"""
    return importlib.util.find_spec(f"{path}_v1") is not None


def _able(path: str, version: int, ships: int, place: str) -> None:
    operator = path.rpartition(".")[2]
    versions = [v for v in range(ships + 1) if v != 1 or has_v1(path)]
    if version not in versions:
        raise ValueError(f"{operator}: version must be one of {', '.join(map(str, versions))}; got {version}")
    if version > 1 and place == "simulator":
        raise _device.NoDevice(f"{operator}: version {version} is CUDA C++, which Numba's simulator does not run: "
                               'visattn.gpu.use("host")')
    if version == 1 and place == "host":
        raise _device.NoDevice(f"{operator}: version 1 is a Numba kernel, which the host build does not run: "
                               'visattn.gpu.use("simulator")')


def bring(what: str, place: str, args: Any, options: Any) -> tuple[Any, Any, Callable[[Any], Any]]:
    """(args, options, back): arrays as the kernels want them, without a copy, and how results go back: torch tensors
    in, torch tensors out.  What is kept in a cache stays as it is."""
    torch = next((type(a) for a in args if type(a).__module__.partition(".")[0] == "torch"), None)
    one = functools.partial(_array, what, place)
    args = tuple(tree.map(one, a) if hasattr(a, "shape") or (isinstance(a, tuple) and not _is_cache(a)) else a
                 for a in args)
    options = {k: one(v) if hasattr(v, "shape") else v for k, v in options.items()}
    if torch is None:
        return args, options, lambda result: result
    return args, options, lambda result: _back(result)


def _is_cache(value: Any) -> bool:
    return type(value).__name__ == "Cache"


def _array(what: str, place: str, value: Any) -> Any:
    kind = type(value).__module__.partition(".")[0]
    if place == "cuda":
        import cupy
        if isinstance(value, cupy.ndarray) or not hasattr(value, "shape"):
            return value
        if hasattr(value, "__dlpack__") and kind != "numpy":
            return cupy.from_dlpack(_detached(value))
        if hasattr(value, "__cuda_array_interface__"):
            return cupy.asarray(value)
        raise TypeError(f"{what}: expected arrays on the GPU; got {kind}.{type(value).__name__}: cupy.asarray(x) "
                        "brings one there")
    if kind not in ("numpy", "builtins", "ml_dtypes") and hasattr(value, "__dlpack__"):
        return np.from_dlpack(_detached(value))
    return value


def _detached(value: Any) -> Any:
    """A torch tensor without its history: these functions have their own backward."""
    return value.detach() if hasattr(value, "detach") else value


def stream_of(place: str, args: Any) -> Any:
    """The stream on which torch works, where torch tensors came in: kernels wait for what they wait for."""
    tensor = next((a for a in args if type(a).__module__.partition(".")[0] == "torch"), None)
    if place != "cuda" or tensor is None:
        return contextlib.nullcontext()
    import cupy
    import torch
    return cupy.cuda.ExternalStream(torch.cuda.current_stream(tensor.device).cuda_stream)


def _back(result: Any) -> Any:
    import torch
    if isinstance(result, tuple) and len(result) == 2 and _is_cache(result[1]):        # (y, cache)
        return tree.map(torch.from_dlpack, result[0]), result[1]
    return tree.map(torch.from_dlpack, result)
