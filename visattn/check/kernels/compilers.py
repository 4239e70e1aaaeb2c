"""The process in which kernels are compiled: NVRTC, ptxas and nvdisasm of the pip wheels, and Numba.

Started by `visattn.check.kernels.machine`: requests come one JSON a line, answers go likewise.  A process of its own,
because Numba is imported either with its simulator or with its compiler, and the tests need both.
"""

import importlib.util
import json
import re
import struct
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

INCLUDE = Path(__file__).parents[2] / "gpu"
FIX = 'pip install "visattn[proofs]"'


class NoCompiler(RuntimeError):
    """A compiler is not installed; the message says how to get it."""


class CompileError(RuntimeError):
    """The compiler refused a kernel; the message is its own."""


class Compiled(NamedTuple):
    """One kernel in machine code."""

    registers: int              # of a thread
    spills: int                 # bytes that did not fit them, stores and loads
    stack: int                  # bytes of local memory of a thread
    shared: int                 # static, bytes of a block
    constant: int               # bytes, parameters included
    mix: Counter[str]           # instructions: how often each stands in the code

    def count(self, *names: str) -> int:
        """Instructions of these kinds, whatever follows the first dot."""
        return sum(n for code, n in self.mix.items() if code.partition(".")[0] in names)

    @property
    def double(self) -> dict[str, int]:
        """Instructions on 64-bit floats, conversions from and to them included."""
        return {code: n for code, n in self.mix.items()
                if re.match(r"D(ADD|MUL|FMA|SETP|MNMX|MMA|SET)\b", code) or ".F64" in code or "64H" in code}

    @property
    def tensor(self) -> int:
        """Instructions on tensor cores."""
        return self.count("HMMA", "IMMA", "HGMMA", "UTCHMMA", "QMMA", "OMMA")

    @property
    def fma(self) -> int:
        """Multiply-adds in float32; FFMA2 is two at once."""
        return self.count("FFMA", "FFMA32I") + 2 * self.count("FFMA2")

    @property
    def shared_loads(self) -> int:
        return self.count("LDS", "LDSM")

    def widths(self, name: str) -> dict[int, int]:
        """How many LDG or STG move 8, 16, 32, 64, 128 bits."""
        found: Counter[int] = Counter()
        for code, n in self.mix.items():
            first, *rest = code.split(".")
            if first == name:
                found[next((int(w.lstrip("US")) for w in rest if re.fullmatch(r"[US]?(8|16|64|128|256)", w)), 32)] += n
        return dict(sorted(found.items()))

    @property
    def summary(self) -> str:
        """The instruction mix in one line."""
        counts = {"FMA": self.fma, "tensor": self.tensor, "shared loads": self.shared_loads, "MUFU": self.count("MUFU"),
                  "shuffles": self.count("SHFL"), "barriers": self.count("BAR"), "f64": sum(self.double.values())}
        widths = {name: self.widths(name) for name in ("LDG", "STG")}
        return ", ".join([*(f"{n} {name}" for name, n in counts.items() if n),
                          *(" ".join([name, *(f"{n}×{w}" for w, n in its.items())]) for name, its in widths.items())])


def serve() -> None:
    """Answer requests, one JSON a line, until there are no more."""
    out, sys.stdout = sys.stdout, sys.stderr                            # who prints does not disturb
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if "numba" in request:
                answer: dict[str, Any] = {"found": _numba(request["numba"], request["archs"])}
            else:
                code, log = _nvrtc(Path(request["source"]), request["defines"], request["arch"])
                answer = {"kernels": {name: c._asdict() for name, c in _examine(code, log).items()}}
        except NoCompiler as error:
            answer = {"missing": str(error)}
        except Exception as error:                                      # a launcher's own, as well as the compiler's
            answer = {"error": str(error) if isinstance(error, CompileError) else traceback.format_exc()}
        print(json.dumps(answer), file=out, flush=True)


def _toolkit(*parts: str) -> Path:
    """A file of the CUDA wheels."""
    found = importlib.util.find_spec("nvidia")
    for root in found.submodule_search_locations or () if found else ():
        for path in (Path(root) / "cu13").joinpath(*parts), (Path(root) / "cu13").joinpath(*parts).with_suffix(".exe"):
            if path.exists():
                return path
    raise NoCompiler(f"{'/'.join(parts)} of the CUDA wheels is not there: {FIX}")


def _nvrtc(source: Path, defines: Mapping[str, Any], arch: int) -> tuple[bytes, str]:
    """Machine code and what the assembler said."""
    from cuda.bindings import nvrtc  # type: ignore[import-untyped]

    def done(result: Any) -> Any:
        if int(result[0]):
            raise NoCompiler(f"NVRTC: {result[0]}")
        return result[1] if len(result) == 2 else None

    program = done(nvrtc.nvrtcCreateProgram(source.read_bytes(), source.name.encode(), 0, [], []))
    include = _toolkit("include")
    folders = (INCLUDE, include, include / "cccl")
    options = ["--std=c++17", f"--gpu-architecture=sm_{arch}", "--ptxas-options=-v", *(f"-I{f}" for f in folders),
               *(f"-D{k}={v}" for k, v in defines.items())]
    failed = nvrtc.nvrtcCompileProgram(program, len(options), [o.encode() for o in options])[0]
    log = b" " * done(nvrtc.nvrtcGetProgramLogSize(program))
    done(nvrtc.nvrtcGetProgramLog(program, log))
    said = log.decode(errors="replace").rstrip("\0 \n")
    if int(failed):
        raise CompileError(f"{source.name} for sm_{arch} with {dict(defines)}: {said[-3000:] or failed}")
    code = b" " * done(nvrtc.nvrtcGetCUBINSize(program))
    done(nvrtc.nvrtcGetCUBIN(program, code))
    nvrtc.nvrtcDestroyProgram(program)
    return code, said


FUNCTION = re.compile(r"Compiling entry function '(\w+)'")
USED, SHARED = re.compile(r"Used (\d+) registers"), re.compile(r"(\d+) bytes smem")
FRAME = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
INSTRUCTION = re.compile(r"^\s+/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)", re.M)


def _examine(code: bytes, log: str) -> dict[str, Compiled]:
    """The kernels of a cubin, from the assembler's log and the disassembly."""
    mixes, sections, found = _disassemble(code), _sections(code), {}
    parts = FUNCTION.split(log)[1:]
    for name, text in zip(parts[::2], parts[1::2]):
        frame, used, shared = FRAME.search(text), USED.search(text), SHARED.search(text)
        if frame is None or used is None:
            raise CompileError(f"what the assembler says of {name} is not understood:\n{text}")
        constant = sum(size for s, size in sections.items() if re.fullmatch(rf"\.nv\.constant\d+\.{name}", s))
        found[name] = Compiled(int(used[1]), int(frame[2]) + int(frame[3]), int(frame[1]),
                               int(shared[1]) if shared else 0, constant, mixes[name])
    return found


def _disassemble(code: bytes) -> dict[str, Counter[str]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernels.cubin"
        path.write_bytes(code)
        done = subprocess.run([_toolkit("bin", "nvdisasm"), "-c", "-ndf", path], capture_output=True, text=True)
    if done.returncode:
        raise CompileError(f"nvdisasm: {done.stderr}")
    parts = re.split(r"^\s*\.section\s+\.text\.(\w+).*$", done.stdout, flags=re.M)[1:]
    return {name: Counter(INSTRUCTION.findall(text)) for name, text in zip(parts[::2], parts[1::2])}


def _sections(code: bytes) -> dict[str, int]:
    """Sections of an ELF file and how long they are."""
    start, = struct.unpack_from("<Q", code, 0x28)
    size, count, names = struct.unpack_from("<HHH", code, 0x3A)
    heads = [struct.unpack_from("<IIQQQQ", code, start + i * size) for i in range(count)]
    strings = heads[names][4]
    return {code[strings + h[0]:code.index(b"\0", strings + h[0])].decode(): h[5] for h in heads}


def _numba(operator: str, archs: Sequence[int]) -> list[dict[str, Any]]:
    """The Numba kernels of an operator's version 1.  Its launchers run, but what they launch is only noted, the kernels
    and the types of their arguments; then each is compiled to PTX for the first architecture, and that assembled for
    all of them."""
    from numba import cuda, typeof, types
    from numba.core.errors import NumbaError
    from numba.cuda import dispatcher

    from visattn.check.kernels.launches import calls, placed, run

    seen: dict[tuple[str, tuple[Any, ...]], tuple[Any, int]] = {}

    class Noted:
        def __init__(self, kernel: Any, shape: Any):
            self.kernel, self.block = kernel, shape[1]

        def __call__(self, *args: Any) -> None:
            threads = self.block if isinstance(self.block, int) else prod(self.block)
            seen[self.kernel.py_func.__name__, tuple(map(typeof, args))] = self.kernel, threads

    dispatchers: Any = dispatcher.CUDADispatcher
    dispatchers.__getitem__ = lambda kernel, shape: Noted(kernel, shape)
    # For a function called by a kernel Numba asks the device at hand; what it makes is not bound to it.
    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=divmod(min(archs), 10))
    for args, options in calls(operator):
        with placed("simulator"):
            run(operator, 1, args, options)
    found = []
    for (name, kinds), (kernel, block) in seen.items():
        try:
            ptx, _ = cuda.compile_ptx(kernel.py_func, types.void(*kinds), cc=divmod(min(archs), 10))
        except NumbaError as error:
            raise CompileError(f"{name}{kinds}: {error}") from error
        for arch in archs:                                              # what is made for one runs on all that follow
            code, log = _assemble(ptx, arch)
            (compiled,) = _examine(code, log).values()
            found.append({"name": name, "types": ", ".join(map(str, kinds)), "arch": arch, "block": block,
                          "compiled": compiled._asdict(), "double": len(re.findall(r"^\s.*\.f64", ptx, re.M))})
    return found


def _assemble(ptx: str, arch: int) -> tuple[bytes, str]:
    with tempfile.TemporaryDirectory() as folder:
        source, built = Path(folder) / "kernel.ptx", Path(folder) / "kernel.cubin"
        source.write_text(ptx, encoding="utf-8")
        done = subprocess.run([_toolkit("bin", "ptxas"), "-v", f"-arch=sm_{arch}", source, "-o", built],
                              capture_output=True, text=True)
        if done.returncode:
            raise CompileError(f"ptxas: {done.stderr}")
        return built.read_bytes(), done.stderr


if __name__ == "__main__":
    serve()
