"""Where kernels run: on a GPU through CuPy, on the CPU through the host build, or in Numba's simulator.

    visattn.gpu.choose()                # what would be used, and why
    with visattn.gpu.use("host"):       # the same kernels on the CPU, for learners and tests
        y, cache = visattn.gpu.softmax.forward(x)

`VISATTN_GPU=cuda|host|simulator` chooses for the whole process.  Nothing falls back by itself: where there is no GPU
and nothing else was asked for, a call raises NoDevice, which says what is missing.
"""

import contextlib
import contextvars
import functools
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

PLACES = ("cuda", "host", "simulator")
REAL = {"float32": "float", "float64": "double", "float16": "__half", "bfloat16": "__nv_bfloat16"}
_chosen: contextvars.ContextVar[str | None] = contextvars.ContextVar("place", default=None)


class NoDevice(OSError):
    """Nothing here can run the kernel; the message is what is missing and how to get it."""


class Choice(NamedTuple):
    """Where kernels would run."""

    place: str | None           # "cuda", "host", "simulator"; None: nowhere
    name: str                   # of the device
    free: int | None            # bytes of its memory that are free
    why: str                    # or, where there is none, what is missing and the fix


def choose() -> Choice:
    """Where a kernel called now would run, and why; never raises."""
    asked = _chosen.get() or os.environ.get("VISATTN_GPU") or "cuda"
    if asked not in PLACES:
        return Choice(None, "", None, f"VISATTN_GPU is {asked!r}: it must be one of {', '.join(PLACES)}")
    by = "asked for" if _chosen.get() or os.environ.get("VISATTN_GPU") else "the first GPU that CuPy sees"
    if asked == "host":
        return _on_host(by)
    if asked == "simulator":
        return _on_simulator(by)
    return _on_cuda(by)


def _on_cuda(why: str) -> Choice:
    if importlib.util.find_spec("cupy") is None:
        return Choice(None, "", None, 'CuPy is not installed: pip install "visattn[gpu]"; to run the kernels on the '
                                      'CPU: visattn.gpu.use("host")')
    try:
        import cupy
        number = cupy.cuda.runtime.getDevice()
        name = cupy.cuda.runtime.getDeviceProperties(number)["name"].decode()
        free, _ = cupy.cuda.runtime.memGetInfo()
    except Exception as error:                          # CuPy's errors share no class with each other
        said = str(error).splitlines()[0] if str(error) else repr(error)
        return Choice(None, "", None, f"CuPy sees no GPU ({said}): a driver and an NVIDIA card are needed, see "
                                      'nvidia-smi; to run the kernels on the CPU: visattn.gpu.use("host")')
    return Choice("cuda", name, free, why)


def _on_host(why: str) -> Choice:
    from visattn.gpu import _host
    try:
        _host.compiler()
    except _host.NoCompiler as error:
        return Choice(None, "", None, str(error))
    return Choice("host", "this CPU, through the host build of the kernels", None, why)


def _on_simulator(why: str) -> Choice:
    if "numba" not in sys.modules:
        os.environ["NUMBA_ENABLE_CUDASIM"] = "1"        # Numba reads it once
    if importlib.util.find_spec("numba") is None or importlib.util.find_spec("numba.cuda") is None:
        return Choice(None, "", None, 'Numba CUDA is not installed: pip install "visattn[gpu]"')
    if not sys.modules["numba"].config.ENABLE_CUDASIM:  # looking for numba.cuda has imported numba
        return Choice(None, "", None, "Numba was imported without its simulator: start Python with "
                                      "NUMBA_ENABLE_CUDASIM=1")
    return Choice("simulator", "this CPU, through Numba's CUDA simulator", None, why)


@contextlib.contextmanager
def use(place: str) -> Iterator[Choice]:
    """Within the block, kernels run at `place`: "cuda", "host" or "simulator".  NoDevice where that cannot be."""
    if place not in PLACES:
        raise ValueError(f"place must be one of {', '.join(map(repr, PLACES))}; got {place!r}")
    token = _chosen.set(place)
    try:
        here()
        yield choose()
    finally:
        _chosen.reset(token)


def here() -> str:
    """The place of kernels called now; NoDevice where there is none.  Every launch asks: a place that was found once
    is not looked for again."""
    asked = _chosen.get() or os.environ.get("VISATTN_GPU") or "cuda"
    if asked in _ready:
        return asked
    found = choose()
    if found.place is None:
        raise NoDevice(found.why)
    _ready.add(found.place)
    return found.place


_ready: set[str] = set()


def _xp() -> Any:
    """The library whose arrays kernels take here."""
    return importlib.import_module("cupy") if here() == "cuda" else np


def empty(shape: Any, dtype: Any) -> Any:
    """An uninitialised array where kernels run; on the host and in the simulator it is full of NaN, so that what a
    kernel does not write is seen."""
    if here() == "cuda":
        return _xp().empty(shape, dtype)
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.full(size, 0xFF, np.uint8).view(dtype).reshape(shape)         # NaN in every floating-point type


def zeros(shape: Any, dtype: Any) -> Any:
    """An array of zeros where kernels run: what atomics add to."""
    return _xp().zeros(shape, dtype)


def ones(shape: Any, dtype: Any) -> Any:
    """An array of ones where kernels run."""
    return _xp().ones(shape, dtype)


def contiguous(x: Any) -> Any:
    """x in C order, a copy only where it is not; None stays None."""
    if x is None:
        return None
    read_only = here() == "simulator" and not x.flags.writeable         # the simulator writes back what it was given
    return x.copy(order="C") if read_only or not x.flags.c_contiguous else x


class Launch(NamedTuple):
    """What was launched: for those who count it or compile it elsewhere."""

    source: Path
    kernel: str
    defines: dict[str, Any]
    grid: tuple[int, ...]
    block: tuple[int, ...]
    shared: int
    args: tuple[Any, ...]
    counted: Any = None         # of a checked host build: what it moved


# Tests and benchmarks look over a launcher's shoulder through these.
watching: contextvars.ContextVar[list[Launch] | None] = contextvars.ContextVar("watching", default=None)
checking: contextvars.ContextVar[bool] = contextvars.ContextVar("checking", default=False)
turning: contextvars.ContextVar[int] = contextvars.ContextVar("turning", default=0)


@contextlib.contextmanager
def launching(*, place: str, **told: Any) -> Iterator[None]:
    """Within the block, kernels run at `place`, with those of `watching`, `checking` and `turning` that are given."""
    variables: dict[str, contextvars.ContextVar[Any]] = {
        "watching": watching, "checking": checking, "turning": turning}
    tokens = [(variables[name], variables[name].set(value)) for name, value in told.items()]
    try:
        with use(place):
            yield
    finally:
        for variable, token in tokens:
            variable.reset(token)


class Source:
    """The `.cu` file beside a twin.

        cu = Source(__file__)
        cu("softmax_row", Real=x.dtype)(grid, block, x, y, rows, columns)
    """

    def __init__(self, twin: str):
        self.path = Path(twin).with_suffix(".cu")

    def __call__(self, kernel: str, **defines: Any) -> "Kernel":
        spelled = {name: REAL.get(str(value), value) if isinstance(value, np.dtype) else
                   int(value) if isinstance(value, bool) else value for name, value in defines.items()}
        return Kernel(self.path, kernel, spelled)


class Kernel(NamedTuple):
    """One kernel with its defines; call it to launch it."""

    source: Path
    name: str
    defines: dict[str, Any]

    def __call__(self, grid: Any, block: Any, *args: Any, shared: int = 0) -> None:
        """Launch.  grid, block: an int or up to three; args in the kernel's order: arrays, None for a null pointer,
        Python ints as `int`, floats as `float`, bools as `int`."""
        grid, block = _three(grid), _three(block)
        if 0 in grid:
            return                                                  # nothing to do is no launch
        args = tuple(map(_scalar, args))
        counted = None
        if here() == "cuda":
            _raw(self.source, tuple(self.defines.items()), self.name, shared)(
                grid, block, tuple(np.uint64(0) if a is None else a for a in args), shared_mem=shared)
        else:
            from visattn.gpu import _host
            kernels = _host.build(self.source, self.defines, checked=checking.get())
            counted = kernels.launch(self.name, grid, block, shared, args, turning.get())
        if (seen := watching.get()) is not None:
            seen.append(Launch(self.source, self.name, self.defines, grid, block, shared, args, counted))


def _three(size: Any) -> tuple[int, int, int]:
    size = (size,) if isinstance(size, (int, np.integer)) else tuple(size)
    return (*map(int, size), 1, 1, 1)[:3]                           # type: ignore[return-value]


def _scalar(value: Any) -> Any:
    if isinstance(value, (bool, int)):
        return np.int32(value)
    if isinstance(value, float):
        return np.float32(value)
    return value


INCLUDE = Path(__file__).parent


@functools.cache
def _raw(source: Path, defines: tuple[tuple[str, Any], ...], name: str, shared: int) -> Any:
    """The kernel compiled by NVRTC for the device at hand, through CuPy."""
    import cupy
    options = ("--std=c++17", f"-I{INCLUDE}", *(f"-D{k}={v}" for k, v in defines))
    kernel = cupy.RawModule(code=source.read_text(encoding="utf-8"), options=options).get_function(name)
    whole = shared + kernel.shared_size_bytes
    if whole > 48 << 10:                                            # more than CUDA gives unasked
        most = cupy.cuda.Device().attributes["MaxSharedMemoryPerBlockOptin"]
        if whole > most:
            raise NoDevice(f"{name} needs {whole:,} bytes of shared memory a block; this card gives {most:,}: a lower "
                           "version may need less, version=0 needs none")
        kernel.max_dynamic_shared_size_bytes = shared
    return kernel


def blocks(count: int, each: int, most: int = 65535) -> int:
    """How many blocks `count` things need at `each` a block; kernels go round again where that is above `most`."""
    return min(-(-count // each), most)
