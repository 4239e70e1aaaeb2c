"""The host build: a `.cu` file, unmodified, compiled with g++ and run on the CPU.

    kernels = build(Path("softmax.cu"), {"Real": "float"})
    kernels.launch("softmax_row", grid=(4, 1, 1), block=(128, 1, 1), shared=0, args=[x, y, np.int32(70)])

One fiber per CUDA thread (`runtime.cc`).  In a **checked** build the compiler's thread-sanitizer hooks lead every load
and store of the kernel to `checks.cc`, which knows CUDA's rules: races inside and between blocks, accesses outside an
array, reads of what nobody wrote, barriers that not all threads reach; and it counts what the kernel moves.

What this proves is the kernel's logic under any order of threads, not its speed: there is no lock-step, no cache, no
tensor core.  It needs g++; x86-64 is the fast way, other processors switch fibers through ucontext.
"""

import ctypes
import functools
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
SOURCES = ("cuda.h", "runtime.h", "runtime.cc", "checks.h", "checks.cc")
FLAGS = ("-std=c++20", "-march=native", "-fno-strict-aliasing", "-fPIC", "-shared", "-w")
FAST = ("-O2",)
CHECKED = ("-O1", "-g", "-fsanitize=thread", "-fsanitize=bounds,alignment,signed-integer-overflow,shift",
           "-DCUDA_HOST_CHECKED")
LETTERS = {"float32": "f", "float64": "d", "float16": "e", "bfloat16": "E", "bool": "?", "uint8": "B", "int32": "i",
           "uint32": "I", "int64": "q"}
KERNEL = re.compile(r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\s*\([^)]*\)\s*)?(\w+)\s*\(')
DYNAMIC = re.compile(r"extern\s+__shared__\s+([\w:<> ]+?)\s+(\w+)\s*\[\s*\]\s*;")


class NoCompiler(RuntimeError):
    """There is no g++ here; the message says how to get one."""


class KernelFault(RuntimeError):
    """A kernel broke a rule of CUDA.  `kind` is the rule: barrier, warp, race, bounds, unwritten, address, shared."""

    def __init__(self, kind: str, text: str):
        super().__init__(f"{kind}: {text}")
        self.kind = kind


@functools.cache
def compiler() -> str:
    """The path of g++, or NoCompiler."""
    found = shutil.which(os.environ.get("CXX", "g++"))
    if found is None:
        raise NoCompiler("the host build needs g++: apt install g++ (Debian, Ubuntu), or set CXX")
    return found


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "visattn" / "host"


@functools.cache
def _build(source: Path, text: str, defines: tuple[tuple[str, str], ...], checked: bool) -> "Kernels":
    flags = (*FLAGS, *(CHECKED if checked else FAST))
    parts = [text, repr(defines), repr(flags), _machine()]
    parts += [(HERE / name).read_text(encoding="utf-8") for name in SOURCES if (HERE / name).exists()]
    parts += [header.read_text(encoding="utf-8") for header in sorted(source.parents[1].glob("*.cuh"))]
    library = cache_folder() / f"{source.stem}-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:20]}.so"
    if not library.exists():
        library.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=library.parent) as folder:
            built = _compile(source, text, defines, flags, checked, Path(folder))
            built.replace(library)                                  # whole or not at all
    return Kernels(library, source, checked)


def build(source: Path, defines: Mapping[str, Any] = {}, *, checked: bool = False) -> "Kernels":
    """The kernels of a `.cu` file, compiled for the CPU with `-D` of `defines`; kept on disk, and in memory."""
    text = source.read_text(encoding="utf-8")
    return _build(source, text, tuple(sorted((k, str(v)) for k, v in defines.items())), checked)


def _compile(source: Path, text: str, defines: Sequence[tuple[str, str]], flags: Sequence[str], checked: bool,
             folder: Path) -> Path:
    names = KERNEL.findall(text)
    if not names:
        raise ValueError(f'{source} has no kernel: none is declared extern "C" __global__ void name(…)')
    # C++ has no `extern __shared__ float s[];`: the one line that is not compiled as it stands.
    text = DYNAMIC.sub(lambda m: f"{m[1]}* {m[2]} = ({m[1]}*)cuda_host::dynamic_shared();", text)
    table = "\n".join(f'    kernel("{name}", {name}),' for name in names)
    unit = folder / "kernels.cc"
    # The defines come after the shim, as they would collide with its own names.
    macros = "\n".join(f"#define {k} {v}" for k, v in defines)
    unit.write_text(f'#include "cuda.h"\n{macros}\n#line 1 "{source}"\n{text}\n'
                    f"namespace cuda_host {{ const Kernel kernels[] = {{\n{table}\n    {{}}}}; }}\n", encoding="utf-8")
    include = ["-I", str(HERE), "-I", str(HERE / "include"), "-I", str(source.parent), "-I", str(source.parents[1])]
    objects = []
    plain = [f for f in flags if not f.startswith("-fsanitize") and f != "-shared"]
    for one, its in [(unit, [f for f in flags if f != "-shared"]), (HERE / "runtime.cc", plain),
                     *([(HERE / "checks.cc", plain)] if checked else [])]:
        objects.append(folder / f"{one.stem}.o")
        _run([compiler(), *its, *include, "-c", str(one), "-o", str(objects[-1])])
    built = folder / "kernels.so"
    _run([compiler(), "-shared", *map(str, objects), "-o", str(built)])
    return built


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the host build failed:\n{done.stderr[-4000:]}")


@functools.cache
def _machine() -> str:
    """What `-march=native` depends on."""
    told = subprocess.run([compiler(), "-march=native", "-Q", "--help=target"], capture_output=True, text=True)
    return told.stdout


class Kernels:
    """The kernels of one file, with one set of defines, on the CPU."""

    def __init__(self, library: Path, source: Path, checked: bool):
        self.source, self.checked, self.library = source, checked, ctypes.CDLL(str(library))
        self.path = library
        self.library.cuda_host_launch.restype = ctypes.c_char_p
        self.library.cuda_host_launch.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t,
                                                  ctypes.c_void_p, ctypes.c_ulong]
        self.library.cuda_host_parameters.restype = ctypes.c_char_p

    def parameters(self, name: str) -> list[str]:
        """The kernel's parameters: "pcf" a pointer to const float, "pmf" one to float, "i" an int, "f" a float."""
        found: list[str] = []
        while (letters := self.library.cuda_host_parameters(name.encode(), len(found))) is not None:
            found.append(letters.decode())
        return found

    def launch(self, name: str, grid: Sequence[int], block: Sequence[int], shared: int, args: Sequence[Any],
               turn: int = 0) -> None:
        """Run it.  `args`: C-contiguous NumPy arrays, NumPy scalars, None for a null pointer; held to the kernel's
        declaration.  `turn` is the order of threads and blocks: 0 as numbered, 1 backwards, else shuffled by it."""
        expected = self.parameters(name)
        if len(args) != len(expected):
            raise TypeError(f"{name} takes {len(expected)} arguments; got {len(args)}")
        kept = [_argument(name, i, a, letters) for i, (a, letters) in enumerate(zip(args, expected))]
        pointers = (ctypes.c_void_p * max(len(kept), 1))(*(ctypes.addressof(k) for k in kept))
        told = self.library.cuda_host_launch(name.encode(), (ctypes.c_uint * 3)(*grid), (ctypes.c_uint * 3)(*block),
                                             shared, pointers, turn)
        if told is not None:
            kind, _, text = told.decode().partition("|")
            raise KernelFault(kind, text)


def _argument(name: str, i: int, value: Any, letters: str) -> Any:
    """The C object that holds one argument."""
    where = f"argument {i} of {name}"
    if letters.startswith("p"):
        if value is None:
            return ctypes.c_void_p(None)
        if not isinstance(value, np.ndarray):
            raise TypeError(f"{where} is a pointer; got {type(value).__name__}")
        came = LETTERS.get(str(value.dtype))
        if came != letters[2] and {came, letters[2]} != {"?", "B"}:
            raise TypeError(f"{where} points to {letters[2]!r}; got an array of {value.dtype}")
        if not value.flags.c_contiguous:
            raise TypeError(f"{where} must be C-contiguous")
        return ctypes.c_void_p(value.ctypes.data)
    if not isinstance(value, np.generic) or LETTERS.get(str(value.dtype)) != letters:
        raise TypeError(f"{where} is a {letters!r}; got {type(value).__name__}")
    return ctypes.c_char.from_buffer_copy(value.tobytes()) if len(value.tobytes()) == 1 else \
        (ctypes.c_char * len(value.tobytes())).from_buffer_copy(value.tobytes())
