"""One self-contained HTML file: no network, no other file; figures are inline, numbers stand in the page."""

import base64
import json
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from visattn import _atomic
from visattn._extras import need

FOLDER = Path(__file__).parent / "page"
GLOW = (0xF4, 0x51, 0x1E)


class Picture(NamedTuple):
    """An image with a name, as a data: URL."""

    name: str
    src: str


class Explorer(NamedTuple):
    """Images, and the attention of every patch of them, for the reader to choose from."""

    name: str                               # an id in the page
    images: Sequence[Picture]
    maps: Any                               # (images, L, G, T, T)
    rows: int
    columns: int
    layers: Sequence[str]
    heads: Sequence[str]
    start: dict[str, int]                   # layer, head, patch, query: what is shown at first
    token: str = ""                         # what token 0 is called where it is not a patch
    pixelated: bool = False
    seen: str = ""                          # what the network sees of it, where that is another image
    seen_caption: str = ""

    @property
    def json(self) -> str:
        """What the page's script reads.  Weights are bytes, 255 for the largest of a query, which is kept apart."""
        maps = np.asarray(self.maps, np.float32)
        tops = maps[..., 1 if self.token else 0:].max(-1)
        share = np.clip(np.rint(maps / np.where(tops > 0, tops, 1)[..., None] * 255), 0, 255).astype(np.uint8)
        found = {"rows": self.rows, "columns": self.columns, "layers": list(self.layers), "heads": list(self.heads),
                 "token": self.token, "pixelated": self.pixelated, "start": self.start,
                 "images": [p._asdict() for p in self.images], "weights": encoded(share.tobytes()),
                 "tops": encoded(tops.astype("<f4").tobytes())}
        return for_script(found)


class Figure(NamedTuple):
    """A small image with what is drawn over it: a glow, a frame, and what is seen through it."""

    src: str
    wide: float
    tall: float
    alt: str
    caption: str = ""
    pixelated: bool = True
    glow: str = ""                                                      # an image over it
    marks: Sequence[tuple[float, float, float, float]] = ()             # x, y, width, height
    frame: str = ""
    frame_top: str = ""
    then: str = ""


def render(findings: Any) -> str:
    """The page; `findings` is what its template names."""
    jinja2 = need("jinja2")
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(FOLDER), autoescape=True,
                                     undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("index.html.j2").render(f=findings)


def write(path: Path, text: str) -> Path:
    """The file, whole or not at all."""
    return _atomic.write(path, text.encode())


def for_script(value: Any) -> str:
    """JSON that cannot end the <script> it stands in."""
    return json.dumps(value, ensure_ascii=False).replace("<", "\\u003c").replace("\u2028", "\\u2028")


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def ink(x: Any) -> str:
    """Bright strokes on black, shown as ink on paper."""
    return image(1 - 0.8 * np.asarray(x))


def faded(x: Any, share: float = 0.65) -> Any:
    """A colour image (3, H, W) on its way to grey: what is drawn over it has the colours to itself."""
    return share * x.mean(0, keepdims=True) + (1 - share) * x


def image(x: Any, kind: str = "png") -> str:
    """A data: URL of x (H, W), (1, H, W) or (3, H, W) in [0, 1]."""
    x = np.asarray(x)
    x = x[0] if x.ndim == 3 and len(x) == 1 else x.transpose(1, 2, 0) if x.ndim == 3 else x
    file = BytesIO()
    pixels = np.rint(np.clip(x, 0, 1) * 255).astype(np.uint8)
    need("PIL.Image").fromarray(pixels).save(file, kind, **({"quality": 82} if kind == "jpeg" else {"optimize": True}))
    return f"data:image/{kind};base64,{encoded(file.getvalue())}"


def glow(weights: Any, low: float | None = None, high: float | None = None) -> str:
    """A data: URL of weights (h, w) as one colour, the denser the larger; the least is clear."""
    weights = np.asarray(weights, float)
    low, high = float(weights.min()) if low is None else low, float(weights.max()) if high is None else high
    share = np.clip((weights - low) / ((high - low) or 1), 0, 1)
    colour = np.broadcast_to(np.array(GLOW, np.uint8), (*share.shape, 3))
    file = BytesIO()
    pixels = np.concatenate([colour, np.rint(share[..., None] * 0.85 * 255).astype(np.uint8)], axis=2)
    need("PIL.Image").fromarray(pixels).save(file, "png", optimize=True)
    return f"data:image/png;base64,{encoded(file.getvalue())}"


def outline(u: Any, v: Any) -> tuple[str, str]:
    """The corners of a grid of pixels (h, w) as a polygon, and its upper edge."""
    corners = [(u[i, j], v[i, j]) for i, j in ((0, 0), (0, -1), (-1, -1), (-1, 0))]
    spelled = [f"{a:.2f},{b:.2f}" for a, b in corners]
    return " ".join(spelled), " ".join(spelled[:2])
