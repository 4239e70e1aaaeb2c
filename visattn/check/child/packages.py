"""Optional packages: which a file imports, what they must be told before that, and the line that installs one."""

import ast
import ctypes
import os
import sys
from functools import cache
from importlib import import_module
from types import ModuleType

INSTALL = {"torch": "torch", "jax": "jax", "cupy": "cupy-cuda12x", "numba": "numba numba-cuda", "triton": "triton",
           "keras": "keras", "tensorflow": "tensorflow", "flax": "flax", "scipy": "scipy", "einops": "einops"}


class Missing(Exception):
    """A framework that cannot be used here; the message says why, with the line that installs it."""


def needed(module: str) -> ModuleType:
    """An optional package.  Raises Missing with the line that installs it."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != module:
            raise
        raise Missing(f"{module} is not installed: pip install {INSTALL.get(module, module)}") from None


@cache
def gpu() -> bool:
    """Is there a GPU that CUDA can use?  Asks the driver, without any framework."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0


def imports(source: str) -> set[str]:
    """The packages that a file imports anywhere in it; none where it is not Python."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return set()
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def prepare(packages: set[str], framework: str = "auto") -> list[str]:
    """Set what must be set before a file that imports these packages is imported; returns what to tell."""
    notes = []
    if "numba" in packages | {framework} and not gpu() and "numba" not in sys.modules:
        os.environ.setdefault("NUMBA_ENABLE_CUDASIM", "1")
    if "triton" in packages | {framework} and not gpu():
        os.environ.setdefault("TRITON_INTERPRET", "1")
    if "numba" in packages and os.environ.get("NUMBA_ENABLE_CUDASIM") == "1":
        notes.append("no GPU: CUDA kernels of Numba run in its simulator")
    if "triton" in packages and os.environ.get("TRITON_INTERPRET") == "1":
        notes.append("no GPU: kernels of Triton run in its interpreter")
    if "keras" in packages and "KERAS_BACKEND" not in os.environ and "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = framework if framework in ("torch", "jax") else \
            "jax" if "jax" in packages and "torch" not in packages else "torch"
        notes.append(f"keras runs on {os.environ['KERAS_BACKEND']}; KERAS_BACKEND says otherwise")
    return notes
