"""A course of nbgrader, cell metadata of schema 3.

    student/NAME.ipynb                          what nbgrader releases: hand it out, or let nbgrader do it
    instructor/source/NAME/NAME.ipynb           with solutions and hidden tests
    instructor/nbgrader_config.py               makes instructor/ a course; run nbgrader in it

    nbgrader generate_assignment NAME
    nbgrader autograde NAME --create            after submissions lie in submitted/STUDENT/NAME/NAME.ipynb

Every test is a cell of its own, which passes or raises: nbgrader parses the repr of a value for a score, and gives full
marks for what it cannot parse.  The key lies above the folders in which notebooks are graded, where `expect` finds it.
"""

import hashlib
from collections.abc import Iterator
from typing import Any

from visattn.assignment import records
from visattn.assignment.exercise import Texts
from visattn.assignment.records import Sheet
from visattn.assignment.targets import _notebook

BEGIN_HIDDEN, END_HIDDEN = "### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS"
CONFIG = """c = get_config()  # noqa: F821
c.CourseDirectory.course_id = "{name}"
c.ClearSolutions.code_stub = {{"python": "raise NotImplementedError"}}
c.ClearSolutions.text_stub = {stub!r}
c.Execute.timeout = 600                     # seconds for one cell
"""


def files(sheet: Sheet) -> dict[str, str]:
    say = Texts(sheet.lang)
    return {f"student/{sheet.name}.ipynb": _notebook.text(release(sheet, say)),
            f"instructor/source/{sheet.name}/{sheet.name}.ipynb": _notebook.text(original(sheet)),
            "instructor/nbgrader_config.py": CONFIG.format(name=sheet.name, stub=say("answer_here"))}


def original(sheet: Sheet) -> Iterator[Any]:
    """The cells of the source notebook."""
    for cell in sheet.cells:
        if cell.kind == "text":
            yield _notebook.words(cell.name, "text", cell.source)
        elif cell.kind == "given":
            yield _notebook.code(cell.name, "given", cell.source, nbgrader=_metadata(cell.name, locked=True))
        elif cell.kind == "written":
            yield _notebook.words(f"{cell.name}_asks", "text", cell.source,
                                  nbgrader=_metadata(f"{cell.name}_asks", locked=True))
            yield _notebook.words(cell.name, "written", cell.solution,
                                  nbgrader=_metadata(cell.name, cell.points, solution=True))
        elif cell.test is not None:
            text = _notebook.test(cell)
            if cell.test.hidden:
                first, _, rest = text.partition("\n")
                text = f"{first}\n{BEGIN_HIDDEN}\n{rest}\n{END_HIDDEN}"
            yield _notebook.code(cell.name, "test", text, nbgrader=_metadata(cell.name, cell.test.points, locked=True))
        elif records.solutions(cell.source):
            yield _notebook.code(cell.name, "answer", cell.source, nbgrader=_metadata(cell.name, solution=True))
        else:
            yield _notebook.code(cell.name, "answer", cell.source)      # nothing to clear: nbgrader would empty it


def release(sheet: Sheet, say: Texts) -> Iterator[Any]:
    """The cells that nbgrader makes of the source, under the configuration that is written beside it."""
    for cell in original(sheet):
        mark = cell.metadata.get("nbgrader")
        if mark is None:
            yield cell
            continue
        if mark["solution"]:
            cell.source = records.unsolved(cell.source) if cell.cell_type == "code" else say("answer_here")
        elif BEGIN_HIDDEN in cell.source:
            cell.source = cell.source.partition("\n")[0]
        cell.metadata["deletable"] = False
        if not mark["solution"]:
            cell.metadata["editable"] = False
        mark |= {"checksum": checksum(cell), "cell_type": cell.cell_type}
        yield cell


def _metadata(name: str, points: int | None = None, *, solution: bool = False, locked: bool = False) -> dict[str, Any]:
    graded = {} if points is None else {"points": points}
    return {"schema_version": 3, "grade": points is not None, "solution": solution, "locked": locked, "task": False,
            "grade_id": name, **graded}


def checksum(cell: Any) -> str:
    """By which nbgrader knows that a cell was not touched."""
    mark = cell.metadata["nbgrader"]
    locked = not mark["solution"] and (mark["grade"] or mark["locked"])
    parts = [cell.source, cell.cell_type, mark["grade"], mark["solution"], locked, mark["grade_id"],
             *([float(mark["points"])] if mark["grade"] else [])]
    return hashlib.md5("".join(map(str, parts)).encode(), usedforsecurity=False).hexdigest()
