"""The host build: a `.cu` file, unmodified, compiled with g++ and run on the CPU.

    kernels = build(Path("softmax.cu"), {"Real": "float"})
    kernels.launch("softmax_row", grid=(4, 1, 1), block=(128, 1, 1), shared=0, args=[x, y, np.int32(70)])

One fiber per CUDA thread (`runtime.cc`).  In a **checked** build the hooks of the compiler's sanitizers lead every load
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
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

HERE = Path(__file__).parent
GPU = HERE.parent                                                   # common.cuh is there
FLAGS = ("-std=c++20", "-march=native", "-fno-strict-aliasing", "-fPIC", "-fvisibility=hidden", "-w")
FAST = ("-O2",)
CHECKED = ("-O1", "-gdwarf-4", "-DCUDA_HOST_CHECKED", "-fsanitize=thread",
           "-fsanitize=bounds,alignment,signed-integer-overflow,shift,integer-divide-by-zero")
LETTERS = {"float32": "f", "float64": "d", "float16": "e", "bfloat16": "E", "bool": "?", "uint8": "B", "int32": "i",
           "uint32": "I", "int64": "q"}
BOUNDS = r"__launch_bounds__\s*\((?P<threads>(?:[^()]|\([^()]*\))*)\)\s*"
KERNEL = re.compile(rf'extern\s+"C"\s+__global__\s+void\s+(?:{BOUNDS})?(?P<name>\w+)\s*\((?P<parameters>[^)]*)\)')
DYNAMIC = re.compile(r"extern\s+__shared__\s+(?:__align__\s*\(\s*\d+\s*\)\s*)?([\w:<> ]+?)\s+(\w+)\s*\[\s*\]\s*;")
_building, _launching = threading.Lock(), threading.Lock()


class NoCompiler(RuntimeError):
    """There is no g++ here; the message says how to get one."""


class DoesNotCompile(RuntimeError):
    """A `.cu` file is not C++ to g++; the message is the compiler's first error."""


class KernelFault(RuntimeError):
    """A kernel broke a rule of CUDA.  `kind` is the rule: barrier, warp, race, bounds, const, unwritten, address
    (alignment), overflow (of integers), shared (too much of it), stack, launch (its sizes)."""

    def __init__(self, kind: str, text: str):
        super().__init__(f"{kind}: {text}")
        self.kind = kind


class Moved(NamedTuple):
    """What the kernel did to one array.  An instruction of a warp moves the distinct bytes that its lanes touch, in
    sectors of 32 bytes; that a cache may have them already is not modelled."""

    reads: int                  # bytes
    writes: int
    atomics: int                # operations of single lanes; not among the bytes
    sectors_read: int
    sectors_written: int
    unwritten: int              # elements that were blank before and still are: all bits set, as `_device.empty` leaves


class Counted(NamedTuple):
    """What one launch moved through global memory, in all and by parameter, and how often it went to shared memory."""

    reads: int
    writes: int
    atomics: int
    sectors_read: int
    sectors_written: int
    unwritten: int
    shared_accesses: int        # instructions of a warp
    bank_conflicts: int         # passes over the banks that these took beyond the least
    by_parameter: dict[str, Moved]


@functools.cache
def compiler() -> str:
    """The path of g++, or NoCompiler."""
    found = shutil.which(os.environ.get("CXX", "g++"))
    if found is None:
        raise NoCompiler("the host build needs g++: apt install g++ (Debian, Ubuntu), or set CXX")
    return found


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "visattn" / "host"


def build(source: Path, defines: Mapping[str, Any] = {}, *, checked: bool = False) -> "Kernels":
    """The kernels of a `.cu` file, compiled for the CPU with `-D` of `defines`; kept on disk, and in memory."""
    headers = sorted({*GPU.glob("*.cuh"), *source.parent.glob("*.cuh"), *HERE.glob("*.h")})
    with _building:
        return _build(source, tuple(sorted((k, str(v)) for k, v in defines.items())), checked,
                      tuple((file, (stat := file.stat()).st_mtime_ns, stat.st_size) for file in [source, *headers]))


@functools.cache
def _build(source: Path, defines: tuple[tuple[str, str], ...], checked: bool,
           files: tuple[tuple[Path, int, int], ...]) -> "Kernels":
    text, *headers = (file.read_text(encoding="utf-8") for file, _, _ in files)
    library = _kept(source.stem, ".so", (*FLAGS, *(CHECKED if checked else FAST)), [text, *headers, repr(defines)],
                    lambda folder, flags: _compile(source, text, defines, flags, checked, folder))
    return Kernels(library, source, text, checked)


def _kept(stem: str, suffix: str, flags: Sequence[str], parts: Sequence[str], make: Any) -> Path:
    """The file that `make` writes into a folder; made once for these flags and parts, by whichever process is first."""
    key = hashlib.sha256("\0".join([_machine(), repr(flags), *parts, *_runtime()]).encode()).hexdigest()[:20]
    kept = cache_folder() / f"{stem}-{key}{suffix}"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            make(Path(folder), flags).replace(kept)                 # whole or not at all
    return kept


@functools.cache
def _runtime() -> tuple[str, ...]:
    return tuple((HERE / name).read_text(encoding="utf-8") for name in ("runtime.cc", "checks.cc"))


def _compile(source: Path, text: str, defines: Sequence[tuple[str, str]], flags: Sequence[str], checked: bool,
             folder: Path) -> Path:
    unit = folder / "kernels.cc"
    # The defines come after the shim, as they would collide with its own names.
    macros = "\n".join(f"#define {k} {v}" for k, v in defines)
    unit.write_text(f'#include "cuda.h"\n{macros}\n#line 1 "{source}"\n{_for_host(source, text)}\n{_table(text)}\n',
                    encoding="utf-8")
    _run(source, [*flags, "-I", str(source.parent), "-I", str(GPU), "-c", str(unit), "-o", str(folder / "kernels.o")])
    plain = (*FLAGS, "-O2", *(["-DCUDA_HOST_CHECKED"] if checked else []))
    headers = [header.read_text(encoding="utf-8") for header in sorted(HERE.glob("*.h"))]
    objects = [_kept(stem, ".o", plain, headers, functools.partial(_runtime_object, stem))
               for stem in ("runtime", *(["checks"] if checked else []))]
    # Symbolic: a kernel named like a function of the C library is itself.
    _run(source, ["-shared", "-Wl,-z,defs", "-Wl,-Bsymbolic", *map(str, [folder / "kernels.o", *objects]),
                  "-o", str(folder / "it.so")])
    return folder / "it.so"


def _runtime_object(stem: str, folder: Path, flags: Sequence[str]) -> Path:
    _run(HERE / f"{stem}.cc", [*flags, "-c", str(HERE / f"{stem}.cc"), "-o", str(folder / "it.o")])
    return folder / "it.o"


def _for_host(source: Path, text: str) -> str:
    """Shared memory is what C++ cannot say: dynamic as a pointer, static in a section for each kernel."""
    kernels = list(KERNEL.finditer(text))
    if not kernels:
        raise ValueError(f'{source} has no kernel: none is declared extern "C" __global__ void name(…)')
    parts = [text[:kernels[0].start()]]
    for kernel, following in zip(kernels, [*kernels[1:], None]):
        body = text[kernel.start():following.start() if following else len(text)]
        body = DYNAMIC.sub(lambda m: f"{m[1]}* {m[2]} = ({m[1]}*)cuda_host::dynamic_shared();", body)
        parts.append(re.sub(r"\b__shared__\b", f"CUDA_HOST_SHARED({kernel['name']})", body))
    return "".join(parts)


def _table(text: str) -> str:
    """C++ that lists the kernels for the runtime."""
    declared, listed = [], []
    for name, threads in ((kernel["name"], kernel["threads"]) for kernel in KERNEL.finditer(text)):
        declared += [f'extern char {end}_cuda_shared_{name}[] __attribute__((weak, visibility("hidden")));'
                     for end in ("__start", "__stop")]
        listed.append(f'    kernel("{name}", ::{name}, {(threads or "1024").partition(",")[0]}, '
                      f"__start_cuda_shared_{name}, __stop_cuda_shared_{name}),")
    return "\n".join([*declared, "namespace cuda_host { const Kernel kernels[] = {", *listed, "    {}}; }"])


def _run(source: Path, arguments: Sequence[str]) -> None:
    done = subprocess.run([compiler(), *arguments, "-I", str(HERE), "-I", str(HERE / "include")], capture_output=True,
                          text=True)
    if done.returncode:
        said = done.stderr.splitlines()
        first = next((line for line in said if "error" in line or "undefined" in line), said[0] if said else "?")
        raise DoesNotCompile(f"{source} does not compile for the host: {first.strip()}")


@functools.cache
def _machine() -> str:
    """What `-march=native` depends on."""
    told = subprocess.run([compiler(), "-march=native", "-Q", "--help=target"], capture_output=True, text=True)
    return told.stdout


class Kernels:
    """The kernels of one file, with one set of defines, on the CPU."""

    def __init__(self, path: Path, source: Path, text: str, checked: bool):
        self.path, self.source, self.checked = path, source, checked
        self.names = {kernel["name"]: re.findall(r"(\w+)\s*(?:,|$)", kernel["parameters"].strip())
                      for kernel in KERNEL.finditer(text)}
        self.library = ctypes.CDLL(str(path))
        self.library.cuda_host_launch.restype = ctypes.c_char_p
        self.library.cuda_host_launch.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t,
                                                  ctypes.c_void_p, ctypes.c_ulong]
        self.library.cuda_host_parameters.restype = ctypes.c_char_p
        if checked:
            self._tell_variables()

    def parameters(self, name: str) -> list[str]:
        """The kernel's parameters: "pcf" a pointer to const float, "pmf" one to float, "i" an int, "f" a float."""
        found: list[str] = []
        while (letters := self.library.cuda_host_parameters(name.encode(), len(found))) is not None:
            found.append(letters.decode())
        return found

    def launch(self, name: str, grid: Sequence[int], block: Sequence[int], shared: int, args: Sequence[Any],
               turn: int = 0) -> Counted | None:
        """Run it.  `args`: C-contiguous NumPy arrays, NumPy scalars, None for a null pointer; held to the kernel's
        declaration.  `turn` is the order of threads and blocks: 0 as numbered, 1 backwards, else shuffled by it.
        A checked build returns what was counted."""
        if name not in self.names:
            raise ValueError(f"{self.source} has no kernel {name}; it has {', '.join(self.names)}")
        expected = self.parameters(name)
        if len(args) != len(expected):
            raise TypeError(f"{name} takes {len(expected)} arguments; got {len(args)}")
        kept = [_argument(name, i, a, letters) for i, (a, letters) in enumerate(zip(args, expected))]
        pointers = (ctypes.c_void_p * max(len(kept), 1))(*(ctypes.addressof(k) for k in kept))
        with _launching:                                            # a library has room for one launch at a time
            if self.checked:
                self.library.cuda_host_prepare()
                for i, (a, letters) in enumerate(zip(args, expected)):
                    self._tell_array(i, a, constant=letters[1:2] == "c")
            told = self.library.cuda_host_launch(name.encode(), (ctypes.c_uint * 3)(*grid), (ctypes.c_uint * 3)(*block),
                                                 shared, pointers, turn)
            if told is not None:
                kind, _, text = told.decode().partition("|")
                raise KernelFault(kind, self._named(name, text))
            return self._counted(name, args) if self.checked else None

    # What only a checked build has.

    def _tell_variables(self) -> None:
        """Where the kernels' __shared__ variables lie, from the library's table of symbols."""
        table = subprocess.run(["nm", "--demangle", "--format=sysv", str(self.path)], capture_output=True, text=True,
                               check=True)
        for line in table.stdout.splitlines():
            symbol, value, _, kind, size, *_, section = (*map(str.strip, line.split("|")), *[""] * 6)[:7]
            if section.startswith("cuda_shared_") and kind == "OBJECT" and size and "cuda_host_gap_" not in symbol:
                self.library.cuda_host_variable(symbol.split("::")[-1].encode(), ctypes.c_size_t(int(value, 16)),
                                                ctypes.c_size_t(int(size, 16)))

    def _tell_array(self, i: int, array: Any, constant: bool) -> None:
        if isinstance(array, np.ndarray):
            shows = array.dtype.kind not in "iu"                    # all bits set: no number and no truth value
            self.library.cuda_host_array(i, ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes),
                                         ctypes.c_size_t(array.itemsize), int(shows), int(constant))

    def _counted(self, name: str, args: Sequence[Any]) -> Counted:
        moved = {}
        for i, (parameter, array) in enumerate(zip(self.names[name], args)):
            if isinstance(array, np.ndarray):
                numbers = (ctypes.c_ulong * 6)()
                self.library.cuda_host_counted(i, numbers)
                moved[parameter] = Moved(*numbers)
        shared = (ctypes.c_ulong * 2)()
        self.library.cuda_host_counted_shared(shared)
        total = Moved(*map(sum, zip(Moved(0, 0, 0, 0, 0, 0), *moved.values())))
        return Counted(*total, shared[0], shared[1], moved)

    def _named(self, name: str, text: str) -> str:
        """The text of a fault with names for its parameters and lines for its places."""
        text = re.sub(r"<argument (\d+)>", lambda m: self.names[name][int(m[1])], text)
        return re.sub(r"<pc (\w+)>", lambda m: self._line(m[1]), text)

    def _line(self, address: str) -> str:
        """A place in the machine code as the line of the `.cu`, and the line of the header that stands there."""
        told = subprocess.run(["addr2line", "-i", "-e", str(self.path), address], capture_output=True, text=True)
        lines = [Path(line.partition(" ")[0]).name for line in told.stdout.splitlines()]
        lines = [line for line in lines if not line.startswith(("cuda.h:", "??"))]
        return " in ".join(dict.fromkeys(lines)) or f"address {address}"


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
