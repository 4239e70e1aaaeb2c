"""How fast FlashAttention in NumPy is, and how much memory it takes, against torch's fused kernel and our `attention`.

    pip install -e ".[test,peers]" && python benchmarks/flash.py [--lengths 1024,4096,16384] [--rounds 3]

Everybody runs on one thread and is timed by the processor time of this process, in turn, ours, torch's, attention's,
ours …: on a machine that is shared, that and the ratios of one round are what is steady.  Ratios are medians over the
rounds.  `attention` is left out from 8,192 tokens on, where its maps take gigabytes, and there the others are timed
once, while memory is traced, which costs us a little.  Memory is the largest that NumPy
has at one time beyond the arguments (tracemalloc), output and cache included.
Writes benchmarks/results/flash-<date>.json with the machine, the versions and every round, and the figure beside it.
"""

import json
import statistics
import sys
import time
import tracemalloc
from datetime import date
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table
from run import agree, machine
from threadpoolctl import threadpool_limits

from visattn.ops import attention, flash

HERE = Path(__file__).parent
HEADS, FEATURES = 8, 64
ATTENTION_UP_TO = 4096
PASSES = ("forward", "and backward")
BARS = {"forward": 0.75, "and backward": 0.6}           # of torch's speed, at 4,096 tokens


def main(
    lengths: Annotated[str, typer.Option(help="How many tokens, with commas between.")] = "1024,2048,4096,8192,16384",
    rounds: Annotated[int, typer.Option(min=1, help="How often each is timed; long ones once.")] = 5,
    save: Annotated[bool, typer.Option(help="Write the JSON and the figure.")] = True,
):
    """Time flash against torch's fused attention and our plain one, float32, (1, 8, N, 64)."""
    import torch

    torch.set_num_threads(1)
    flash.THREADS = 1
    console, rows = Console(width=110), []
    result = {"date": str(date.today()), "machine": machine(torch), "clock": "processor time, one thread",
              "command": "python " + " ".join(["benchmarks/flash.py", *sys.argv[1:]]), "cases": rows}
    path = HERE / "results" / f"flash-{result['date']}.json"
    measure(64, torch, 1)                               # what is loaded at the first call is not counted
    for n in map(int, lengths.split(",")):
        with threadpool_limits(1, "blas"):
            rows += measure(n, torch, rounds if n <= ATTENTION_UP_TO else 1)
        show(rows[-2:], console, heading=len(rows) == 2)
        if save:
            path.write_text(json.dumps(result, indent=1) + "\n")
            draw(rows, path.with_suffix(".png"))
    console.print(", ".join(f"{k} {v}" for k, v in result["machine"].items()))


def measure(n, torch, rounds):
    rng = np.random.default_rng(0)
    q, k, v, do = (rng.normal(size=(1, HEADS, n, FEATURES)).astype(np.float32) for _ in range(4))
    tensors = [torch.from_numpy(a).requires_grad_() for a in (q, k, v)]
    dlse = np.zeros((1, HEADS, n), np.float32)
    sdpa = torch.nn.functional.scaled_dot_product_attention

    def ours(both):
        y, cache = flash.forward(q, k, v)
        return (y[0], *flash.backward((do, dlse), cache)) if both else y[:1]

    def fused(both):
        if both:
            y = sdpa(*tensors)
            return y.detach(), *torch.autograd.grad(y, tensors, torch.from_numpy(do))
        with torch.no_grad():
            return sdpa(*tensors),

    def plain(both):
        y, cache = attention.forward(q, k, v)
        return (y, *attention.backward(do, cache)) if both else (y,)

    them = {"flash": ours, "torch": fused} | ({"attention": plain} if n <= ATTENTION_UP_TO else {})
    return [{"N": n, "pass": name, **timed(them, both, rounds)} for both, name in enumerate(PASSES)]


def timed(them, both, rounds):
    """{"ms": the median of each, "rounds_ms": all, "speed": of flash, as a share of each other's in the same round,
    "memory_MiB": the largest that NumPy held}

    The first round is for comparing answers and for memory, and is not timed if there are more.
    """
    every, memory, answers = {who: [] for who in them}, {}, {}
    for r in range(rounds + 1 if rounds > 1 else 1):
        for who, f in them.items():
            if r == 0:
                tracemalloc.start()
            start = time.process_time()
            answers[who] = f(both)
            every[who].append(1e3 * (time.process_time() - start))
            if r == 0:
                memory[who] = tracemalloc.get_traced_memory()[1] / 2**20
                tracemalloc.stop()
            if who == "torch":
                for name, a, b in zip(("o", "dq", "dk", "dv"), answers.pop("flash"), answers.pop("torch")):
                    agree(a, b.numpy(), f"flash: {name}")
            answers.pop("attention", None)
    if rounds > 1:
        every = {who: ms[1:] for who, ms in every.items()}
    speed = {who: statistics.median(b / a for a, b in zip(every["flash"], every[who])) for who in them}
    return {"ms": {who: statistics.median(ms) for who, ms in every.items()}, "speed": speed,
            "memory_MiB": {who: m for who, m in memory.items() if who != "torch"}, "rounds_ms": every}


def show(rows, console, heading):
    title = f"(1, {HEADS}, N, {FEATURES}), float32, one thread; / is our speed as a share of theirs"
    table = Table(title=title if heading else None, box=None, pad_edge=False, show_header=heading)
    for name, width in (("N", 6), ("pass", 12), ("flash, ms", 10), ("/ torch", 8), ("bar", 8),
                        ("/ attention", 11), ("memory, MiB", 11), ("of attention", 12)):
        table.add_column(name, width=width, justify="left" if name == "pass" else "right", no_wrap=True)
    for r in rows:
        memory, speed = r["memory_MiB"], r["speed"]
        bar = BARS[r["pass"]] if r["N"] == 4096 else None
        table.add_row(
            str(r["N"]), r["pass"], f"{r['ms']['flash']:.0f}", f"{speed['torch']:.2f}",
            "" if bar is None else f"≥ {bar:g} {'✓' if speed['torch'] >= bar else '✗'}",
            f"{speed['attention']:.2f}" if "attention" in speed else "", f"{memory['flash']:.1f}",
            f"1/{memory['attention'] / memory['flash']:.0f}" if "attention" in memory else "")
    console.print(table)


def draw(rows, path):
    """Memory and time over the length, both logarithmic: straight lines of slope 1 and 2."""
    import matplotlib
    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    both = [r for r in rows if r["pass"] == PASSES[1]]
    fig, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for ax, key, label in ((axes[0], "memory_MiB", "MiB at most"), (axes[1], "ms", "ms of processor time")):
        for who, colour in (("flash", "C0"), ("attention", "C1"), ("torch", "C7")):
            points = [(r["N"], r[key][who]) for r in both if who in r[key]]
            if points:
                ax.loglog(*zip(*points), "o-", color=colour, label={"torch": "torch, fused"}.get(who, who), base=2)
        ax.set(xlabel="tokens", ylabel=label)
        ax.set_xticks([r["N"] for r in both], [f"{r['N']:,}" for r in both], minor=False)
        ax.grid(alpha=0.3)
    axes[1].legend(frameon=False)
    fig.suptitle(f"Forward and backward of attention, (1, {HEADS}, N, {FEATURES}), float32", fontsize=11)
    fig.savefig(path, dpi=120)


if __name__ == "__main__":
    typer.run(main)
