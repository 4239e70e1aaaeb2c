"""Figures: attention over an image, gates, sampling grids, learning curves.  Arrays in, Matplotlib axes out.

    fig, (left, right) = plot.figure(1, 2)
    plot.attention(left, image, weights, query=(3, 4))
    plot.curves(right, {"training": losses}, x="step", y="cross-entropy")
    plot.save(fig, "looked.png")

Every function draws on the axes it is given and returns what a colour bar needs.  There is no current figure and
no `show`: figures come from `figure`, know how to show themselves in a notebook, and go to a file with `save`.
"""

import os
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from visattn import _atomic
from visattn._extras import need

INK, SOFT, PAPER = "#1d2433", "#7b8494", "#ffffff"
MARK = "#0a84d0"                         # the patch that asks, the frame of a grid
RAMP = ("#fff8ea", "#ffd582", "#f78f3f", "#d63b2f", "#6d1232")          # from nothing to all
GLOW = ("#ffc24a00", "#ffb13d59", "#ff8a2ba6", "#ec3d22d9", "#b80f2af2")     # the same over an image: more is denser
COLOURS = ("#3b6fb6", "#e4572e", "#2a9d6f", "#8d5fb0", "#c99a2e", "#5d6b7d")

STYLE = {
    "font.family": ["DejaVu Sans"], "font.size": 9.0, "text.color": INK,
    "axes.titlesize": 9.5, "axes.titlelocation": "left", "axes.titlepad": 6.0,
    "axes.labelsize": 9.0, "axes.labelcolor": INK, "axes.edgecolor": SOFT, "axes.linewidth": 0.6,
    "axes.spines.top": False, "axes.spines.right": False,
    "xtick.color": SOFT, "ytick.color": SOFT, "xtick.labelsize": 8.0, "ytick.labelsize": 8.0,
    "xtick.labelcolor": INK, "ytick.labelcolor": INK, "xtick.major.width": 0.6, "ytick.major.width": 0.6,
    "lines.linewidth": 1.6, "legend.frameon": False, "legend.fontsize": 8.5, "image.interpolation": "nearest",
    "figure.facecolor": PAPER, "savefig.facecolor": PAPER, "svg.hashsalt": "visattn",
}


def figure(rows: int = 1, columns: int = 1, size: tuple[float, float] | None = None, **grid: Any) -> tuple[Any, Any]:
    """(figure, axes): one axes, or an array of them as (rows, columns), without the sides that are 1.

    size   inches; None is 2.4 for each column and row
    grid   of Matplotlib's `subplots`, such as width_ratios
    """
    with style():
        fig = _notebook_figure()(figsize=size or (2.4 * columns + 0.4, 2.4 * rows + 0.3), layout="constrained", dpi=150)
        need("matplotlib.backends.backend_agg").FigureCanvasAgg(fig)
        return fig, fig.subplots(rows, columns, **grid)


def style() -> Any:
    """`with style():`, for what you draw yourself."""
    return need("matplotlib").rc_context(STYLE)


def _notebook_figure() -> Any:
    base: Any = need("matplotlib.figure").Figure

    class Figure(base):
        def _repr_png_(self) -> bytes:
            return png(self)

    return Figure


def png(fig: Any, dpi: float = 150) -> bytes:
    return _bytes(fig, "png", dpi)


def svg(fig: Any) -> str:
    """The figure as an <svg> element: what stands before it in a file is left out."""
    text = _bytes(fig, "svg", 72).decode()
    return text[text.index("<svg"):]


def _bytes(fig: Any, kind: str, dpi: float) -> bytes:
    file = BytesIO()
    with style():
        fig.savefig(file, format=kind, dpi=dpi, metadata={"Date": None} if kind == "svg" else None)
    return file.getvalue()


def save(fig: Any, path: str | os.PathLike[str], dpi: float = 150) -> Path:
    """Write a .png or .svg, whole or not at all; what was there before stays if anything fails."""
    path = Path(path)
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("png", "svg"):
        raise ValueError(f"{path}: a figure is written as .png or .svg")
    return _atomic.write(path, _bytes(fig, kind, dpi))


def image(ax: Any, x: Any, title: str = "", dim: float = 0.0) -> Any:
    """x (H, W), (1, H, W) or (3, H, W) in [0, 1], without axes; `dim` fades it towards white."""
    x = _picture(x)
    with style():
        _bare(ax, title)
        return ax.imshow(1 - (1 - dim) * (1 - x), cmap="gray", vmin=0, vmax=1, extent=_extent(x))


def heat(ax: Any, weights: Any, title: str = "", vmin: float = 0.0, vmax: float | None = None) -> Any:
    """weights (h, w) as colours, without axes."""
    with style():
        _bare(ax, title)
        return ax.imshow(weights, cmap=_ramp(RAMP), vmin=vmin, vmax=vmax)


def attention(ax: Any, x: Any, weights: Any, query: tuple[int, int] | None = None, title: str = "",
              vmax: float | None = None) -> Any:
    """Weights (h, w) over the image x, of which they are the tiles: the more weight, the more colour.

    query   (row, column) of the tile that asks, framed
    vmax    the weight of the strongest colour; None is the largest
    """
    x, weights = _picture(x), np.asarray(weights, float)
    top = vmax if vmax is not None else float(weights.max(initial=0)) or 1.0
    with style():
        image(ax, x.mean(-1) if x.ndim == 3 else x, title, dim=0.3)
        shown = ax.imshow(weights, cmap=_ramp(GLOW), vmin=0, vmax=top, extent=_extent(x))
        if query is not None:
            frame(ax, x, weights.shape, query)
    return shown


def frame(ax: Any, x: Any, grid: tuple[int, int], tile: tuple[int, int]) -> None:
    """A frame around tile (row, column) of the image x, which is cut into `grid` rows and columns."""
    H, W = _picture(x).shape[:2]
    high, wide = H / grid[0], W / grid[1]
    patches = need("matplotlib.patches")
    for colour, width in ((PAPER, 3.2), (MARK, 1.8)):
        ax.add_patch(patches.Rectangle((tile[1] * wide, tile[0] * high), wide, high, fill=False,
                                       edgecolor=colour, linewidth=width, joinstyle="miter"))


def gates(ax: Any, s: Any, rows: Sequence[str] | None = None, title: str = "", vmin: float = 0.0,
          vmax: float = 1.0) -> Any:
    """Gates s (C,) as bars, or (R, C) as a table of colours with one labelled row for each of R."""
    s = np.asarray(s, float)
    with style():
        ax.set_title(title)
        ax.set_xlabel("channel")
        ax.xaxis.set_major_locator(need("matplotlib.ticker").MaxNLocator(integer=True))
        if s.ndim == 1:
            ax.set_ylabel("gate")
            ax.set_ylim(vmin, vmax)
            return ax.bar(np.arange(len(s)), s, color=COLOURS[0], width=0.8)
        if rows is not None:
            ax.set_yticks(np.arange(len(s)), rows)
        ax.spines[:].set_visible(False)
        return ax.imshow(s, cmap=_ramp(RAMP), vmin=vmin, vmax=vmax, aspect="auto")


def sampling_grid(ax: Any, x: Any, grid: Any, title: str = "", align_corners: bool = False,
                  points: bool = True) -> None:
    """Where a grid (h, w, 2) of (x, y) in [-1, 1] looks in the image x: its points, and its outline as a frame."""
    shape = _picture(x).shape
    u, v = pixels(grid, shape[:2], align_corners)
    edge = np.concatenate([[(0, j) for j in range(u.shape[1])], [(i, -1) for i in range(u.shape[0])],
                           [(-1, -1 - j) for j in range(u.shape[1])], [(-1 - i, 0) for i in range(u.shape[0])]])
    with style():
        image(ax, x, title)
        if points:
            ax.plot(u.ravel(), v.ravel(), ".", color=MARK, markersize=2.5, alpha=0.8)
        ax.plot(u[edge[:, 0], edge[:, 1]], v[edge[:, 0], edge[:, 1]], color=MARK)
        ax.set_xlim(min(0, u.min()), max(shape[1], u.max()))
        ax.set_ylim(max(shape[0], v.max()), min(0, v.min()))


def pixels(grid: Any, size: tuple[int, int], align_corners: bool) -> tuple[Any, Any]:
    """(u, v) of a grid in pixels from the image's upper left corner, whose first pixel has its centre at ½, ½."""
    grid, (H, W) = np.asarray(grid, float), size
    if align_corners:
        return (grid[..., 0] + 1) / 2 * (W - 1) + 0.5, (grid[..., 1] + 1) / 2 * (H - 1) + 0.5
    return (grid[..., 0] + 1) / 2 * W, (grid[..., 1] + 1) / 2 * H


def curves(ax: Any, lines: Mapping[str, Any], x: str, y: str, title: str = "", log: bool = False) -> None:
    """Learning curves: each of `lines` is {label: values} or {label: (places, values)}; both axes are labelled."""
    with style():
        for i, (label, line) in enumerate(lines.items()):
            places, values = line if isinstance(line, tuple) else (np.arange(1, len(line) + 1), line)
            ax.plot(places, values, label=label, color=COLOURS[i % len(COLOURS)])
        ax.set_xlabel(x)
        ax.set_ylabel(y)
        ax.set_title(title)
        if log:
            ax.set_yscale("log")
        if lines:
            ax.legend()


def verdicts(ax: Any, cells: Any, rows: Sequence[str], columns: Sequence[str], x: str, y: str,
             title: str = "", names: Sequence[str] = ("", "killed", "survived")) -> Any:
    """A table of verdicts as colours, one labelled row and column each.

    cells   (R, C) of integers: what names[cell] says; 0 is left blank
    rows    a "group: name" for each of R; rows of one group stand together, and a line divides it from the next
    """
    cells = np.asarray(cells, int)
    if cells.shape != (len(rows), len(columns)):
        raise ValueError(f"cells must be ({len(rows)}, {len(columns)}) as rows and columns say; got {cells.shape}")
    colours = ("#f3f4f7", COLOURS[2], COLOURS[1], *COLOURS[3:])[:len(names)]
    groups = [row.partition(": ")[0] for row in rows]
    with style():
        shown = ax.imshow(cells, cmap=need("matplotlib.colors").ListedColormap(colours), vmin=-0.5,
                          vmax=len(names) - 0.5, aspect="auto")
        ax.set_yticks(np.arange(len(rows)), rows)
        ax.set_xticks(np.arange(len(columns)), columns, rotation=40, ha="right", rotation_mode="anchor")
        for edge in range(len(columns) - 1):
            ax.axvline(edge + 0.5, color=PAPER, linewidth=0.8)
        for edge in range(len(rows) - 1):
            same = groups[edge] == groups[edge + 1]
            ax.axhline(edge + 0.5, color=PAPER if same else INK, linewidth=0.8)
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0)
        ax.set_xlabel(x)
        ax.set_ylabel(y)
        ax.set_title(title)
        patch = need("matplotlib.patches").Patch
        there = [patch(color=colours[i], label=name) for i, name in enumerate(names) if name and (cells == i).any()]
        if there:
            ax.legend(handles=there, loc="lower right", bbox_to_anchor=(1, 1), ncols=len(there), borderaxespad=0)
    return shown


def colour_bar(fig: Any, shown: Any, axes: Any, label: str) -> Any:
    """The scale of what `attention`, `heat` or `gates` returned."""
    with style():
        bar = fig.colorbar(shown, ax=axes, label=label, shrink=0.8, aspect=30, pad=0.02)
        bar.outline.set_visible(False)
    return bar


def _ramp(colours: Sequence[str]) -> Any:
    return need("matplotlib.colors").LinearSegmentedColormap.from_list("visattn", colours)


def _picture(x: Any) -> Any:
    """(H, W) or (H, W, 3) of an image in any of the layouts that `image` takes."""
    x = np.asarray(x, float)
    if x.ndim == 3 and x.shape[0] in (1, 3) and x.shape[-1] != 3:
        x = x[0] if x.shape[0] == 1 else x.transpose(1, 2, 0)
    if x.ndim not in (2, 3) or (x.ndim == 3 and x.shape[-1] != 3):
        raise ValueError(f"an image has axes (H, W), (1, H, W) or (3, H, W); got shape {x.shape}")
    return np.clip(x, 0, 1)


def _extent(x: Any) -> tuple[float, float, float, float]:
    return 0, x.shape[1], x.shape[0], 0


def _bare(ax: Any, title: str) -> None:
    ax.set_title(title)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
