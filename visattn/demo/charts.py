"""Charts as inline SVG.  Their colours are the page's, by class, so they follow it from light to dark."""

import itertools
from collections.abc import Sequence
from html import escape
from math import ceil, floor, log10
from typing import Any, NamedTuple


class Line(NamedTuple):
    label: str
    x: Sequence[float]
    y: Sequence[float]


def line_chart(lines: Sequence[Line], *, x: str, y: str, title: str, low: float | None = None,
               high: float | None = None, percent: bool = False) -> str:
    """Lines with their names at their ends; both axes labelled."""
    wide, tall, left, right, top, bottom = 460, 280, 54, 96, 26, 44
    xs = [v for line in lines for v in line.x]
    ys = [v for line in lines for v in line.y]
    x_ticks = ticks(min(xs, default=0), max(xs, default=1), 5)
    y_ticks = ticks(min(ys, default=0) if low is None else low, max(ys, default=1) if high is None else high, 5)
    x0, x1, y0, y1 = x_ticks[0], x_ticks[-1], y_ticks[0], y_ticks[-1]

    def across(v: float) -> float:
        return round(left + (v - x0) / (x1 - x0) * (wide - left - right), 1)

    def down(v: float) -> float:
        return round(tall - bottom - (v - y0) / (y1 - y0) * (tall - top - bottom), 1)

    parts = [f'<text class="title" x="0" y="12">{escape(title)}</text>']
    for v in y_ticks:
        parts.append(f'<line class="rule" x1="{left}" x2="{wide - right}" y1="{down(v)}" y2="{down(v)}"/>'
                     f'<text class="tick end" x="{left - 8}" y="{down(v) + 3.5}">{spell(v, percent)}</text>')
    for v in x_ticks:
        parts.append(f'<text class="tick mid" x="{across(v)}" y="{tall - bottom + 16}">{spell(v)}</text>')
    parts.append(f'<text class="label mid" x="{(left + wide - right) / 2}" y="{tall - 8}">{escape(x)}</text>')
    parts.append(f'<text class="label mid" transform="translate(11 {(top + tall - bottom) / 2}) rotate(-90)">'
                 f'{escape(y)}</text>')
    parts.append(f'<clipPath id="{slug(title)}"><rect x="{left}" y="{top - 4}" width="{wide - left - right + 4}" '
                 f'height="{tall - top - bottom + 6}"/></clipPath>')
    ends = apart([down(line.y[-1]) for line in lines], 13, tall - bottom - 2)
    for i, (line, end) in enumerate(zip(lines, ends, strict=True)):
        path = " ".join(f"{across(a)},{down(b)}" for a, b in zip(line.x, line.y, strict=True))
        parts.append(f'<polyline class="line s{i}" clip-path="url(#{slug(title)})" points="{path}"/>'
                     f'<text class="name s{i}" x="{wide - right + 8}" y="{end + 3.5}">{escape(line.label)}</text>')
    return svg(wide, tall, parts, f"{title}: {y} against {x}")


def gate_table(values: Any, rows: Sequence[str], *, x: str, y: str, title: str, low: float, high: float) -> str:
    """values (R, C) as a table of colours, and its scale."""
    R, C = len(values), len(values[0])
    left, top, bottom, cell = 34, 26, 34, 20
    each = max(8.0, min(20.0, 560 / C))
    wide, tall = left + each * C + 8, top + cell * R + bottom
    parts = [f'<text class="title" x="0" y="12">{escape(title)}</text>',
             f'<text class="label mid" transform="translate(9 {top + cell * R / 2}) rotate(-90)">{escape(y)}</text>']
    for r in range(R):
        parts.append(f'<text class="tick end" x="{left - 6}" y="{top + cell * (r + 0.5) + 3.5}">{escape(rows[r])}'
                     "</text>")
        for c in range(C):
            share = (float(values[r][c]) - low) / ((high - low) or 1)
            parts.append(f'<rect class="cell" x="{left + each * c:.1f}" y="{top + cell * r}" width="{each - 1:.1f}" '
                         f'height="{cell - 1}" style="--share:{min(max(share, 0), 1):.3f}">'
                         f'<title>{escape(y)} {escape(rows[r])}, channel {c}: {float(values[r][c]):.2f}</title></rect>')
    for c in range(0, C, 4 if C > 10 else 1):
        parts.append(f'<text class="tick mid" x="{left + each * (c + 0.5):.1f}" y="{top + cell * R + 13}">{c}</text>')
    parts.append(f'<text class="label mid" x="{left + each * C / 2}" y="{tall - 6}">{escape(x)}</text>')
    return svg(wide, tall, parts, title, least=left + 14 * C)


def svg(wide: float, tall: float, parts: Sequence[str], title: str, least: float = 0) -> str:
    """The parts as an element that is as wide as its place, up to a little more than drawn and down to `least`."""
    size = f"max-width:{wide * 1.15:.0f}px;min-width:{least:.0f}px"
    return (f'<svg class="chart" viewBox="0 0 {wide:g} {tall:g}" style="{size}" role="img" '
            f'aria-label="{escape(title)}">{"".join(parts)}</svg>')


def slug(title: str) -> str:
    return "clip-" + "".join(c if c.isalnum() else "-" for c in title.lower())


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers from at or below low to at or above high."""
    span = (high - low) or 1.0
    step = 10 ** floor(log10(span / about))
    step *= next(m for m in (1, 2, 5, 10) if span / (step * m) <= about)
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    return [round(i * step, 10) for i in range(first, max(last, first + 1) + 1)]


def apart(places: Sequence[float], distance: float, last: float) -> list[float]:
    """The places, in their order, moved as little as it takes for none to be nearer to another than `distance`, or
    beyond `last`."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    moved = list(places)
    for above, i in itertools.pairwise(order):
        moved[i] = max(moved[i], moved[above] + distance)
    limit = last
    for i in reversed(order):
        moved[i] = min(moved[i], limit)
        limit = moved[i] - distance
    return moved


def spell(v: float, percent: bool = False) -> str:
    return f"{100 * v:g}\u202f%" if percent else f"{v:g}"
