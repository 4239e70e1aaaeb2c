"""What the notebooks of all targets share."""

import ast
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from visattn._extras import need
from visattn.assignment.exercise import Texts
from visattn.assignment.records import Cell, Sheet

CALLS = ("expect", "same")                          # of visattn.assignment, in a test; they return nothing
KERNEL = {"kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
          "language_info": {"name": "python"}}
ID = 64                                             # characters that a notebook allows in the id of a cell


def text(cells: Iterable[Any], metadata: dict[str, Any] | None = None) -> str:
    """The file of a notebook."""
    nbformat = need("nbformat", "notebooks")
    book = nbformat.v4.new_notebook(cells=list(cells), metadata=KERNEL | (metadata or {}))
    nbformat.validate(book)
    return str(nbformat.writes(book)) + "\n"


def code(name: str, role: str, source: str, **metadata: Any) -> Any:
    return need("nbformat", "notebooks").v4.new_code_cell(source, id=name[:ID], metadata=_named(name, role, metadata))


def words(name: str, role: str, source: str, **metadata: Any) -> Any:
    """A cell of Markdown."""
    new = need("nbformat", "notebooks").v4.new_markdown_cell
    return new(source, id=name[:ID], metadata=_named(name, role, metadata))


def raw(name: str, source: str) -> Any:
    return need("nbformat", "notebooks").v4.new_raw_cell(source, id=name[:ID])


def _named(name: str, role: str, metadata: dict[str, Any]) -> dict[str, Any]:
    """By which a cell is found again in what is handed in, wherever it was moved to.

    A test that does not pass lets the cells below it run all the same.
    """
    more = {"tags": ["raises-exception"]} if role == "test" else {}
    return {"visattn": {"name": name, "role": role}, **more, **metadata}


def test(cell: Cell) -> str:
    """A test as a cell: what it asks for and earns, then its code, which never ends in a value."""
    assert cell.test is not None
    points = f"{cell.test.points} point" + "s" * (cell.test.points != 1)
    first = f"# {cell.test.asks}: {points}" if cell.test.asks else f"# {points}"
    source = cell.source.rstrip()
    last = ast.parse(source).body[-1:]
    if last and isinstance(last[0], ast.Expr) and not _is_call_of(last[0].value, CALLS):
        source += "\nNone"
    return f"{first}\n{source}"


def _is_call_of(node: ast.expr, names: tuple[str, ...]) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names


def blocks(sheet: Sheet) -> Iterator[tuple[bool, list[Cell]]]:
    """The cells of a sheet, hidden tests that follow each other together: (are they hidden tests?, cells)."""
    for hidden, cells in groupby(sheet.cells, key=lambda cell: cell.test is not None and cell.test.hidden):
        yield hidden, list(cells)


def later(cells: list[Cell], say: Texts) -> str:
    """What students read in the place of hidden tests."""
    lines = [f"- {c.test.asks or c.name} ({c.test.points})" for c in cells if c.test is not None]
    return "\n".join([say("hidden_tests"), "", *lines])
