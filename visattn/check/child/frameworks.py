"""Arrays of other people's frameworks: from NumPy, back to NumPy to the last bit, and the framework's own gradient.

    framework = load("torch")
    x = framework.array(values, "float32", "strided")
    y, _, pull = framework.trace(lambda inputs: ([f(*inputs)], None), [x])
    dx, = pull([framework.array(dy, "float32")])

`detect` says which framework a function is written for.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

from .adapt import Broken
from .detect import names_used
from .packages import Missing, gpu, needed

LAYOUTS = ("contiguous", "strided", "readonly")

class Numpy:
    """NumPy: no gradient of its own."""

    name = "numpy"
    dtypes: tuple[str, ...] = ("float64", "float32", "float16")
    autograd = False
    device = "cpu"
    array_type = "numpy.ndarray"

    def __init__(self, device: str = "") -> None:
        if device not in ("", self.device):
            raise Missing(f"{self.name} arrays are on {self.device}, not on {device}")

    def array(self, value: np.ndarray, dtype: str, layout: str = "contiguous") -> Any:
        """The values in an array of its own; floating-point ones in `dtype`, others in the type they have."""
        made = self._empty(value.shape, self._dtype(value, dtype), layout)
        made[...] = value
        if layout == "readonly":
            made.flags.writeable = False
        return made

    def refill(self, array: Any, value: np.ndarray) -> bool:
        """Put other values into the same array; False where that cannot be done."""
        if array.base is None and not array.flags.owndata:
            return False
        writeable = array.flags.writeable
        array.flags.writeable = True
        array[...] = value
        array.flags.writeable = writeable
        return True

    def _dtype(self, value: np.ndarray, dtype: str) -> Any:
        return np.dtype(dtype) if value.dtype.kind == "f" else value.dtype

    def _empty(self, shape: tuple[int, ...], dtype: Any, layout: str) -> Any:
        if layout != "strided" or 0 in shape or not shape:
            return np.empty(shape, dtype)
        # Every other element along the last axis of a buffer stored backwards; what lies between is poison.
        buffer = np.full((2 * shape[-1], *shape[-2::-1]), _poison(dtype), dtype)
        return buffer.T[..., ::2]

    def owns(self, value: Any) -> bool:
        """Is it an array of this framework?  NumPy's scalars are its arrays without axes."""
        return isinstance(value, (np.ndarray, np.generic)) or type(value) is float

    def refused(self, value: Any) -> str:
        """Why an array of this framework cannot be judged, or ""."""
        dtype = np.asarray(value).dtype if type(value) is float else value.dtype
        return "" if dtype.kind in "fiub" else f"is an array of {dtype}, not of floating-point numbers"

    def plain(self, value: Any) -> Any:
        """The same array, without what a subclass makes of it."""
        return value

    def numpy(self, value: Any) -> np.ndarray:
        """A copy of the bytes, whatever a subclass makes of them; bfloat16 as float32."""
        copy = np.array(value, copy=True, subok=False)
        return copy.astype(np.float32) if copy.dtype.kind == "V" else copy

    def dtype(self, value: Any) -> str:
        return "float64" if type(value) is float else str(value.dtype)

    def place(self, value: Any) -> str:
        """The device that an array is on."""
        return "cpu"

    def overlap(self, a: Any, b: Any) -> bool:
        """Do two arrays share memory?"""
        return (isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and a.size > 0 and b.size > 0
                and np.may_share_memory(a, b))

    def poison(self, value: Any) -> None:
        """Overwrite a returned array, so that who keeps it between calls is found out."""
        if isinstance(value, np.ndarray) and value.flags.writeable and value.dtype.kind in "fiub":
            np.asarray(value)[...] = _poison(value.dtype)

    def context(self, dtype: str, gradient: bool) -> AbstractContextManager:
        """In which a function of this framework runs."""
        return np.errstate(all="ignore")

    def trace(self, function: Callable[[list], tuple[list, Any]], inputs: list) -> tuple[list, Any, Callable | None]:
        """(outputs, the rest, pull): `pull(dy)` are the gradients of the inputs, None where there is none."""
        outputs, rest = function(inputs)
        return outputs, rest, None

    def differentiates(self, function: Any) -> bool:
        """Has the framework a gradient of this function?"""
        return self.autograd

    def seed(self, seed: int) -> None:
        np.random.seed(seed)                                                    # noqa: NPY002  (it is the user's)

    def synchronise(self) -> None:
        """Wait for what is still computed."""


def _poison(dtype: Any) -> Any:
    return np.nan if np.dtype(dtype).kind == "f" else True if np.dtype(dtype).kind == "b" else 0


class Numba(Numpy):
    """Functions that launch Numba's CUDA kernels, or that it compiles for the CPU: NumPy arrays go in and come out."""

    name = "numba"
    dtypes = ("float64", "float32")

    def __init__(self, device: str = "") -> None:
        needed("numba")
        self.device = "cuda" if os.environ.get("NUMBA_ENABLE_CUDASIM", "0") != "1" and gpu() else "cpu"

    def array(self, value: np.ndarray, dtype: str, layout: str = "contiguous") -> Any:
        """What a kernel is given is copied back after it, so it must be writable."""
        return super().array(value, dtype, "contiguous" if layout == "readonly" else layout)

    def owns(self, value: Any) -> bool:
        return super().owns(value) or hasattr(value, "copy_to_host")

    def numpy(self, value: Any) -> np.ndarray:
        return super().numpy(value.copy_to_host() if hasattr(value, "copy_to_host") else value)

    def refused(self, value: Any) -> str:
        return super().refused(value) if not hasattr(value, "copy_to_host") else ""

    def place(self, value: Any) -> str:
        """Arrays are the host's; kernels run where they are launched to."""
        return self.device


class Cupy(Numpy):
    """CuPy: NumPy on a GPU."""

    name = "cupy"
    device = "cuda"
    array_type = "cupy.ndarray"

    def __init__(self, device: str = "") -> None:
        super().__init__(device)
        self.xp = needed("cupy")

    def array(self, value: np.ndarray, dtype: str, layout: str = "contiguous") -> Any:
        made = self._empty(value.shape, self._dtype(value, dtype), layout)
        made[...] = self.xp.asarray(value)
        return made

    def refill(self, array: Any, value: np.ndarray) -> bool:
        array[...] = self.xp.asarray(value)
        return True

    def _empty(self, shape: tuple[int, ...], dtype: Any, layout: str) -> Any:
        if layout != "strided" or 0 in shape or not shape:
            return self.xp.empty(shape, dtype)
        buffer = self.xp.full((2 * shape[-1], *shape[-2::-1]), _poison(dtype), dtype)
        return buffer.T[..., ::2]

    def owns(self, value: Any) -> bool:
        return isinstance(value, self.xp.ndarray)

    def refused(self, value: Any) -> str:
        return "" if value.dtype.kind in "fiub" else f"is an array of {value.dtype}, not of floating-point numbers"

    def numpy(self, value: Any) -> np.ndarray:
        return np.array(self.xp.asnumpy(value), copy=True, subok=False)

    def dtype(self, value: Any) -> str:
        return str(value.dtype)

    def place(self, value: Any) -> str:
        return "cuda"

    def overlap(self, a: Any, b: Any) -> bool:
        return self.owns(a) and self.owns(b) and a.size > 0 and b.size > 0 and bool(self.xp.may_share_memory(a, b))

    def poison(self, value: Any) -> None:
        if self.owns(value):
            value[...] = _poison(value.dtype)

    def seed(self, seed: int) -> None:
        super().seed(seed)
        self.xp.random.seed(seed)

    def synchronise(self) -> None:
        self.xp.cuda.get_current_stream().synchronize()
        self.xp.cuda.Device().synchronize()


class Torch(Numpy):
    """torch: its autograd, unless a gradient is written by hand."""

    name = "torch"
    dtypes = ("float64", "float32", "float16", "bfloat16")
    autograd = True
    array_type = "torch.Tensor"

    def __init__(self, device: str = "") -> None:
        self.torch = needed("torch")
        self.device = device or self._own_device()
        if self.device.startswith("cuda") and not self.torch.cuda.is_available():
            raise Missing("torch sees no GPU here")

    def _own_device(self) -> str:
        return "cpu"

    def array(self, value: np.ndarray, dtype: str, layout: str = "contiguous") -> Any:
        torch = self.torch
        values = torch.tensor(np.ascontiguousarray(value).reshape(value.shape))
        wanted = getattr(torch, dtype) if value.dtype.kind == "f" else values.dtype
        if layout != "strided" or 0 in value.shape or not value.shape:
            return values.to(device=self.device, dtype=wanted)
        shape = value.shape
        poison = float("nan") if value.dtype.kind == "f" else value.dtype.kind == "b"
        buffer = torch.full((2 * shape[-1], *shape[-2::-1]), poison, dtype=wanted, device=self.device)
        view = buffer.permute(*range(len(shape) - 1, -1, -1))[..., ::2]
        view.copy_(values)
        return view

    def refill(self, array: Any, value: np.ndarray) -> bool:
        if not array.is_leaf:
            return False
        array.requires_grad_(False)
        array.copy_(self.torch.tensor(np.ascontiguousarray(value).reshape(value.shape)))
        return True

    def owns(self, value: Any) -> bool:
        return isinstance(value, self.torch.Tensor)

    def refused(self, value: Any) -> str:
        torch = self.torch
        kind = type(value)
        if kind.__torch_dispatch__ not in (torch.Tensor.__torch_dispatch__, torch.nn.Parameter.__torch_dispatch__):
            return f"is a {kind.__module__}.{kind.__qualname__}, which makes up its values, not a torch.Tensor"
        with torch._C.DisableTorchFunctionSubclass():
            if value.device.type == "meta":
                return "is on the device meta, which holds no values"
            if value.layout is not torch.strided or value.is_quantized:
                return f"is a {str(value.layout).removeprefix('torch.')} tensor, not a plain one"
            if value.is_complex():
                return f"is a tensor of {self.dtype(value)}, not of floating-point numbers"
        return ""

    def plain(self, value: Any) -> Any:
        torch = self.torch
        if type(value) in (torch.Tensor, torch.nn.Parameter):
            return value
        with torch._C.DisableTorchFunctionSubclass():
            return value.as_subclass(torch.Tensor)

    def numpy(self, value: Any) -> np.ndarray:
        torch = self.torch
        with torch._C.DisableTorchFunctionSubclass(), torch.no_grad():
            plain = value.detach().resolve_neg().cpu()
            if plain.is_floating_point() and plain.dtype not in (torch.float64, torch.float32, torch.float16):
                plain = plain.to(torch.float32)
            return np.array(plain.numpy(), copy=True, subok=False)

    def dtype(self, value: Any) -> str:
        return str(value.dtype).removeprefix("torch.")

    def place(self, value: Any) -> str:
        return value.device.type

    def overlap(self, a: Any, b: Any) -> bool:
        if not (self.owns(a) and self.owns(b)) or a.numel() == 0 or b.numel() == 0:
            return False
        first, second = a.untyped_storage(), b.untyped_storage()
        return (a.device == b.device and first.data_ptr() < second.data_ptr() + second.nbytes()
                and second.data_ptr() < first.data_ptr() + first.nbytes())

    def poison(self, value: Any) -> None:
        if self.owns(value) and value.is_floating_point():
            with self.torch.no_grad():
                value.detach().fill_(float("nan"))

    def context(self, dtype: str, gradient: bool) -> AbstractContextManager:
        return self.torch.enable_grad() if gradient else self.torch.no_grad()

    def trace(self, function: Callable[[list], tuple[list, Any]], inputs: list) -> tuple[list, Any, Callable | None]:
        torch = self.torch
        inputs = [x.requires_grad_(True) for x in inputs]
        outputs, rest = function(inputs)

        def pull(dy: list) -> list:
            pairs = [(y, d.to(y.dtype)) for y, d in zip(outputs, dy) if y.requires_grad]
            if not pairs:
                raise Broken("missing", "autograd cannot reach the inputs from the output: it was detached, computed "
                             "without gradients, or is not made from them")
            ys, ds = zip(*pairs)
            return list(torch.autograd.grad(ys, inputs, ds, allow_unused=True))

        return outputs, rest, pull

    def seed(self, seed: int) -> None:
        super().seed(seed)
        self.torch.manual_seed(seed)

    def synchronise(self) -> None:
        if self.device.startswith("cuda"):
            self.torch.cuda.synchronize()


class Triton(Torch):
    """Functions that launch Triton's kernels: torch tensors on a GPU, or on the CPU by its interpreter."""

    name = "triton"
    dtypes = ("float64", "float32", "float16", "bfloat16")

    def __init__(self, device: str = "") -> None:
        needed("triton")
        super().__init__(device)

    def differentiates(self, function: Any) -> bool:
        """Kernels have no gradient but through a torch.autograd.Function."""
        return "autograd" in names_used([function])

    def _own_device(self) -> str:
        interpreted = os.environ.get("TRITON_INTERPRET", "0") == "1"
        return "cuda" if self.torch.cuda.is_available() and not interpreted else "cpu"


class Jax(Numpy):
    """JAX: `jax.vjp`, unless a gradient is written by hand.  float64 is switched on for float64 calls only: elsewhere
    it would make float64 of what a user's float32 function computes with NumPy's scalars."""

    name = "jax"
    dtypes = ("float64", "float32", "float16", "bfloat16")
    autograd = True
    array_type = "jax.Array"

    def __init__(self, device: str = "") -> None:
        self.jax = needed("jax")
        self.on = self.jax.devices(device or None)[0]
        self.device = {"gpu": "cuda"}.get(self.on.platform, self.on.platform)

    def array(self, value: np.ndarray, dtype: str, layout: str = "contiguous") -> Any:
        wanted = dtype if value.dtype.kind == "f" else None
        with self.context(dtype, False):
            return self.jax.device_put(self.jax.numpy.array(value, dtype=wanted, copy=True), self.on)

    def refill(self, array: Any, value: np.ndarray) -> bool:
        return False

    def owns(self, value: Any) -> bool:
        return isinstance(value, self.jax.Array)

    def refused(self, value: Any) -> str:
        kind = self.jax.numpy.issubdtype
        fine = kind(value.dtype, np.floating) or kind(value.dtype, np.integer) or kind(value.dtype, np.bool_)
        return "" if fine else f"is an array of {value.dtype}, not of floating-point numbers"

    def numpy(self, value: Any) -> np.ndarray:
        copy = np.array(value, copy=True, subok=False)
        return copy if copy.dtype.kind in "fiub" and copy.dtype.isbuiltin == 1 else copy.astype(np.float32)

    def dtype(self, value: Any) -> str:
        return str(value.dtype)

    def place(self, value: Any) -> str:
        platform = next(iter(value.devices())).platform
        return {"gpu": "cuda"}.get(platform, platform)

    def overlap(self, a: Any, b: Any) -> bool:
        return False                                        # its arrays cannot be written

    def poison(self, value: Any) -> None:
        return

    @contextmanager
    def context(self, dtype: str, gradient: bool) -> Iterator[None]:
        with ExitStack() as stack:
            if dtype == "float64":
                stack.enter_context(_x64(self.jax))
            yield

    def trace(self, function: Callable[[list], tuple[list, Any]], inputs: list) -> tuple[list, Any, Callable | None]:
        kept: list = []

        def both(*xs: Any) -> tuple[list, dict]:
            outputs, rest = function(list(xs))
            kept.append(rest)
            return outputs, {name: part for name, part in rest.inner.items() if self.owns(part)}

        outputs, pull, inner = self.jax.vjp(both, *inputs, has_aux=True)
        rest = kept[-1]._replace(leaves=outputs, kept=None, inner=inner)       # what was traced has no values
        return outputs, rest, lambda dy: list(pull([d.astype(y.dtype) for y, d in zip(outputs, dy)]))

    def synchronise(self) -> None:
        self.jax.effects_barrier()


def _x64(jax: ModuleType) -> AbstractContextManager:
    switch = getattr(jax, "enable_x64", None)
    if switch is None:
        switch = import_module("jax.experimental").enable_x64
    return switch(True)


CLASSES = {c.name: c for c in (Numpy, Numba, Cupy, Torch, Triton, Jax)}


def load(name: str, device: str = "") -> Numpy:
    """The framework of this name.  Raises Missing with the line that installs it."""
    if name not in CLASSES:
        raise Missing(f"no framework is called {name!r}; there are {', '.join(CLASSES)}")
    return CLASSES[name](device)
