"""How fast the references are, as ratios to torch taken in one run.

    pip install -e ".[test,peers]" && python benchmarks/run.py [--rounds 9] [--only attention]

Each case is first compared with torch (a fast wrong answer is not timed), then both are timed in turn, ours, theirs,
ours, theirs …, on the same arrays and as many threads; the ratio is the median over the rounds of ours / theirs.
Writes benchmarks/results/<date>.json with the machine, the versions and every round.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sizes import CASES

from visattn import ops, tree

HERE = Path(__file__).parent
IMPORT_BAR_MS = 50


def main(
    rounds: Annotated[int, typer.Option(min=3, help="How often each is timed.")] = 9,
    only: Annotated[str | None, typer.Option(help="One operator, e.g. attention.")] = None,
    save: Annotated[bool, typer.Option(help="Write the JSON.")] = True,
):
    """Time our NumPy references against torch and print the ratios."""
    import torch

    torch.set_num_threads(os.cpu_count() or 1)
    console = Console()
    rows = []
    for case in track([c for c in CASES if only in (None, c.operator)], "timing", console=console):
        rows += measure(case, torch, rounds)
    result = {
        "date": str(date.today()),
        "machine": machine(torch),
        "command": "python " + " ".join(["benchmarks/run.py", *sys.argv[1:]]),
        "cases": rows,
        "import_visattn_adds_ms": import_time(rounds) if only is None else None,
    }
    show(result, console)
    if save:
        path = HERE / "results" / f"{result['date']}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(result, indent=1) + "\n")
        console.print(f"kept in {path.relative_to(HERE.parent)}")


def measure(case, torch, rounds):
    op, args = getattr(ops, case.operator), case.args(np.random.default_rng(0))
    tensors = [torch.from_numpy(a).requires_grad_() for a in args]
    y, _ = op.forward(*args, **case.options)
    dy = np.random.default_rng(1).normal(size=y.shape).astype(y.dtype)
    torch_dy = torch.from_numpy(dy)

    def ours():
        op.forward(*args, **case.options)

    def ours_both():
        _, cache = op.forward(*args, **case.options)
        return op.backward(dy, cache)

    def theirs():
        with torch.no_grad():
            case.torch(torch, *tensors)

    def theirs_both():
        return torch.autograd.grad(case.torch(torch, *tensors), tensors, torch_dy)

    agree(y, case.torch(torch, *tensors).detach().numpy(), f"{case.operator}: y")
    for i, (g, t) in enumerate(zip(tree.leaves(ours_both()), theirs_both())):
        agree(g, t.numpy(), f"{case.operator}: gradient {i}")
    return [
        {"operator": case.operator, "size": case.size, "pass": what, "peer": case.peer,
         "bar": case.bar if np.isfinite(case.bar) else None, **compare(a, b, rounds)}
        for what, a, b in (("forward", ours, theirs), ("and backward", ours_both, theirs_both))
    ]


def agree(ours, theirs, what):
    """Float32 against float32: a sanity check before timing; correctness is proved in float64 by the tests."""
    error = np.abs(ours - theirs).max() / np.abs(theirs).max()
    if not error < 1e-3:
        raise SystemExit(f"{what} differs from torch by {error:.1e}; not timed")


def compare(ours, theirs, rounds):
    times: dict[str, list[float]] = {"ours_ms": [], "theirs_ms": []}
    for _ in range(rounds):
        for name, f in (("ours_ms", ours), ("theirs_ms", theirs)):
            time.sleep(0.05)            # the other library's threads go to sleep; while they wait they take a core
            calls = []
            for _ in range(4):
                start = time.perf_counter()
                f()
                calls.append(1e3 * (time.perf_counter() - start))
            times[name].append(statistics.median(calls[1:]))
    ratios = [a / b for a, b in zip(times["ours_ms"], times["theirs_ms"])]
    return {"ours_ms": statistics.median(times["ours_ms"]), "theirs_ms": statistics.median(times["theirs_ms"]),
            "ratio": statistics.median(ratios), "ratio_range": [min(ratios), max(ratios)]}


def import_time(rounds):
    """What `import visattn` adds to `import numpy`, in ms: the median over fresh processes."""
    code = ("import time, numpy; t = time.perf_counter(); import visattn; "
            "print(1e3 * (time.perf_counter() - t))")
    return statistics.median(
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
        for _ in range(rounds))


def machine(torch):
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {"processor": processor(), "cores": os.cpu_count(), "python": platform.python_version(),
            "numpy": np.__version__, "blas": f"{blas['name']} {blas['version']}", "torch": torch.__version__,
            "threads": torch.get_num_threads()}


def processor():
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.processor())


def show(result, console):
    table = Table(title="our NumPy / torch, float32, medians of one run", box=None, pad_edge=False)
    for heading in ("operator", "size", "pass", "ours, ms", "torch, ms", "ratio", "range", "bar"):
        table.add_column(heading, justify="left" if heading in ("operator", "size", "pass") else "right", no_wrap=True)
    for r in result["cases"]:
        held = "" if r["bar"] is None else f"≤ {r['bar']:g} {'✓' if r['ratio'] <= r['bar'] else '✗'}"
        low, high = r["ratio_range"]
        table.add_row(r["operator"], r["size"], r["pass"], f"{r['ours_ms']:.1f}", f"{r['theirs_ms']:.1f}",
                      f"{r['ratio']:.2f}", f"{low:.2f}–{high:.2f}", held)
    console.print(table)
    if (ms := result["import_visattn_adds_ms"]) is not None:
        console.print(f"import visattn adds {ms:.1f} ms to import numpy "
                      f"(≤ {IMPORT_BAR_MS} {'✓' if ms <= IMPORT_BAR_MS else '✗'})")
    console.print(", ".join(f"{k} {v}" for k, v in result["machine"].items()))


if __name__ == "__main__":
    typer.run(main)
