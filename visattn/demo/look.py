"""What each kind of attention does to an image, as arrays."""

from typing import Any, NamedTuple

import numpy as np

from visattn import ops
from visattn.tasks import classify

Array = np.ndarray[Any, np.dtype[Any]]

HEADS = {                       # attention without weights: what a patch is compared by, and how narrowly
    "colour": 3.0,
    "texture": 1.0,
    "place": 12.0,
    "colour and place": 1.5,
}
ORIENTATIONS = 6
HEADS_OF_VIT = 4                # of every vision transformer that `classify` trains


class Tiles(NamedTuple):
    """A picture cut into patches: what the pictures of this package are made of."""

    x: Array                    # (C, rows · high, columns · wide): the image, without the rest at its borders
    rows: int
    columns: int

    @property
    def size(self) -> tuple[int, int]:
        return self.x.shape[1] // self.rows, self.x.shape[2] // self.columns


def cut(x: Array, about: int = 216) -> Tiles:
    """The image x (C, H, W) in about that many square patches."""
    H, W = x.shape[1:]
    side = max(1, round((H * W / about) ** 0.5))
    rows, columns = max(1, H // side), max(1, W // side)
    top, left = (H - rows * side) // 2, (W - columns * side) // 2
    if top < 0 or left < 0:                             # narrower than one patch
        side, rows, columns, top, left = 1, H, W, 0, 0
    return Tiles(x[:, top:top + rows * side, left:left + columns * side], rows, columns)


def by_likeness(tiles: Tiles) -> Array:
    """(heads, T, T): attention without weights.  Patch t attends to s by exp(-b ‖f_t - f_s‖² / 2), normalised over s,
    for the features f that each of HEADS names, standardised over the patches.

    ‖f_t - f_s‖² = ‖f_t‖² - 2 f_tᵀf_s + ‖f_s‖², and softmax is blind to what all keys share: this is dot-product
    attention with a bias -b ‖f_s‖² / 2 on every key.
    """
    colour, texture, place = features(tiles)
    maps = []
    for name, b in HEADS.items():
        f = {"colour": colour, "texture": texture, "place": place,
             "colour and place": np.concatenate([colour, 1.5 * place], 1)}[name]
        _, cache = ops.attention.forward(b * f, f, f, -b / 2 * (f ** 2).sum(-1)[None], scale=1.0)
        maps.append(cache.p)
    return np.stack(maps)


def features(tiles: Tiles) -> tuple[Array, Array, Array]:
    """Of every patch (T, …), standardised: mean colour and contrast; edges by orientation; where it is."""
    (high, wide), rows, columns = tiles.size, tiles.rows, tiles.columns
    x = tiles.x.astype(float)
    cells = x.reshape(len(x), rows, high, columns, wide).transpose(1, 3, 0, 2, 4)
    cells = cells.reshape(rows * columns, -1, high, wide)
    grey = cells.mean(1)
    dy, dx = np.zeros_like(grey), np.zeros_like(grey)
    dy[:, :-1], dx[:, :, :-1] = np.diff(grey, axis=1), np.diff(grey, axis=2)
    strength, angle = np.hypot(dx, dy), np.mod(np.arctan2(dy, dx), np.pi) * ORIENTATIONS / np.pi
    edges = [np.where(np.floor(angle) % ORIENTATIONS == o, strength, 0).mean((1, 2)) for o in range(ORIENTATIONS)]
    places = np.stack(np.divmod(np.arange(rows * columns), columns), 1)
    return (standardised(np.concatenate([cells.mean((2, 3)), grey.std((1, 2))[:, None]], 1)),
            standardised(np.log(np.stack(edges, 1) + 1e-3)), standardised(places))


def standardised(f: Array) -> Array:
    """Mean 0 and variance 1 over the patches; a feature that all share is 0."""
    spread = f.std(0)
    return (f - f.mean(0)) / np.where(spread > 1e-12, spread, 1)


def shrunk(x: Array, rows: int, columns: int) -> Array:
    """(C, rows, columns): x (C, H, W) averaged over areas, whatever its size."""
    return _areas(x.shape[1], rows) @ x.astype(float) @ _areas(x.shape[2], columns).T


def _areas(n: int, m: int) -> Array:
    """(m, n): how much of each of n pixels lies in each of m equal stretches, as a mean."""
    edges = np.arange(m + 1) * n / m
    left, right = edges[:-1, None], edges[1:, None]
    overlap = np.minimum(right, np.arange(1, n + 1)) - np.maximum(left, np.arange(n))
    return np.maximum(overlap, 0) * m / n


def attention_maps(cache: Any) -> Array:
    """(N, L, G, T, T) of a vision transformer's cache: who looked at whom, in every layer and head."""
    return np.stack([block.p for block in cache.blocks], 1)


def stretched(p: Any, grid: tuple[int, int], wanted: tuple[int, int]) -> Any:
    """A vision transformer's weights for another grid of patches: its learned positions, interpolated linearly."""
    if grid == wanted:
        return p
    known = p.pos[1:].reshape(*grid, -1)
    down, across = _between(grid[0], wanted[0]), _between(grid[1], wanted[1])
    pos = np.einsum("ir,jc,rcd->ijd", down, across, known).reshape(wanted[0] * wanted[1], -1)
    return p._replace(pos=np.concatenate([p.pos[:1], pos]).astype(p.pos.dtype))


def _between(n: int, m: int) -> Array:
    """(m, n): linear interpolation from n places to m, ends on ends."""
    at = np.linspace(0, n - 1, m) if m > 1 else np.array([(n - 1) / 2])
    return np.maximum(0, 1 - abs(at[:, None] - np.arange(n)))


class Seen(NamedTuple):
    """What a transformer trained on small grey images makes of a photograph."""

    x: Array                    # (1, rows · patch, columns · patch): all that it sees
    maps: Array                 # (L, G, T, T), token 0 is the class token
    negative: bool


def by_transformer(trained: classify.Trained, tiles: Tiles) -> Seen:
    """The photograph, as a digit would be, shrunk until each of its tiles is one patch, through the network."""
    patch = classify.patch_of(trained.config)
    side = round((len(trained.p.pos) - 1) ** 0.5)
    x, negative = as_ink(tiles.x, tiles.rows * patch, tiles.columns * patch)
    wide = trained._replace(p=stretched(trained.p, (side, side), (tiles.rows, tiles.columns)))
    _, cache = classify.forward(wide, x[None])
    return Seen(x, attention_maps(cache)[0], negative)


def as_ink(x: Array, rows: int, columns: int) -> tuple[Array, bool]:
    """An image (C, H, W) as digits are, grey (1, rows, columns) float32 from 0 to 1, strokes bright and ground dark;
    and whether that is its negative: what there is less of, dark or bright, is taken for strokes."""
    grey = shrunk(x.mean(0, keepdims=True), rows, columns)
    low, high = grey.min(), grey.max()
    grey = ((grey - low) / ((high - low) or 1)).astype(np.float32)
    negative = bool(grey.mean() > 0.5)
    return (1 - grey if negative else grey), negative


class Gates(NamedTuple):
    """What the gate of one block let through."""

    channels: Array             # (N, C)
    places: Any                 # (N, H, W); None where the gate has none
    odds: Any                   # (N, H, W): their log-odds, which tell apart what is all but 1


def gates(cache: Any) -> list[Gates]:
    """[Gates] of every block of a gated_resnet that has some."""
    return [gates_of(block.gate) for block in cache.blocks if block.gate is not None]


def gates_of(cache: Any) -> Gates:
    """Of squeeze_excite's cache, or of CBAM's, which is one gate after another."""
    if not hasattr(cache, "spatial"):
        return Gates(cache.s, None, None)
    conv = cache.spatial.conv
    odds, _ = ops.conv2d.forward(conv.x, conv.w, padding=tuple(K // 2 for K in conv.w.shape[2:]))
    return Gates(cache.channel.s, cache.spatial.s[:, 0], odds[:, 0])


def image_size(trained: classify.Trained) -> int:
    """Rows, and columns, of the images that a network was trained on."""
    return {"digits": 8, "mnist5k": 28, "scattered": classify.CANVAS}[trained.config.data]
