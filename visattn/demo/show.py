"""`visattn show`: where a patch of your own image looks, as a figure."""

from os import PathLike
from pathlib import Path
from textwrap import fill
from typing import Any, NamedTuple

import numpy as np

from visattn import plot
from visattn.data import photos
from visattn.demo import look, run
from visattn.tasks import classify

Array = np.ndarray[Any, np.dtype[Any]]
WIDTH = 2.3                                             # of one map, in inches


class Shown(NamedTuple):
    path: Path
    patch: tuple[int, int]
    grid: tuple[int, int]
    weights: Path


class Query(NamedTuple):
    """What is asked of which image: all that can be wrong with it is found out before any work."""

    tiles: look.Tiles
    patch: tuple[int, int]


def query(image: str | PathLike[str], patch: tuple[int, int] | None = None) -> Query:
    """The image of a file cut into patches, and one of them: the given (row, column), or one that has something."""
    tiles = look.cut(photos.open_image(image))
    if patch is None:
        patch = most_contrast(tiles)
    elif not (0 <= patch[0] < tiles.rows and 0 <= patch[1] < tiles.columns):
        raise ValueError(f"patch {patch[0]},{patch[1]} is outside of the image, which is cut into {tiles.rows} rows "
                         f"(0 to {tiles.rows - 1}) and {tiles.columns} columns (0 to {tiles.columns - 1})")
    return Query(tiles, patch)


def most_contrast(tiles: look.Tiles) -> tuple[int, int]:
    colour, _, _ = look.features(tiles)
    row, column = divmod(int(colour[:, -1].argmax()), tiles.columns)
    return row, column


def kept_weights(folder: str | PathLike[str] = "build/demo") -> Path | None:
    """The weights of the transformer that `visattn demo` trained into that folder; None where there are none."""
    for quick in (False, True):
        path = run.folder_of("vit", Path(folder), quick, 0) / classify.WEIGHTS
        if path.is_file():
            return path
    return None


def load(weights: str | PathLike[str], layer: int | None = None, head: int | None = None) -> classify.Trained:
    """A transformer's weights; ValueError for another network's, or where it has no such layer or head."""
    trained = classify.load(weights)
    if trained.config.model != "vit":
        raise ValueError(f"{weights} holds a {trained.config.model}: the attention of patches is a transformer's, "
                         "as `visattn train classify --model vit` trains it")
    for what, asked, has in (("layer", layer, len(trained.p.blocks)), ("head", head, look.HEADS_OF_VIT)):
        if asked is not None and not 0 <= asked < has:
            raise ValueError(f"{what} must be from 0 to {has - 1}; got {asked}")
    return trained


def figure(asked: Query, trained: classify.Trained, layer: int | None = None, head: int | None = None) -> Any:
    """The image with the patch framed; what the network sees; the patch's attention by likeness, and in every head."""
    tiles, (row, column) = asked
    t = row * tiles.columns + column
    seen = look.by_transformer(trained, tiles)
    L, G = seen.maps.shape[:2]
    layers = range(L) if layer is None else [layer]
    heads = range(G) if head is None else [head]
    likeness = look.by_likeness(tiles)

    H, W = tiles.x.shape[1:]
    wide, tall = (WIDTH, WIDTH * H / W) if W >= H else (WIDTH * W / H, WIDTH)
    across, down = 1 + max(len(look.HEADS), len(heads)), 1 + max(len(layers), 1)
    width = across * max(wide, 1.75)
    fig, axes = plot.figure(down, across, size=(width, down * (tall + 0.55) + 1.4))
    for ax in axes.flat:
        ax.set_axis_off()
    plot.image(axes[0, 0], tiles.x, f"your image\n{tiles.rows} × {tiles.columns} patches")
    plot.frame(axes[0, 0], tiles.x, (tiles.rows, tiles.columns), asked.patch)
    plot.image(axes[1, 0], seen.x, f"what the network sees\n{seen.x.shape[1]} × {seen.x.shape[2]} grey pixels")
    for ax, name, p in zip(axes[0, 1:], look.HEADS, likeness):
        draw(ax, asked, p[t], f"by {name}")
    for i, j in enumerate(layers):
        for k, g in enumerate(heads):
            draw(axes[1 + i, 1 + k], asked, seen.maps[j, g, 1 + t, 1:], f"layer {j}, head {g}")
    size = look.image_size(trained)
    words = f"""First row: attention by likeness; nothing is learned.
Below: a transformer trained on handwritten digits of {size} × {size} grey pixels, not on photographs. It gets your \
image in grey{" as a negative" * seen.negative}, shrunk so that each tile is one of its patches; its learned positions \
are stretched. Its heads show what they learned on digits, not what is in your image.
Colour: from no weight to the largest of the map, which is given above it."""
    with plot.style():
        fig.suptitle(f"Where the patch at row {row}, column {column} looks", x=0.01, ha="left", fontsize=13)
        fig.supxlabel("\n".join(fill(line, int(13 * width)) for line in words.splitlines()), x=0.01, ha="left",
                      fontsize=8.5, color=plot.SOFT)
    return fig


def draw(ax: Any, asked: Query, weights: Array, title: str) -> None:
    grid = asked.tiles.rows, asked.tiles.columns
    largest = f"largest {100 * weights.max():.1f} %"
    plot.attention(ax, asked.tiles.x, weights.reshape(grid), asked.patch, f"{title}\n{largest}")


def show(asked: Query, weights: Path, out: str | PathLike[str], layer: int | None = None,
         head: int | None = None) -> Shown:
    """Write the figure to a .png or .svg."""
    trained = load(weights, layer, head)
    path = plot.save(figure(asked, trained, layer, head), out)
    return Shown(path, asked.patch, (asked.tiles.rows, asked.tiles.columns), weights)
