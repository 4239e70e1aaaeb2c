"""The GPU kernels on the GPU at hand: are they right there, and how fast are they?  `make check-gpu`

    python benchmarks/gpu.py [--only flash] [--minutes 8]
    python benchmarks/gpu.py --place host               # a rehearsal on the CPU: no time of it says anything of a GPU

In this order, until the minutes are up; what was not run is said at the end and in the file:

    parity      every version and precision of every twin at its example, in bounds of the reference's rounding
    suite       the tests of the kernels, on this device
    sanitizer   memcheck, racecheck, initcheck and synccheck of NVIDIA's compute-sanitizer, where it is installed
    times       each version against version 0 (the reference on CuPy arrays, that is cuBLAS and CuPy's own kernels)
                and against torch (cuDNN, its fused attention), all in this one run, on the same arrays

Writes benchmarks/results/<device>.json and a figure beside it; a rehearsal writes to build/gpu/.
"""

import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import date
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from visattn import gpu, plot, tree
from visattn.check import twins
from visattn.gpu import _device, _kernels

HERE = Path(__file__).parent
SANITIZERS = ("memcheck", "racecheck", "initcheck", "synccheck")
SUITE_SHARE, SANITIZER_SHARE = 0.35, 0.25           # of the minutes


class Case(NamedTuple):
    """A size at which a twin is timed, and how torch computes the same."""

    operator: str
    size: str
    shapes: tuple[tuple[int, ...], ...]
    rehearsal: tuple[tuple[int, ...], ...]          # the same, small
    torch: Callable[..., Any] | None = None         # (torch, *tensors) -> output
    options: dict[str, Any] = {}
    output: Callable[[Any], Any] = lambda y: y      # which output torch has, too


def fused(torch: Any, q: Any, k: Any, v: Any) -> Any:
    return torch.nn.functional.scaled_dot_product_attention(q, k, v)


def unfused(torch: Any, q: Any, k: Any, v: Any) -> Any:
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        return fused(torch, q, k, v)


def squeeze_excite(torch: Any, x: Any, w1: Any, w2: Any) -> Any:
    s = torch.sigmoid(torch.relu(x.mean((2, 3)) @ w1.T) @ w2.T)
    return s[:, :, None, None] * x


def channel_gate(torch: Any, x: Any, w1: Any, w2: Any) -> Any:
    b = sum(torch.relu(z @ w1.T) @ w2.T for z in (x.mean((2, 3)), x.amax((2, 3))))
    return torch.sigmoid(b)[:, :, None, None] * x


def spatial_gate(torch: Any, x: Any, w: Any) -> Any:
    d = torch.cat([x.mean(1, keepdim=True), x.max(1, keepdim=True).values], 1)
    return torch.sigmoid(torch.nn.functional.conv2d(d, w, padding=w.shape[-1] // 2)) * x


def times(n: int, shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    return (shape,) * n


FEATURES, SMALL = (32, 256, 56, 56), (2, 9, 7, 5)
CASES = [
    Case("softmax", "(16, 1024, 1024)", times(1, (16, 1024, 1024)), times(1, (3, 5, 70)),
         lambda torch, x: torch.softmax(x, -1)),
    Case("layernorm", "(16384, 768)", ((16384, 768), (768,), (768,)), ((9, 70), (70,), (70,)),
         lambda torch, x, g, b: torch.nn.functional.layer_norm(x, (x.shape[-1],), g, b)),
    Case("squeeze_excite", str(FEATURES), (FEATURES, (16, 256), (256, 16)), (SMALL, (3, 9), (9, 3)), squeeze_excite),
    Case("channel_gate", str(FEATURES), (FEATURES, (16, 256), (256, 16)), (SMALL, (3, 9), (9, 3)), channel_gate),
    Case("spatial_gate", str(FEATURES), (FEATURES, (1, 2, 7, 7)), (SMALL, (1, 2, 7, 7)), spatial_gate),
    Case("attention", "(4, 16, 1024, 64)", times(3, (4, 16, 1024, 64)), times(3, (1, 2, 40, 16)), unfused),
    Case("flash", "(4, 16, 4096, 64)", times(3, (4, 16, 4096, 64)), times(3, (1, 2, 70, 32)), fused,
         output=lambda y: y[0]),
    Case("flash", "causal, (4, 16, 4096, 64)", times(3, (4, 16, 4096, 64)), times(3, (1, 2, 70, 32)),
         lambda torch, *t: torch.nn.functional.scaled_dot_product_attention(*t, is_causal=True),
         {"causal": "top_left"}, lambda y: y[0]),
    Case("flash", "one query, (16, 16, 1 | 16384, 64)", ((16, 16, 1, 64), *times(2, (16, 16, 16384, 64))),
         ((1, 2, 1, 32), *times(2, (1, 2, 200, 32))), fused, output=lambda y: y[0]),
    Case("merge", "8 of (16, 16, 1024, 64)", ((16, 16, 8, 1024, 64), (16, 16, 8, 1024)), ((2, 3, 5, 7), (2, 3, 5)),
         None),
    Case("grid_sample", "(16, 64, 128, 128)", ((16, 64, 128, 128), (16, 128, 128, 2)), ((2, 3, 5, 7), (2, 6, 4, 2)),
         lambda torch, x, grid: torch.nn.functional.grid_sample(x, grid, align_corners=False),
         {"mode": "bilinear", "padding": "zeros", "align_corners": False}),
    Case("lstm_cell", "batch 256, 512 units", ((256, 512), *times(2, (256, 512)), *times(2, (2048, 512)),
                                               *times(2, (2048,))),
         ((3, 5), *times(2, (3, 7)), (28, 5), (28, 7), *times(2, (28,))),
         lambda torch, x, h, c, wx, wh, bx, bh: torch.lstm_cell(x, (h, c), wx, wh, bx, bh)),
]


class Clock:
    """How much of the minutes is left."""

    def __init__(self, minutes: float):
        self.end, self.whole = time.monotonic() + 60 * minutes, 60 * minutes
        self.not_run: list[str] = []

    def left(self) -> float:
        return self.end - time.monotonic()

    def allows(self, what: str) -> bool:
        if self.left() > 0:
            return True
        self.not_run.append(f"{what}: the minutes were up")
        return False


def main(
    only: Annotated[str | None, typer.Option(help="One operator, e.g. flash.")] = None,
    place: Annotated[str, typer.Option(help="cuda, or host for a rehearsal on the CPU.")] = "cuda",
    minutes: Annotated[float, typer.Option(help="After which nothing new begins.")] = 8,
    rounds: Annotated[int, typer.Option(min=3, help="How often each is timed.")] = 20,
):
    """Check and time the GPU kernels, and write what was found."""
    console, clock = Console(width=None if sys.stdout.isatty() else 140), Clock(minutes)
    try:
        with gpu.use(place) as where:
            console.print(f"on {where.name}" + (f", {where.free / 2**30:.0f} GiB free" if where.free else ""))
            found = {"device": where.name, "place": place, "date": str(date.today()), "versions": versions(place),
                     "command": "python " + " ".join(["benchmarks/gpu.py", *sys.argv[1:]])}
            found["parity"] = parity(only, place, clock, console)
            found["suite"] = suite(only, place, clock, console)
            found["sanitizer"] = sanitizer(only, place, clock, console)
            found["times"] = timing(only, place, clock, console, rounds)
    except gpu.NoDevice as error:
        console.print(f"nothing was run: {error}")
        raise typer.Exit(2) from None
    found["not run"] = clock.not_run
    for what in clock.not_run:
        console.print(f"[yellow]not run[/yellow] {what}")
    write(found, place, console)
    wrong = [r for r in found["parity"] if r["problem"]]
    if wrong or found["suite"] not in ("passed", None) or any(v != "clean" for v in found["sanitizer"].values()):
        raise typer.Exit(1)


def parity(only: str | None, place: str, clock: Clock, console: Console) -> list[dict[str, Any]]:
    """Every version and precision at the example."""
    rows = []
    with Progress(console=console, transient=True) as bar:
        todo = twins.plan([only] if only else None, place)
        task = bar.add_task("parity", total=len(todo))
        for name, version, dtype in todo:
            if clock.allows(f"parity of {name} v{version} {dtype}"):
                rows.append(twins.verify_one(name, version, dtype, place))
            bar.advance(task)
    table = Table(title="in bounds of the reference's rounding (1 is the limit)", box=None, pad_edge=False)
    for heading in ("operator", "version", "precision", "worst", ""):
        table.add_column(heading)
    for r in rows:
        mark = f"[red]{r.problem}[/red]" if r.problem else "✓"
        table.add_row(r.name, str(r.version), r.dtype, f"{r.worst:.2f}", mark)
    console.print(table)
    return [{"operator": r.name, "version": r.version, "dtype": r.dtype, "worst": r.worst, "problem": r.problem}
            for r in rows]


def suite(only: str | None, place: str, clock: Clock, console: Console) -> str | None:
    """The kernels' own tests here: "passed", "failed", or None where they were not run."""
    if not clock.allows("the kernels' tests"):
        return None
    # Those that hold kernels to references; what compilers and the host build say is the same on every machine.
    tests = [str(p) for p in sorted((HERE.parent / "tests" / "gpu").iterdir())
             if (p.is_dir() and any(p.glob("test_*.py"))) or p.name == "test_parity.py"]
    command = [sys.executable, "-m", "pytest", "-m", "proofs", "-x", "-q", "-n", "4" if place == "cuda" else "auto",
               *tests, *(["-k", only] if only else [])]
    limit = min(clock.left(), SUITE_SHARE * clock.whole)
    try:
        done = subprocess.run(command, cwd=HERE.parent, env={**os.environ, "VISATTN_GPU": place}, timeout=limit,
                              capture_output=True, text=True)
    except subprocess.TimeoutExpired:
        clock.not_run.append(f"the kernels' tests: not done after {limit:.0f} s")
        return None
    console.print(f"the kernels' tests: {done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr}")
    return "passed" if done.returncode == 0 else "failed"


def sanitizer(only: str | None, place: str, clock: Clock, console: Console) -> dict[str, str]:
    """What compute-sanitizer's tools say while the examples run: {"racecheck": "clean"}."""
    if place != "cuda" or shutil.which("compute-sanitizer") is None:
        clock.not_run.append("compute-sanitizer: " + ("not installed" if place == "cuda" else "needs a GPU"))
        return {}
    found = {}
    for tool in SANITIZERS:
        if not clock.allows(f"compute-sanitizer {tool}"):
            continue
        command = ["compute-sanitizer", "--tool", tool, "--error-exitcode", "9", sys.executable, "-m", "visattn.cli",
                   "verify", "--gpu", *([only] if only else [])]
        try:
            done = subprocess.run(command, capture_output=True, text=True,
                                  timeout=min(clock.left(), SANITIZER_SHARE * clock.whole))
            found[tool] = "clean" if done.returncode == 0 else done.stdout[-2000:]
        except subprocess.TimeoutExpired:
            clock.not_run.append(f"compute-sanitizer {tool}: not done in its share of the time")
    for tool, said in found.items():
        console.print(f"{tool}: {said}")
    return found


def timing(only: str | None, place: str, clock: Clock, console: Console, rounds: int) -> list[dict[str, Any]]:
    """Milliseconds of every case, version and precision, and ratios to version 0 and to torch."""
    rows: list[dict[str, Any]] = []
    cases = [c for c in CASES if c.operator in gpu.twins() and only in (None, c.operator)]
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("timing", total=len(cases))
        for case in cases:
            for dtype in getattr(gpu, case.operator).forward.dtypes:
                if clock.allows(f"times of {case.operator} {dtype}"):
                    rows += measure(case, dtype, place, rounds, clock)
            bar.advance(task)
    show(rows, place, console)
    return rows


def measure(case: Case, dtype: str, place: str, rounds: int, clock: Clock) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    shapes = case.shapes if place == "cuda" else case.rehearsal
    args = [twins.on_device(twins.cast(rng.normal(size=s), dtype), place) for s in shapes]
    if case.operator == "grid_sample":
        args[1] = args[1].clip(-1.1, 1.1)
    twin, rows = getattr(gpu, case.operator), []
    for version in twins.runs_at(case.operator, place):
        if dtype not in twins.dtypes_of(case.operator, version):
            continue
        what = f"{case.operator} v{version} {dtype} {case.size}"
        try:
            _device.watching.set([])
            y, cache = twin.forward(*args, **case.options, version=version)
            forward = bytes_of(_device.watching.get())
            dy = tree.map(lambda a: a * 0 + 1, y)
            _device.watching.set([])
            twin.backward(dy, cache, version=version)
            backward = bytes_of(_device.watching.get())
            passes = {"forward": (partial(twin.forward, *args, **case.options, version=version), forward),
                      "backward": (partial(twin.backward, dy, cache, version=version), backward)}
        except Exception as error:                                  # out of memory, for one: the others still run
            clock.not_run.append(f"{what}: {type(error).__name__}: {str(error).splitlines()[0]}")
            continue
        finally:
            _device.watching.set(None)
        for name, (call, moved) in passes.items():
            rows.append({"operator": case.operator, "size": size_of(case, place), "dtype": dtype, "pass": name,
                         "by": f"v{version}", "ms": milliseconds(call, place, rounds), "bytes": moved})
    with suppress(ImportError):
        rows += by_torch(case, dtype, place, args, rounds, clock)
    return rows


def size_of(case: Case, place: str) -> str:
    return case.size if place == "cuda" else f"{case.rehearsal[0]}, a rehearsal"


def by_torch(case: Case, dtype: str, place: str, args: Any, rounds: int, clock: Clock) -> list[dict[str, Any]]:
    import torch
    if case.torch is None or (place == "cuda" and not torch.cuda.is_available()):
        clock.not_run.append(f"torch beside {case.operator}: " + ("no counterpart" if case.torch is None else
                                                                  "this torch sees no GPU"))
        return []
    if place != "cuda" and dtype != "float32":
        return []
    tensors = [torch.from_dlpack(a).detach().requires_grad_() for a in args]
    function = case.torch

    def forward() -> Any:
        with torch.no_grad():
            return function(torch, *tensors)

    y = function(torch, *tensors)
    y = y if isinstance(y, tuple) else (y,)
    ones = [torch.ones_like(a) for a in y]
    return [{"operator": case.operator, "size": size_of(case, place), "dtype": dtype, "pass": name, "by": "torch",
             "ms": milliseconds(call, place, rounds), "bytes": None}
            for name, call in (("forward", forward),
                               ("backward", lambda: torch.autograd.grad(y, tensors, ones, retain_graph=True)))]


def milliseconds(call: Callable[[], Any], place: str, rounds: int) -> float:
    """The median of a few calls; on a GPU by its own events."""
    if place == "cuda":
        from cupyx.profiler import benchmark
        return float(np.median(benchmark(call, n_repeat=rounds, n_warmup=3, max_duration=2).gpu_times)) * 1e3
    call()
    taken = []
    for _ in range(3):
        start = time.perf_counter()
        call()
        taken.append(1e3 * (time.perf_counter() - start))
    return statistics.median(taken)


def bytes_of(launches: Any) -> int | None:
    """What the kernels say they move; None where there was no kernel."""
    if not launches:
        return None
    return sum(sum(_kernels.read(la.source)[la.kernel].bytes(la)) for la in launches)


def show(rows: list[dict[str, Any]], place: str, console: Console) -> None:
    note = "" if place == "cuda" else ": A REHEARSAL ON THE CPU, these are no GPU times"
    table = Table(title=f"milliseconds, and ratios within this run{note}", box=None, pad_edge=False)
    for heading in ("operator", "size", "precision", "pass", "by", "ms", "GB/s", "× v0", "× torch"):
        table.add_column(heading, justify="right" if heading in ("ms", "GB/s", "× v0", "× torch") else "left")
    for r in rows:
        beside = {o["by"]: o["ms"] for o in rows if all(o[k] == r[k] for k in ("operator", "size", "dtype", "pass"))}
        r["to_v0"], r["to_torch"] = (r["ms"] / beside[by] if by in beside else None for by in ("v0", "torch"))
        speed = "" if r["bytes"] is None else f"{r['bytes'] / r['ms'] / 1e6:.0f}"
        table.add_row(r["operator"], r["size"], r["dtype"], r["pass"], r["by"], f"{r['ms']:.3f}", speed,
                      *("" if r[k] is None else f"{r[k]:.2f}" for k in ("to_v0", "to_torch")))
    console.print(table)


def versions(place: str) -> dict[str, str]:
    found = {"python": platform.python_version(), "numpy": np.__version__}
    if place == "cuda":
        import cupy
        found |= {"cupy": cupy.__version__, "CUDA driver": str(cupy.cuda.runtime.driverGetVersion()),
                  "CUDA runtime": str(cupy.cuda.runtime.runtimeGetVersion())}
    with suppress(ImportError):
        import torch
        found["torch"] = torch.__version__
    return found


def write(found: dict[str, Any], place: str, console: Console) -> None:
    folder = HERE / "results" if place == "cuda" else HERE.parent / "build" / "gpu"
    folder.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"\W+", "-", found["device"]).strip("-").lower() if place == "cuda" else "rehearsal"
    path = folder / f"{name}.json"
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    console.print(f"kept in {path}")
    if found["times"]:
        console.print(f"figure in {figure(found, path.with_suffix('.png'))}")


def figure(found: dict[str, Any], path: Path) -> Path:
    """Times of every case, version by version, logarithmic."""
    rows = [r for r in found["times"] if r["dtype"] == "float32"]
    labels = list(dict.fromkeys(f"{r['operator']} {r['size']}, {r['pass']}" for r in rows))
    who = sorted({r["by"] for r in rows})
    fig, ax = plot.figure(size=(9, 0.3 * len(labels) + 1.5))
    for i, by in enumerate(who):
        points = [(r["ms"], labels.index(f"{r['operator']} {r['size']}, {r['pass']}")) for r in rows if r["by"] == by]
        ax.scatter(*zip(*points), s=28, marker="x" if by == "torch" else "o", label=by, zorder=3, color=f"C{i}")
    ax.set(xscale="log", xlabel="milliseconds, float32 (further left is faster)", yticks=range(len(labels)),
           yticklabels=labels)
    ax.invert_yaxis()
    ax.grid(axis="x", alpha=0.3)
    ax.legend(title="version")
    ax.set_title(f"on {found['device']}" if found["place"] == "cuda" else "a rehearsal on the CPU: no GPU times")
    return plot.save(fig, path)


if __name__ == "__main__":
    typer.run(main)
