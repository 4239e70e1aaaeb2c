"""A notebook with the tests that students may run; no grader is needed.

    student/NAME.ipynb                  stubs, public tests, and in words what else is tried
    instructor/NAME_solution.ipynb      the same with solutions and hidden tests; it runs from top to bottom
"""

from collections.abc import Iterator
from typing import Any

from visattn.assignment import records
from visattn.assignment.exercise import Texts
from visattn.assignment.records import Cell, Sheet
from visattn.assignment.targets import _notebook


def files(sheet: Sheet) -> dict[str, str]:
    return {f"student/{sheet.name}.ipynb": _notebook.text(student(sheet)),
            f"instructor/{sheet.name}_solution.ipynb": _notebook.text(solution(sheet))}


def student(sheet: Sheet) -> Iterator[Any]:
    """The cells that students get."""
    say = Texts(sheet.lang)
    for hidden, cells in _notebook.blocks(sheet):
        if hidden:
            yield _notebook.words(f"{cells[0].name}_later", "text", _notebook.later(cells, say))
        for cell in cells if not hidden else ():
            if cell.kind == "answer":
                yield _notebook.code(cell.name, "answer", records.unsolved(cell.source))
            elif cell.kind == "written":
                yield _notebook.words(f"{cell.name}_asks", "text", cell.source)
                yield _notebook.words(cell.name, "written", say("answer_here"))
            else:
                yield _plain(cell)


def solution(sheet: Sheet) -> Iterator[Any]:
    """The instructor's cells."""
    for cell in sheet.cells:
        if cell.kind == "answer":
            yield _notebook.code(cell.name, "answer", records.solved(cell.source))
        elif cell.kind == "written":
            yield _notebook.words(f"{cell.name}_asks", "text", cell.source)
            yield _notebook.words(cell.name, "written", cell.solution)
        else:
            yield _plain(cell)


def _plain(cell: Cell) -> Any:
    """Text, given code, or a test."""
    if cell.kind == "text":
        return _notebook.words(cell.name, "text", cell.source)
    return _notebook.code(cell.name, cell.kind, _notebook.test(cell) if cell.test is not None else cell.source)
