"""What an assignment is made of, as plain records: written once, turned into every target, and graded from.

    Sheet       the document: its cells in order, and what it was made from
    Cell        text, given code, an answer with its solution inside, a test, or a written question
    Test        one thing that is graded: passed or not, for so many points
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from visattn import _atomic

SCHEMA = 1
FILE = "assignment.json"                    # the instructor's: it holds solutions, hidden tests and the key
PARTS = ("forward", "backward", "derivation")
Kind = Literal["text", "given", "answer", "test", "written"]

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
UNWRITTEN = "nothing is written here yet"           # what is said of a stub


class Test(NamedTuple):
    """One graded thing."""

    name: str                               # attention_dq: unique, an identifier
    points: int
    asks: str                               # what is tried, in a sentence
    hidden: bool = False
    op: str = ""                            # the operator whose checker judges it; "" for a test that is code
    group: str = ""                         # which of its cases: formula, masks, options, edges; line, of a derivation
    part: str = ""                          # the output y, one gradient such as dq, gradients for all of them; a line
    exercise: str = ""                      # the answer cells that it is about: those of an operator have its name


class Cell(NamedTuple):
    """One cell of the sheet."""

    kind: Kind
    name: str                               # unique, an identifier; the grade_id of nbgrader
    source: str                             # text or code; of an answer, with the solution between its marks
    test: Test | None = None                # of a test
    points: int = 0                         # of a written question
    solution: str = ""                      # of a written question: what a full answer says


class Sheet(NamedTuple):
    """An assignment."""

    name: str                               # hw1: an identifier, the name of its files
    title: str
    cells: tuple[Cell, ...]
    lang: str = "en"
    ops: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    given: tuple[str, ...] = ()             # operators that students may call
    variants: bool = False
    own: str = ""                           # the text of an instructor's own operator file
    key: str = ""                           # from which hidden numbers are drawn; with the instructor only
    schema: int = SCHEMA

    @property
    def tests(self) -> list[Test]:
        return [cell.test for cell in self.cells if cell.test is not None]

    @property
    def points(self) -> int:
        """Of all tests and written questions together."""
        return sum(test.points for test in self.tests) + sum(cell.points for cell in self.cells)


def solved(source: str) -> str:
    """An answer as the instructor has it: without the marks."""
    return "\n".join(line for line in source.splitlines() if line.strip() not in (BEGIN, END))


def unsolved(source: str, instead: Iterable[str] = ("raise NotImplementedError",)) -> str:
    """An answer as students get it: other lines in the place of each solution."""
    kept, inside = [], False
    for line in source.splitlines():
        mark = line.strip()
        if mark == BEGIN:
            inside = True
            indent = line[:len(line) - len(line.lstrip())]
            kept += [indent + new for new in instead]
        elif mark == END:
            inside = False
        elif not inside:
            kept.append(line)
    return "\n".join(kept)


def solutions(source: str) -> list[str]:
    """The text of each solution in an answer."""
    found: list[list[str]] = []
    inside = False
    for line in source.splitlines():
        if line.strip() == BEGIN:
            inside = True
            found.append([])
        elif line.strip() == END:
            inside = False
        elif inside:
            found[-1].append(line)
    return ["\n".join(lines) for lines in found]


# --- on disk

def write(sheet: Sheet, path: str | Path) -> Path:
    """Keep a sheet as JSON."""
    return _atomic.write(path, (json.dumps(_plain(sheet), indent=1, ensure_ascii=False) + "\n").encode())


def read(path: str | Path) -> Sheet:
    """The sheet of a file; ValueError where it is none."""
    try:
        return from_json(json.loads(Path(path).read_text(encoding="utf-8")))
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError, KeyError) as error:
        raise ValueError(f"{path} is no assignment: {error}") from None


def as_json(sheet: Sheet) -> dict[str, Any]:
    return _plain(sheet)


def from_json(table: dict[str, Any]) -> Sheet:
    if table["schema"] != SCHEMA:
        raise ValueError(f"an assignment of schema {table['schema']}; this visattn reads {SCHEMA}")
    cells = tuple(Cell(**{**cell, "test": Test(**cell["test"]) if cell.get("test") else None})
                  for cell in table["cells"])
    lists = {key: tuple(table[key]) for key in ("ops", "parts", "given")}
    return Sheet(**{**table, **lists, "cells": cells})


def _plain(value: Any) -> Any:
    if hasattr(value, "_asdict"):
        return {key: _plain(part) for key, part in value._asdict().items()}
    return [_plain(part) for part in value] if isinstance(value, (tuple, list)) else value
