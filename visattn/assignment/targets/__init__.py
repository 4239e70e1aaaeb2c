"""A sheet as files: what students get, and what their instructor keeps.

    write(sheet, "hw1", "nbgrader")

    hw1/student/        hand out all of it: stubs, and the tests that students may run
    hw1/instructor/     hand out none of it: solutions, hidden tests, assignment.json, visattn.key

Both are whole folders, so that what to hand out is said by a folder's name and never by a file's; only the instructor's
owner may open theirs.  A target is a module here with one function, files(sheet), which returns the text of each file
by its path.  Nothing is written unless all of it can be, and not if any file of the students' has a line of a solution.
"""

import contextlib
import json
import os
import shutil
import tempfile
import textwrap
from collections.abc import Iterator
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

from visattn.assignment import records, source
from visattn.assignment.cells import KEY_FILE
from visattn.assignment.records import Sheet

TARGETS = ("plain", "nbgrader", "otter", "pytest")
STUDENT, INSTRUCTOR = "student", "instructor"


def write(sheet: Sheet, folder: str | Path, target: str = "plain", force: bool = False) -> list[Path]:
    """The files of an assignment, all of them or none; the folder is the assignment's own.

    force   a folder that is there already is kept beside the new one, as NAME.1

    Raises ValueError for an unknown target or a text that tells a solution, FileExistsError, OSError.
    """
    folder = Path(folder)
    if folder.exists() and not force:
        raise FileExistsError(f"{folder} is there already; --force keeps it beside the new one")
    made = files(sheet, target)
    folder.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        for name, text in made.items():
            path = building / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        records.write(sheet, building / INSTRUCTOR / records.FILE)
        building.chmod(0o755)
        (building / INSTRUCTOR).chmod(0o700)
        if folder.exists():
            folder.rename(next(path for i in count(1) if not (path := folder.with_name(f"{folder.name}.{i}")).exists()))
        os.replace(building, folder)
    except BaseException:
        with contextlib.suppress(OSError):
            shutil.rmtree(building)
        raise
    return sorted(path for path in folder.rglob("*") if path.is_file())


def files(sheet: Sheet, target: str) -> dict[str, str]:
    """{path below the assignment's folder: text} of everything but assignment.json."""
    if target not in TARGETS:
        raise ValueError(f"--target: there is no {target!r}; there is {', '.join(TARGETS)}")
    made: dict[str, str] = import_module(f"{__name__}.{target}").files(sheet)
    for name, text in made.items():
        if name.startswith(f"{STUDENT}/") and (found := leaks(sheet, name, text)):
            cell, run = next(iter(found.items()))
            raise ValueError(f"{name} would tell the solution of {cell}: {' '.join(run)}")
    return made | {f"{INSTRUCTOR}/{KEY_FILE}": f"{sheet.key}\n"}


def leaks(sheet: Sheet, name: str, text: str) -> dict[str, tuple[str, ...]]:
    """{answer: tokens} of the solutions of which a file for students has a run of source.RUN tokens.

    What a sheet shows on purpose is no leak: code that is given, which may share a helper with a solution; the head of
    an answer and the introduction of its operator, which may have a formula that is also a line of Python.
    """
    about = [f"{op}_about" for op in sheet.ops]
    shown = _runs([cell.source for cell in sheet.cells if cell.kind == "given" or cell.name in about]
                  + [records.unsolved(cell.source) for cell in sheet.cells if cell.kind == "answer"])
    there = _runs(_pieces(name, text)) - shown
    found = {}
    for cell in sheet.cells:
        for solution in records.solutions(cell.source) if cell.kind == "answer" else ():
            if told := source.runs(solution) & there:
                found[cell.name] = min(told)
    return found


def _runs(texts: list[str]) -> set[tuple[str, ...]]:
    return set().union(*(source.runs(textwrap.dedent(text)) for text in texts))


def _pieces(name: str, text: str) -> list[str]:
    """The texts in a file: of a notebook its cells, and all strings around them."""
    if not name.endswith(".ipynb"):
        return [text]
    book = json.loads(text)
    return ["".join(cell["source"]) for cell in book["cells"]] + list(_strings(book["metadata"]))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _strings(part)
