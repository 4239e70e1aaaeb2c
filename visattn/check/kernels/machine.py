"""The kernels compiled without a GPU: what the machine code needs, and whether it keeps to its header.

    for built in compile_all([Job(path, {"Real": "float"}, 80)]):
        built.kernels["softmax_kept"].registers, .spills, .mix["FFMA"]
    faults(header, defines, 80, built.kernels["softmax_kept"])      # [] where it keeps to the header

NVRTC makes the same machine code that CuPy would have it make on a device, for any architecture; nvdisasm reads the
instructions.  All comes from pip: pip install "visattn[proofs]".  Compilers run in child processes, as many as there
are cores, and what they found is kept on disk.

What this proves: that the kernels compile, and how many of their blocks fit a multiprocessor.  Not their speed.
"""

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Empty, Queue
from typing import Any, NamedTuple

from visattn import gpu
from visattn.check.kernels import compilers
from visattn.check.kernels.compilers import FIX, Compiled, CompileError, NoCompiler
from visattn.check.kernels.launches import twin_file
from visattn.gpu._kernels import Header, read

PACKAGES = ("cuda-bindings", "nvidia-cuda-nvrtc", "nvidia-cuda-nvdisasm", "nvidia-cuda-nvcc", "numba-cuda")


class Card(NamedTuple):
    """What a multiprocessor holds, per compute capability.

    CUDA C++ Programming Guide, "Technical Specifications per Compute Capability", and cuda_occupancy.h of the CUDA
    toolkit, with which tests/gpu/test_offline.py compares every answer.  Common to all: 65,536 registers in four parts,
    given out 256 to a warp.
    """

    threads: int                # that fit a multiprocessor
    blocks: int                 # likewise
    shared: int                 # bytes of shared memory
    most_shared: int            # of one block
    reserved: int               # bytes that the system takes of each block's
    unit: int                   # in which shared memory is given out


CARDS = {75: Card(1024, 16, 64 << 10, 64 << 10, 0, 256),            # T4
         80: Card(2048, 32, 164 << 10, 163 << 10, 1024, 128),       # A100
         90: Card(2048, 32, 228 << 10, 227 << 10, 1024, 128),       # H100
         100: Card(2048, 32, 228 << 10, 227 << 10, 1024, 128)}      # B200
REGISTERS = 65536


class Job(NamedTuple):
    """A file to compile, with its defines, for one architecture."""

    source: Path
    defines: Mapping[str, Any]
    arch: int


class Built(NamedTuple):
    job: Job
    kernels: dict[str, Compiled]
    error: str = ""             # what the compiler said, where it refused


class NumbaKernel(NamedTuple):
    """A version 1 kernel, with the types that its launcher gives it, in machine code."""

    name: str
    types: str
    arch: int
    block: int
    compiled: Compiled
    double_in_ptx: int          # 64-bit float instructions in PTX


def blocks_that_fit(arch: int, threads: int, registers: int, shared: int) -> int:
    """Blocks of a kernel that a multiprocessor holds at once: the least of what threads, registers, shared memory and
    the hardware's own limit allow."""
    card = CARDS[arch]
    warps = -(-threads // 32)
    each = -(-registers * 32 // 256) * 256                              # registers of a warp
    if threads > 1024 or each * 4 * -(-warps // 4) > REGISTERS or shared > card.most_shared:
        return 0                                                        # not one
    fits = [card.blocks, card.threads // 32 // warps]
    if each:
        fits.append(REGISTERS // 4 // each * 4 // warps)
    if shared + card.reserved:
        fits.append(card.shared // (-(-(shared + card.reserved) // card.unit) * card.unit))
    return min(fits)


def occupancy(arch: int, threads: int, registers: int, shared: int) -> float:
    """The share of a multiprocessor's threads that can be at work."""
    blocks = blocks_that_fit(arch, threads, registers, shared)
    return blocks * -(-threads // 32) * 32 / CARDS[arch].threads


def faults(header: Header, defines: Mapping[str, Any], arch: int, built: Compiled) -> list[str]:
    """Where the machine code does not keep to the budget: no spills, at least two blocks on a multiprocessor or as many
    as the header says, no 64-bit floats, and what the header promises of tensor cores and shared memory."""
    found = []
    if built.spills or built.stack or built.count("LDL", "STL"):
        found.append(f"{built.spills} bytes spilled, {built.stack} bytes of local memory, "
                     f"{built.count('LDL', 'STL')} instructions on it")
    shared = built.shared + header.dynamic(defines)
    threads = header.block(defines)
    blocks = blocks_that_fit(arch, threads, built.registers, shared)
    if blocks < header.blocks:
        found.append(f"{blocks} blocks fit a multiprocessor instead of {header.blocks}: {threads} threads, "
                     f"{built.registers} registers, {shared} bytes of shared memory")
    real = str(defines.get("Real", "float"))
    if real != "double" and built.double:
        found.append(f"64-bit floats in a {real} kernel: {built.double}")
    if header.tensor_cores and not built.tensor:
        found.append("no instruction on tensor cores")
    if header.fma_per_load and built.fma < header.fma_per_load * built.shared_loads:
        found.append(f"{built.fma} FMA to {built.shared_loads} loads from shared memory; the header says "
                     f"{header.fma_per_load:g} to 1")
    return found


def jobs(source: Path, archs: Iterable[int] = tuple(CARDS)) -> list[Job]:
    """What a `.cu` file asks to be compiled, for each architecture that it is for."""
    file = read(source)
    return [Job(source, defines, arch) for defines, since in zip(file.compile, file.since) for arch in archs
            if arch >= since]


def compile_all(wanted: Sequence[Job]) -> list[Built]:
    """Compile each job, or find it on disk.  What a compiler refuses comes back with its `error`."""
    answers = _answers([{"source": str(job.source), "defines": dict(job.defines), "arch": job.arch} for job in wanted],
                       [_digest(job) for job in wanted])
    return [Built(job, {name: _compiled(c) for name, c in answer.get("kernels", {}).items()}, answer.get("error", ""))
            for job, answer in zip(wanted, answers)]


def compile_numba(operators: Sequence[str], archs: Sequence[int] = tuple(CARDS)) -> dict[str, list[NumbaKernel]]:
    """The version 1 kernels of these operators, for the types that their launchers give them at the operator's
    examples."""
    answers = _answers([{"numba": name, "archs": list(archs)} for name in operators],
                       [_digest_numba(name, archs) for name in operators])
    for name, answer in zip(operators, answers):
        if "error" in answer:
            raise CompileError(f"{name}_v1: {answer['error']}")
    return {name: [NumbaKernel(k["name"], k["types"], k["arch"], k["block"], _compiled(k["compiled"]), k["double"])
                   for k in answer["found"]] for name, answer in zip(operators, answers)}


def _compiled(answer: Mapping[str, Any]) -> Compiled:
    return Compiled(**{**answer, "mix": Counter(answer["mix"])})


# What was compiled before is kept on disk, under the hash of all that went into it.

def _digest(job: Job) -> str:
    headers = sorted({*job.source.parent.glob("*.cuh"), *HERE.glob("*.cuh")})
    return _hash(job.source.read_text(encoding="utf-8"), repr(sorted((k, str(v)) for k, v in job.defines.items())),
                 str(job.arch), *(h.read_text(encoding="utf-8") for h in headers))


def _digest_numba(name: str, archs: Sequence[int]) -> str:
    twin = twin_file(name)
    path = twin.relative_to(HERE)
    its = [twin, twin.with_name(f"{twin.stem}_v1.py"), HERE / "_numba.py", HERE.parent / "ops" / path,
           HERE.parent / "check" / "mistakes" / path]
    return _hash("numba", repr(archs), *(f.read_text(encoding="utf-8") for f in its if f.exists()))


def _hash(*parts: str) -> str:
    parts = (*parts, Path(compilers.__file__).read_text(encoding="utf-8"), *_versions())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


HERE = Path(gpu.__file__).parent


def _versions() -> list[str]:
    missing = []
    for name in PACKAGES:
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        raise NoCompiler(f"to compile kernels without a GPU, {', '.join(missing)} must be installed: {FIX}")
    return [f"{name} {importlib.metadata.version(name)}" for name in PACKAGES]


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "visattn" / "offline"


def _answers(requests: Sequence[Mapping[str, Any]], digests: Sequence[str]) -> list[dict[str, Any]]:
    """What the child processes answer, request by request.  Errors are not kept."""
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, dict[str, Any]] = {}
    left: Queue[tuple[str, Mapping[str, Any]]] = Queue()
    for digest, request in dict(zip(digests, requests)).items():
        if (path := folder / f"{digest}.json").exists():
            found[digest] = json.loads(path.read_text(encoding="utf-8"))
        else:
            left.put((digest, request))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not left.empty():
        with ThreadPoolExecutor(workers := min(cores, left.qsize())) as pool:
            for answers in pool.map(lambda _: dict(_employ(left, folder)), range(workers)):
                found |= answers
    return [found[digest] for digest in digests]


def _employ(left: "Queue[tuple[str, Mapping[str, Any]]]", folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """One child process, which compiles until nothing is left."""
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "0", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen([sys.executable, "-m", "visattn.check.kernels.compilers"], env=environment, text=True,
                          encoding="utf-8", stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        while True:
            try:
                digest, request = left.get_nowait()
            except Empty:
                child.stdin.close()
                return
            print(json.dumps(request), file=child.stdin, flush=True)
            line = child.stdout.readline()
            if not line:
                raise CompileError(f"the compiling process ended at {request}")
            answer = json.loads(line)
            if "missing" in answer:
                raise NoCompiler(answer["missing"])
            if "error" not in answer:
                with tempfile.NamedTemporaryFile("w", dir=folder, delete=False, encoding="utf-8") as file:
                    file.write(line)
                Path(file.name).replace(folder / f"{digest}.json")      # whole or not at all
            yield digest, answer
