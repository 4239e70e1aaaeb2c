"""A report as HTML that needs no network and no other file, for light and dark.

    html(found)                         a page of its own: `visattn check --html FILE`
    html(found, whole_page=False)       a part of one: how a notebook shows a report
"""

from collections.abc import Iterator
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from visattn._extras import MissingPackage, need
from visattn.check import words
from visattn.check.verdicts import Map, Report, Suspect

FOLDER = Path(__file__).parent / "page"
LEVELS = 5
ROWS, COLUMNS, TABLES = 32, 48, 4
CELL = 10                               # of a picture's units


def html(report: Report, whole_page: bool = True) -> str:
    """The report as a page, or as a part of one; without Jinja a part is the plain text."""
    try:
        jinja2 = need("jinja2")
    except MissingPackage:
        if whole_page:
            raise
        return f"<pre>{escaped(str(report))}</pre>"
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(FOLDER), autoescape=True,
                                     undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.get_template("report.html.j2" if whole_page else "part.html.j2")
    return template.render(r=report, words=words, panels=panels, diff=diff, worst=worst)


def escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def worst(ratios: dict[str, float]) -> str:
    """"dk 2.3e4": the largest of one case."""
    known = {k: np.inf if v != v else v for k, v in ratios.items() if v is not None}
    name = max(known, key=lambda k: known[k], default="")
    return f"{words.line(name)} {words.number(known[name])}" if name else "-"


class Panel(NamedTuple):
    """One table of a map, drawn."""

    title: str                          # "N = 1", or ""
    rows: str                           # letters of the axes
    columns: str
    wide: int
    tall: int
    paths: list[tuple[str, str]]        # (class, the cells of one level)
    frame: tuple[int, int] | None       # x, y of the largest error
    ticks: list[tuple[str, int, str]]   # ("x" or "y", where, text)


class Panels(NamedTuple):
    panels: list[Panel]
    legend: list[tuple[str, str]]       # (class, words)
    says: str                           # how to read them, beside what there is to see


def panels(m: Map) -> Panels | None:
    """The pictures of a map, one scale for all; None where there is nothing to draw."""
    picture = words.picture(m, ROWS, COLUMNS, TABLES)
    if picture is None or np.size(m.ratio) < 2:
        return None
    everything = np.concatenate([table.ravel() for _, table in picture.tables])
    ends = words.limits(everything, LEVELS)
    used = set(words.level(everything, ends).tolist())
    largest = max(float(table.max()) for _, table in picture.tables)
    drawn, framed = [], False
    for index, table in picture.tables:
        levels = words.level(table, ends)
        paths = [(name_of(i, ends), cells(levels == i)) for i in sorted(used) if (levels == i).any()]
        frame = None
        if not framed and table.max() == largest:
            framed = True
            row, column = np.unravel_index(int(table.argmax()), table.shape)
            frame = (int(column) * CELL, int(row) * CELL)
        drawn.append(Panel(f"{picture.axis} = {index}" if picture.axis else "", picture.rows, picture.columns,
                           table.shape[1] * CELL, table.shape[0] * CELL, paths, frame,
                           [*ticks("x", table.shape[1], picture.block[1]),
                            *(ticks("y", table.shape[0], picture.block[0]) if picture.rows else [])]))
    legend = [(name_of(0, ends), "within the bound")]
    legend += [(name_of(i, ends), f"up to {words.number(end)} bounds") for i, end in enumerate(ends) if i and i in used]
    legend += [(name_of(len(ends), ends), "not finite")] if len(ends) in used else []
    how = "Colour is the error in bounds; the frame is the largest"
    if picture.block != (1, 1):
        how += f"; a cell is the worst of {picture.block[0]} × {picture.block[1]} elements"
    if picture.left_out:
        how += f"; {words.counted(picture.left_out, 'more table')} along {picture.axis} not shown, none of them worse"
    return Panels(drawn, legend, how + ".")


def name_of(level: int, ends: list[float]) -> str:
    """The class of a level: e0 within the bound, e1 … e5 ever darker, ex not finite."""
    if level >= len(ends):
        return "ex"
    return "e0" if level == 0 else f"e{LEVELS - (len(ends) - 1 - level)}"


def cells(chosen: np.ndarray) -> str:
    """An SVG path of these cells, runs of a row joined."""
    parts = []
    for y, row in enumerate(chosen):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
        parts += [f"M{a * CELL} {y * CELL}h{(b - a) * CELL}v{CELL}h{(a - b) * CELL}z"
                  for a, b in zip(edges[::2].tolist(), edges[1::2].tolist())]
    return "".join(parts)


def ticks(side: str, n: int, block: int) -> Iterator[tuple[str, int, str]]:
    """A number at every cell, or at about eight of them."""
    step = 1 if n <= 12 else -(-n // 8)
    return ((side, i * CELL + CELL // 2, str(i * block)) for i in range(0, n, step))


def diff(suspect: Suspect) -> list[tuple[str, str, list[tuple[str, bool]]]]:
    """[(sign, label, [(text, whether it differs)])]: the reference's lines, then those that give these answers."""
    old, new = words.clean(suspect.line).strip("\n"), words.clean(suspect.instead).strip("\n")
    a, b = tokens(old), tokens(new)
    sides: tuple[list[Any], list[Any]] = ([], [])
    for tag, *ends in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        for side, part in zip(sides, (a[slice(*ends[:2])], b[slice(*ends[2:])])):
            if part:
                side.append(("".join(part), tag != "equal"))
    return [("-", "the reference", sides[0]), ("+", "gives your answers", sides[1])]


def tokens(code: str) -> list[str]:
    """Words, and every other character by itself."""
    found: list[str] = []
    for c in code:
        if found and (c.isalnum() or c == "_") and (found[-1][-1].isalnum() or found[-1][-1] == "_"):
            found[-1] += c
        else:
            found.append(c)
    return found
