"""The table of the GPU kernels: what each needs in machine code, how many of its blocks fit, and which proofs it has.

    pip install -e ".[test,proofs]" && python benchmarks/kernels.py [--arch 80 --arch 90] [--markdown] [--bytes]

Registers, shared memory and blocks are the compiler's and NVIDIA's occupancy rules', no device is needed; of several
sets of defines the most demanding is shown.  `--bytes` also runs each version in the checked host build, at its
example, and shows bytes counted over bytes claimed.
"""

from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

import visattn.gpu
from visattn import gpu, ops, tree
from visattn.check import twins
from visattn.check.kernels import machine
from visattn.check.kernels.launches import launches, twin_file
from visattn.gpu import _device, _kernels

HERE = Path(visattn.gpu.__file__).parent


class Line(NamedTuple):
    """One kernel on one architecture, its most demanding set of defines."""

    kernel: str
    versions: str
    arch: int
    threads: int
    registers: int
    spills: int
    shared: int
    blocks: int
    occupancy: float
    mix: str
    faults: list[str]
    moved: str = ""


def lines(archs: list[int]) -> dict[Path, list[Line]]:
    files = sorted(HERE.glob("*/*.cu"))
    jobs = [job for file in files for job in machine.jobs(file, archs)]
    found: dict[Path, dict[tuple[str, int], Line]] = {file: {} for file in files}
    versions = launched()
    for built in machine.compile_all(jobs):
        read = _kernels.read(built.job.source)
        for name, its in built.kernels.items():
            header, defines, arch = read[name], built.job.defines, built.job.arch
            shared, threads = its.shared + header.dynamic(defines), header.block(defines)
            line = Line(name, versions.get(name, "-"), arch, threads, its.registers, its.spills, shared,
                        machine.blocks_that_fit(arch, threads, its.registers, shared),
                        machine.occupancy(arch, threads, its.registers, shared), its.summary,
                        machine.faults(header, defines, arch, its))
            before = found[built.job.source].get((name, arch))
            if before is None or (bool(line.faults), -line.occupancy) > (bool(before.faults), -before.occupancy):
                found[built.job.source][name, arch] = line
    return {file: sorted(its.values()) for file, its in found.items()}


def launched() -> dict[str, str]:
    """{kernel: the versions that launch it}, at the operator's example."""
    found: dict[str, set[int]] = {}
    for name in gpu.twins():
        args, options = getattr(ops, name).example(np.random.default_rng(0))
        for version in range(2, getattr(gpu, name).SHIPS + 1):
            for its in launches(name, version, twins.cast(args, "float32"), options):
                for launch in its:
                    found.setdefault(launch.kernel, set()).add(version)
    return {kernel: ", ".join(map(str, sorted(its))) for kernel, its in found.items()}


def counted() -> dict[str, str]:
    """{kernel: bytes counted over bytes claimed} at the examples, in the checked host build."""
    moved: dict[str, list[int]] = {}
    for name in gpu.twins():
        args, options = getattr(ops, name).example(np.random.default_rng(0))
        for version in range(2, getattr(gpu, name).SHIPS + 1):
            seen: list[Any] = []
            token = _device.watching.set(seen)
            try:
                with twins.running("host", checked=True):
                    y, cache = getattr(gpu, name).forward(*twins.cast(args, "float32"), **options, version=version)
                    getattr(gpu, name).backward(tree.map(np.ones_like, y), cache, version=version)
            finally:
                _device.watching.reset(token)
            for launch in seen:
                said = _kernels.read(launch.source)[launch.kernel].bytes(launch)
                total = moved.setdefault(launch.kernel, [0, 0])
                total[0] += launch.counted.reads + launch.counted.writes
                total[1] += sum(said)
    return {kernel: f"{a} / {b} = {a / b:.2f}" for kernel, (a, b) in moved.items() if b}


def proofs() -> list[tuple[str, str, str]]:
    """[(twin, version, proofs)]: what the tests hold of it; 'on a device' comes from results of `make check-gpu`."""
    found = []
    for name in gpu.twins():
        ships = getattr(gpu, name).SHIPS
        found.append((name, "0", "dispatch"))
        if twin_file(name).with_name(f"{name}_v1.py").exists():
            found.append((name, "1", "simulated, compiled"))
        found += [(name, f"{v}{', ships' if v == ships else ''}", "host build, sanitized, compiled, bytes")
                  for v in range(2, ships + 1)]
    return found


HEADINGS = ("kernel", "versions", "sm", "threads", "registers", "spills", "shared", "blocks", "occupancy",
            "instructions")


def main(
    arch: Annotated[list[int] | None, typer.Option(help="75, 80, 90 or 100.")] = None,
    markdown: Annotated[bool, typer.Option(help="As a Markdown table.")] = False,
    count: Annotated[bool, typer.Option("--bytes", help="Also count bytes in the checked host build.")] = False,
):
    """Print what the kernels need, and whether they keep to their headers."""
    moved = counted() if count else {}
    rows, wrong = [], []
    for its in lines(arch or [80, 90]).values():
        for line in its:
            rows.append([line.kernel, line.versions, str(line.arch), str(line.threads), str(line.registers),
                         str(line.spills), str(line.shared), str(line.blocks), f"{line.occupancy:.0%}", line.mix,
                         *([moved.get(line.kernel, "")] if count else [])])
            wrong += [f"{line.kernel}, sm_{line.arch}: {fault}" for fault in line.faults]
    headings = [*HEADINGS, *(["bytes counted / claimed"] if count else [])]
    if markdown:
        print("\n".join("| " + " | ".join(row) + " |" for row in [headings, ["---"] * len(headings), *rows]))
    else:
        table = Table(box=None, pad_edge=False)
        for heading in headings:
            table.add_column(heading, no_wrap=heading not in ("instructions",))
        for row in rows:
            table.add_row(*row)
        console = Console(width=180)
        console.print(table)
        console.print("\nproofs, held by `make proofs`: " + "; ".join(f"{n} {v}: {p}" for n, v, p in proofs()))
    print("\n".join(["", "not within the budget:", *wrong] if wrong else ["", "all within the budget"]))


if __name__ == "__main__":
    typer.run(main)
