"""What kernels move, counted without a device.

    counts = visattn.gpu.count(visattn.gpu.softmax.forward, x)
    counts                              # a table: a line for each launch, and beside it what the kernel says of itself
    counts[0].reads, counts.result      # bytes of the first launch; what forward gave

The function runs in the checked host build, which sees each load and store, and raises KernelFault where a kernel
breaks a rule of CUDA.  Kernels of your own come from a text:

    cu = visattn.gpu.kernels(text)
    cu("name", Real="float")(grid, block, x, y, len(x))
"""

import atexit
import tempfile
from collections.abc import Callable, Iterable
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from visattn.gpu import _device, _kernels


class Count(NamedTuple):
    """What one launch moved through global memory, and how it went about shared memory."""

    kernel: str
    blocks: int
    threads: int                            # of a block
    reads: int                              # bytes: of each instruction of a warp the distinct ones
    writes: int
    says: _kernels.Bytes | None             # what the comment before the kernel says that it reads and writes
    sectors_read: int                       # of 32 bytes, the least that memory hands over; caches are not modelled
    sectors_written: int
    shared: int                             # instructions of a warp that go to shared memory
    conflicts: int                          # passes over its banks beyond the least


class Counts(tuple[Count, ...]):
    """The launches of a call, in order; shown as a table."""

    result: Any                             # what the function returned

    def __new__(cls, launches: Iterable[Count], result: Any = None) -> "Counts":
        made = super().__new__(cls, launches)
        made.result = result
        return made

    @property
    def moved(self) -> int:
        """Bytes that all launches read and write together."""
        return sum(one.reads + one.writes for one in self)

    def __repr__(self) -> str:
        rows = [["kernel", "blocks", "threads", "bytes read", "it says", "written", "it says", "sectors", "shared",
                 "conflicts"]]
        for one in self:
            says = one.says or ("", "")
            cells = (one.blocks, one.threads, one.reads, says[0], one.writes, says[1],
                     one.sectors_read + one.sectors_written, one.shared, one.conflicts)
            rows.append([one.kernel, *(f"{cell:,}" if isinstance(cell, int) else cell for cell in cells)])
        wide = [max(map(len, column)) for column in zip(*rows)]
        return "\n".join("  ".join([f"{row[0]:<{wide[0]}}", *(f"{cell:>{n}}" for cell, n in zip(row[1:], wide[1:]))])
                         for row in rows)


def count(function: Callable[..., Any], *args: Any, **options: Any) -> Counts:
    """Call `function` with its kernels in the checked host build, and count what each launch moves.

    Raises NoDevice where there is no g++, and KernelFault where a kernel breaks a rule; the message names the rule, the
    threads and the lines.
    """
    seen: list[_device.Launch] = []
    with _device.launching(place="host", watching=seen, checking=True):
        result = function(*args, **options)
    return Counts(map(_counted, seen), result)


def _counted(launch: _device.Launch) -> Count:
    of = launch.counted
    try:
        header: Any = _kernels.read(launch.source)[launch.kernel]
        says = header.bytes(launch)
    except _kernels.HeaderError:                                        # a kernel that says nothing of itself
        says = None
    return Count(launch.kernel, prod(launch.grid), prod(launch.block), of.reads, of.writes, says, of.sectors_read,
                 of.sectors_written, of.shared_accesses, of.bank_conflicts)


def kernels(text: str) -> _device.Source:
    """The kernels of a CUDA C++ text of your own, launched as those of the package are; `#include "common.cuh"` finds
    the package's."""
    folder = tempfile.TemporaryDirectory(prefix="visattn-")
    atexit.register(folder.cleanup)
    path = Path(folder.name) / "mine.cu"
    path.write_text(text, encoding="utf-8")
    return _device.Source(str(path))
