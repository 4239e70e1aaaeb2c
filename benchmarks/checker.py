"""How long a check takes, start-up included, and what becomes of hostile files: the bars of `visattn check`.

    python benchmarks/checker.py                # times of right and wrong functions, then every hostile file
    python benchmarks/checker.py --times        # the times alone

Each line is one run of the command `visattn check` in a process of its own, as a person would run it: with compiled
modules beside the sources, as after every installation.  A time is wall time, the median of three; the machine should
be idle.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from visattn import ops
from visattn.check import changes

HOSTILE = Path(__file__).parents[1] / "tests" / "check" / "hostile"
TIMED = {"attention": 5.0, "squeeze_excite": 2.0, "channel_gate": 2.0, "spatial_gate": 2.0, "efficient_channel": 2.0,
         "cbam": 2.0}           # seconds that a check may take
UNKNOWN = '''"""{title}"""
import numpy as np
from visattn import ops
def forward(*args, **options):
    y, cache = ops.{op}.forward(*args, **options)
    return y + {in_y} * np.sin(y), cache
def backward(dy, cache):
    return tuple(dx + {in_dx} * np.sin(dx) for dx in ops.{op}.backward(dy, cache))
'''
ALONE = '''"""A softmax that needs NumPy only."""
import numpy as np
def forward(x, *, axis=-1):
    p = np.exp(x - x.max(axis, keepdims=True))
    p /= p.sum(axis, keepdims=True)
    return p, (p, axis)
def backward(dp, cache):
    p, axis = cache
    return p * (dp - (dp * p).sum(axis, keepdims=True)),
'''
SKELETON = '''"""{title}"""
from visattn import ops
from visattn.check import changes
op = ops.{op}
for change in changes.changes_of(op, "mistake"):
    if change.name == {mistake!r}:
        op = changes.changed(ops.{op}, change)
        break
forward, backward = op.forward, op.backward
'''


def check(target: Path, op: str, *more: str) -> tuple[float, int, dict]:
    """(seconds, exit status, report) of one run of the command."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", "from visattn.cli import main; raise SystemExit(main())", "check",
                           str(target), "--op", op, "--json", *more], capture_output=True, text=True, check=False,
                          env={k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"})
    seconds = time.perf_counter() - start
    return seconds, done.returncode, json.loads(done.stdout) if done.stdout else {"verdict": done.stderr.strip()}


def times(folder: Path) -> Table:
    """For each operator a right function, one with the first mistake of its output, one with the first of its gradient,
    and functions in which the output, the gradient, or both are wrong as nobody has foreseen.
    """
    table = Table("operator", "function", "verdict", "seconds", "allowed", box=None)
    alone = folder / "softmax.py"
    alone.write_text(ALONE)
    shut_in, free = (statistics.median(check(alone, "softmax", *how)[0] for _ in range(3)) for how in ([], ["--trust"]))
    extra = max(shut_in - free, 0.0)
    table.caption = f"{extra:.1f} of the seconds are for a process that is shut in, measured with softmax and added"
    for name, allowed in TIMED.items():
        listed = changes.own(getattr(ops, name).__name__)
        wrong = {changes.function_of(c): c.name for c in reversed(listed) if c.kind == "mistake"}
        files = {"right": SKELETON.format(title="right", op=name, mistake="")}
        for part, function in (("output", "forward"), ("gradient", "backward")):
            if mistake := wrong.get(function):
                files[f"wrong {part}: {mistake}"] = SKELETON.format(title=part, op=name, mistake=mistake)
        for part, in_y, in_dx in (("output", 0.25, 0), ("gradient", 0, 0.25), ("output and gradient", 0.25, 0.25)):
            files[f"unknown {part}"] = UNKNOWN.format(title=part, op=name, in_y=in_y, in_dx=in_dx)
        for what, text in files.items():
            file = folder / f"{name}_{what.partition(':')[0].replace(' ', '_')}.py"
            file.write_text(text)
            # The file calls visattn, which the child cannot see: it runs in the command's own process.
            runs = [check(file, name, "--trust") for _ in range(3)]
            seconds = statistics.median(run[0] for run in runs) + extra
            table.add_row(name, what, runs[0][2]["verdict"], f"{seconds:.1f}", f"{allowed:.0f}",
                          style="" if seconds <= allowed else "red")
    return table


def hostile() -> Table:
    """Every hostile file: what the command says of it, and how long it took to say so."""
    table = Table("file", "trick", "verdict", "exit", "seconds", box=None)
    for file in sorted(HOSTILE.glob("*.py")):
        seconds, status, report = check(file, "softmax", "--time-limit", "10")
        trick = file.read_text(encoding="utf-8").split('"""')[1].strip().splitlines()[0]
        table.add_row(file.stem, trick, report["verdict"], str(status), f"{seconds:.1f}",
                      style="" if status == 1 and seconds < 30 else "red")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", action="store_true", help="the times alone")
    out = Console(width=150)
    with tempfile.TemporaryDirectory() as folder:
        out.print(times(Path(folder)))
    if not parser.parse_args().times:
        out.print(hostile())


if __name__ == "__main__":
    main()
