"""Where each version of each GPU kernel stands under the roofs of three cards: predicted, not measured.

    pip install -e ".[test,proofs]" && python benchmarks/roofline.py [--only flash]

Operations are those of the reference (`visattn.check.costs`), bytes those that the headers of the kernels claim for
their launches (a test holds them to a count); no kernel is launched.  A version can be no faster than
max(bytes / bandwidth, operations / peak) of a card: that is the time in the table (Williams, Waterman & Patterson,
"Roofline", 2009).  Kernels that reach it exist for neither limit; for ours nothing is known until a GPU has run them.

Version 0 is the reference call by call: every call of NumPy reads and writes memory.  The floor is what has to move
whatever the kernel.  What a launcher leaves to the array library between its kernels is not in its version's bytes; it
then shows as fewer than the floor, and the floor is taken.

Writes benchmarks/results/roofline.json and .png.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from visattn import gpu, ops, plot
from visattn.check import twins
from visattn.check.costs import Cost, cost
from visattn.check.kernels.launches import launches
from visattn.gpu import _kernels

HERE = Path(__file__).parent


class Card(NamedTuple):
    """Published peaks: bytes a second; operations a second in float32, and in half precision on tensor cores, dense.

    NVIDIA T4 Tensor Core GPU datasheet (2019); NVIDIA A100 Tensor Core GPU datasheet (2022), 80 GB SXM;
    NVIDIA H100 Tensor Core GPU datasheet (2024), SXM, whose tensor figures are with sparsity: half of them is dense.
    """

    name: str
    bandwidth: float
    float32: float
    tensor: float


CARDS = [Card("T4", 320e9, 8.1e12, 65e12), Card("A100 80 GB SXM", 2039e9, 19.5e12, 312e12),
         Card("H100 SXM", 3350e9, 67e12, 989e12)]


class Size(NamedTuple):
    """A real size: shapes of the arguments for a batch, and the batch.  Costs are linear in it: two small ones tell
    them all."""

    batch: int
    shapes: Callable[[int], tuple[tuple[int, ...], ...]]
    options: dict[str, Any] = {}


def features(n):
    return (n, 256, 56, 56)


SIZES = {
    "softmax": Size(8192, lambda n: ((n, 1024),)),
    "layernorm": Size(8192, lambda n: ((n, 768), (768,), (768,))),
    "squeeze_excite": Size(16, lambda n: (features(n), (16, 256), (256, 16))),
    "channel_gate": Size(16, lambda n: (features(n), (16, 256), (256, 16))),
    "spatial_gate": Size(16, lambda n: (features(n), (1, 2, 7, 7))),
    "attention": Size(16, lambda n: 3 * ((n, 1, 1024, 64),)),
    "flash": Size(16, lambda n: 3 * ((n, 1, 1024, 64),)),
    "merge": Size(64, lambda n: ((n, 8, 1024, 64), (n, 8, 1024))),
    "grid_sample": Size(8, lambda n: ((n, 64, 128, 128), (n, 128, 128, 2)), {"align_corners": False}),
    "lstm_cell": Size(256, lambda n: (*3 * ((n, 512),), *2 * ((2048, 512),), *2 * ((2048,),))),
}


class Row(NamedTuple):
    """One version of one twin, forward or backward."""

    operator: str
    shapes: str
    version: int
    dtype: str
    backward: bool
    tensor: bool                # its products run on tensor cores
    operations: int
    bytes: int                  # the headers' claim; of version 0 what the calls of the reference move
    floor: int                  # bytes that have to move

    def seconds(self, card: Card) -> float:
        peak = card.tensor if self.tensor else card.float32
        return max(max(self.bytes, self.floor) / card.bandwidth, self.operations / peak)

    def limit(self, card: Card) -> str:
        memory = max(self.bytes, self.floor) / card.bandwidth
        return "memory" if memory >= self.seconds(card) else "arithmetic"


def rows_of(name: str) -> list[Row]:
    """All versions of a twin at its real size."""
    size, found = SIZES[name], []
    shapes = str(size.shapes(size.batch)[0])
    for dtype in twins.dtypes_of(name, 2):
        if dtype not in ("float32", "float16"):
            continue
        half = 1 if dtype == "float32" else 2
        costs = [at_batch(name, size, backward) for backward in (False, True)]
        if dtype == "float32":
            found += [Row(name, shapes, 0, dtype, bool(b), False, c.operations, c.bytes_unfused, c.bytes_fused)
                      for b, c in enumerate(costs)]
        args = tuple(np.zeros(shape, dtype) for shape in size.shapes(size.batch))
        for version in range(2, getattr(gpu, name).SHIPS + 1):
            for b, its in enumerate(launches(name, version, args, size.options)):
                headers = [(_kernels.read(launch.source)[launch.kernel], launch) for launch in its]
                found.append(Row(name, shapes, version, dtype, bool(b), any(h.tensor_cores for h, _ in headers),
                                 costs[b].operations, sum(sum(h.bytes(launch)) for h, launch in headers),
                                 costs[b].bytes_fused // half))
    return found


def at_batch(name: str, size: Size, backward: bool) -> Cost:
    """The cost at the full batch, from those of two small ones."""
    few = min(2, size.batch)
    a, b = (cost(getattr(ops, name), tuple(np.random.default_rng(0).normal(size=shape).astype(np.float32)
                                           for shape in size.shapes(n)), size.options, backward=backward)
            for n in (few, few + 1))
    kinds = {k: line(a.kinds[k], b.kinds[k], few, size.batch) for k in a.kinds}
    return Cost(*(kinds if field == "kinds" else line(getattr(a, field), getattr(b, field), few, size.batch)
                  for field in Cost._fields))


def line(a: int, b: int, at: int, to: int) -> int:
    return a + (b - a) * (to - at)


def main(
    only: Annotated[str | None, typer.Option(help="One operator, e.g. flash.")] = None,
    save: Annotated[bool, typer.Option(help="Write the JSON and the figure.")] = True,
):
    """Predict how fast the GPU kernels could be on three cards, and draw it."""
    console = Console(width=120)
    rows = []
    for name in gpu.twins():
        if only not in (None, name):
            continue
        if name not in SIZES:
            console.print(f"{name}: no real size is listed in {Path(__file__).name}")
            continue
        rows += rows_of(name)
    show(rows, console)
    if save and only is None:
        folder = HERE / "results"
        folder.mkdir(exist_ok=True)
        result = {"predicted": "from published peaks; nothing was measured on a GPU",
                  "cards": [card._asdict() for card in CARDS],
                  "rows": [{**row._asdict(), "predicted_ms": {c.name: 1e3 * row.seconds(c) for c in CARDS},
                            "limit": {c.name: row.limit(c) for c in CARDS}} for row in rows]}
        (folder / "roofline.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        plot.save(draw(rows), folder / "roofline.png")
        console.print("kept in benchmarks/results/roofline.json and .png")


def show(rows: list[Row], console: Console) -> None:
    table = Table(title="predicted, not measured: the least milliseconds, and what limits", box=None, pad_edge=False)
    for heading in ("operator", "pass", "version", "precision", "Gflop", "MB", "× floor"):
        table.add_column(heading, justify="right" if heading in ("Gflop", "MB", "× floor") else "left", no_wrap=True)
    for card in CARDS:
        table.add_column(card.name, justify="right", no_wrap=True)
    for row in rows:
        cells = [f"{1e3 * row.seconds(c):.3f} {'m' if row.limit(c) == 'memory' else 'a'}" for c in CARDS]
        table.add_row(row.operator, "backward" if row.backward else "forward", str(row.version), row.dtype,
                      f"{row.operations / 1e9:.2f}", f"{row.bytes / 1e6:.1f}", f"{row.bytes / row.floor:.2f}", *cells)
    console.print(table)
    console.print("m: limited by memory, a: by arithmetic; not counted: the array library's calls between kernels")


def draw(rows: list[Row]) -> Any:
    """Above, a roof for each card and on it the version that ships; below, the least time of each version."""
    fig, axes = plot.figure(2, 3, size=(15, 10), sharey="row", height_ratios=[1, 1.3])
    names = list(dict.fromkeys(row.operator for row in rows))
    colours = {name: colour(i) for i, name in enumerate(names)}
    points = together(rows)
    for (roof, times), card in zip(np.transpose(axes), CARDS):
        x = np.logspace(-1.3, 3.7, 400)
        for peak, label, dashes in ((card.float32, "float32", "-"), (card.tensor, "tensor cores, half", "--")):
            roof.plot(x, np.minimum(card.bandwidth * x, peak) / 1e12, dashes, color="0.45", lw=1.2, zorder=1)
            roof.annotate(f"{label}: {peak / 1e12:g} Tflop/s", (x[-1], peak / 1e12), (0, 3), ha="right", fontsize=8,
                          textcoords="offset points", color="0.35")
        roof.annotate(f"{card.bandwidth / 1e9:g} GB/s", (0.1, 0.1 * card.bandwidth / 1e12), (8, -10), fontsize=8,
                      textcoords="offset points", color="0.35")
        for (name, version, _), its in points.items():
            if version == getattr(gpu, name).SHIPS:
                operations, moved, tensor = (sum(c) for c in zip(*((r.operations, max(r.bytes, r.floor), r.tensor)
                                                                   for r in its)))
                peak = card.tensor if tensor else card.float32
                roof.plot(operations / moved, min(card.bandwidth * operations / moved, peak) / 1e12,
                          "s" if tensor else "o", color=colours[name], ms=7, mec="white", mew=0.6, zorder=3)
        roof.set(xscale="log", yscale="log", title=card.name, xlabel="operations per byte of global memory")
        for (name, version, dtype), its in points.items():
            where = names.index(name) + 0.16 * (version - 2) + (0.08 if dtype != "float32" else 0)
            times.plot(sum(1e3 * r.seconds(card) for r in its), where, marker=f"${version}$", ls="", ms=8,
                       color=colours[name], alpha=1 if dtype == "float32" else 0.5)
        for edge in range(1, len(names)):
            times.axhline(edge - 0.5, color="0.9", lw=0.6, zorder=0)
        times.set(xscale="log", xlabel="predicted milliseconds, forward and backward: no less is possible",
                  yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.4, -0.6))
        for ax in (roof, times):
            ax.grid(True, axis="x" if ax is times else "both", which="major", alpha=0.25)
    axes[0, 0].set_ylabel("attainable Tflop/s")
    handles = [axes[0, 0].plot([], [], "o", color=colours[name])[0] for name in names]
    axes[0, 0].legend(handles, names, loc="upper left", fontsize=8, frameon=False)
    fig.suptitle("Predicted, not measured: what the published peaks of three cards allow each kernel\n"
                 "above, the version that ships (square: on tensor cores, in half precision); below, the digit is the "
                 "version, 0 the reference call by call, pale in half precision", fontsize=11)
    return fig


def colour(i: int) -> Any:
    import matplotlib
    return matplotlib.colormaps["tab10"](i % 10)


def together(rows: list[Row]) -> dict[tuple[str, int, str], list[Row]]:
    """{(operator, version, precision): [forward, backward]}; half precision only where it runs on tensor cores."""
    found: dict[tuple[str, int, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row.operator, row.version, row.dtype), []).append(row)
    return {key: its for key, its in found.items() if key[2] == "float32" or any(row.tensor for row in its)}


if __name__ == "__main__":
    typer.run(main)
