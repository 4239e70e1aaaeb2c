"""A notebook or a percent script whose cells are marked, made into a sheet.

    # %% role="answer" name="ratio" points=3                in a script; jupytext reads it
    def ratio(a, b):
        ### BEGIN SOLUTION
        return a / (a + b)
        ### END SOLUTION

    # %% role="test" name="half" points=2                   its first line, a comment, says what is tried
    # %% role="test" name="third" points=1 hidden=true
    # %% [markdown] role="written" name="why" points=4      with what a full answer says between the same marks

In a notebook the same words stand in a cell's metadata, as visattn: {"role": "answer", "name": "ratio"}; or it has
nbgrader's metadata already.  A cell without a role is text or given.  The points of an answer may be said, and are then
those of its tests together.  Of nbgrader's cells a test with a hidden region is hidden as a whole.
"""

import ast
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from visattn._extras import need
from visattn.assignment import records, source
from visattn.assignment.exercise import Texts
from visattn.assignment.records import BEGIN, END, Cell, Sheet, Test
from visattn.assignment.sheet import identifier, with_points

ROLES = ("text", "given", "answer", "test", "written")
RESERVED = ("setup", "otter")                       # cells that our own notebooks begin with
HIDDEN = re.compile(r"^\s*#+ (BEGIN|END) HIDDEN TESTS\s*$", re.M)
SCHEME = re.compile(r"^\s*=== (BEGIN|END) MARK SCHEME ===\s*$", re.M)


class Marked(NamedTuple):
    """One cell of the file, read."""

    number: int                                     # from 1, as a reader counts
    code: bool
    source: str
    role: str
    name: str
    points: int | None
    hidden: bool
    asks: str


class Unfit(ValueError):
    """A cell is not as it should be; the message names it."""

    def __init__(self, cell: Marked, says: str) -> None:
        super().__init__(f"cell {cell.number}{f' ({cell.name})' if cell.name else ''}: {says}")


def sheet(name: str, file: str | Path, *, title: str = "", points: int | None = None, lang: str = "en",
          key: str = "") -> Sheet:
    """The sheet of a marked file.  Raises ValueError, whose one line names the file and the cell; OSError."""
    identifier(name, "NAME")
    Texts(lang)                                     # a language that there is not is said now
    try:
        cells = _checked(list(_cells(Path(file))))
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    whole = Sheet(name, title or _title(cells) or name, tuple(cells), lang, key=key or secrets.token_hex(16))
    return whole if points is None else with_points(whole, points)


def _title(cells: list[Cell]) -> str:
    found = next((re.match(r"# (.+)", cell.source) for cell in cells if cell.kind == "text"), None)
    return found[1].strip() if found else ""


# --- reading

def _cells(file: Path) -> Iterator[Marked]:
    """The cells of a file, each with what is said of it."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".ipynb":
        nbformat = need("nbformat", "notebooks")
        try:
            book = nbformat.reads(text, as_version=4)
        except Exception as error:
            raise ValueError(f"it is no notebook: {' '.join(str(error).split())[:200]}") from None
    elif file.suffix == ".py":
        book = need("jupytext", "notebooks").reads(text, fmt="py:percent")
    else:
        raise ValueError("it must be a notebook (.ipynb) or a script with cells (.py)")
    for number, cell in enumerate(book.cells, 1):
        if cell.source.strip():
            yield _marked(number, cell.cell_type == "code", cell.source, cell.metadata, file.suffix == ".py")


def _marked(number: int, code: bool, text: str, metadata: Any, script: bool) -> Marked:
    said = dict(metadata if script else metadata.get("visattn", {}))
    if "nbgrader" in metadata and "role" not in said:
        said = _of_nbgrader(code, metadata["nbgrader"])
        said["hidden"] = bool(HIDDEN.search(text))
        text = HIDDEN.sub("", text).strip("\n")
        text = SCHEME.sub(lambda found: BEGIN if found[1] == "BEGIN" else END, text)
        if said["role"] == "written" and BEGIN not in text:     # the whole cell is what a full answer says
            text = f"**{said['name']}**\n\n{BEGIN}\n{text}\n{END}"
    role = said.get("role", "given" if code else "text")
    cell = Marked(number, code, text, role, str(said.get("name", "")), said.get("points"), said.get("hidden") is True,
                  str(said.get("asks", "")))
    if role not in ROLES:
        raise Unfit(cell, f"there is no role {role!r}; there is {', '.join(ROLES)}")
    if code != (role in ("given", "answer", "test")):
        raise Unfit(cell, f"a cell with the role {role} must be {'text' if code else 'code'}")
    if "hidden" in said and not isinstance(said["hidden"], bool):
        raise Unfit(cell, f"hidden must be true or false; got {said['hidden']!r}")
    if cell.points is not None and (not isinstance(cell.points, int) or cell.points < 1):
        raise Unfit(cell, f"points must be a whole number, at least 1; got {cell.points!r}")
    return cell


def _of_nbgrader(code: bool, mark: dict[str, Any]) -> dict[str, Any]:
    """nbgrader's metadata in our words."""
    graded = bool(mark.get("grade") or mark.get("task"))
    if not code:
        role = "written" if graded else "text"
    else:
        role = "answer" if mark.get("solution") else "test" if graded else "given"
        if graded and mark.get("solution"):
            role = "code that a person grades"
    points = mark.get("points") if graded else None
    whole = int(points) if isinstance(points, float) and points.is_integer() else points
    return {"role": role, "name": re.sub(r"\W", "_", str(mark.get("grade_id", ""))), "points": whole}


# --- checking

def _checked(cells: list[Marked]) -> list[Cell]:
    """The cells of the sheet.  Raises Unfit."""
    made: list[Cell] = []
    seen: dict[str, int] = {}
    answer: Marked | None = None
    earned: dict[str, int] = {}                     # by the tests of an answer
    answers: list[Marked] = []
    defined: set[str] = set()
    for cell in cells:
        cell = cell._replace(name=_name(cell))
        if cell.name in seen:
            raise Unfit(cell, f"its name is that of cell {seen[cell.name]}")
        seen[cell.name] = cell.number
        _check_marks(cell)
        if cell.code:
            _check_python(cell)
            defined |= _defined(cell.source)
        if cell.role == "answer":
            answer = cell
            answers.append(cell)
        if cell.role == "test":
            if cell.points is None:
                raise Unfit(cell, "a test needs points=")
            if answer is not None:
                earned[answer.name] = earned.get(answer.name, 0) + cell.points
        made.append(_cell(cell, "" if answer is None else answer.name))
    for cell in cells:
        if cell.role == "test" and (unknown := [n for n in source.free_names(cell.source) if n not in defined]):
            raise Unfit(cell._replace(name=_name(cell)), f"nobody defines {' and '.join(unknown)}")
    for cell in answers:
        if cell.points is not None and cell.points != earned.get(cell.name, 0):
            raise Unfit(cell, f"points={cell.points}, but its tests have {earned.get(cell.name, 0)} together")
    if not any(cell.test or cell.points for cell in made):
        raise ValueError('nothing is graded: no cell has role="test" or role="written"')
    return made


def _name(cell: Marked) -> str:
    """The name of a cell, or one for it."""
    if not cell.name and cell.role == "answer":
        found = [n.name for n in ast.walk(_tree(cell)) if isinstance(n, (ast.FunctionDef, ast.ClassDef))]
        if found:
            return found[0]
    if not cell.name and cell.role in ("answer", "test", "written"):
        raise Unfit(cell, f"a cell with the role {cell.role} needs a name")
    name = cell.name or f"{cell.role}_{cell.number}"
    if not (name.isidentifier() and name.isascii()):
        raise Unfit(cell, f"its name must be letters, digits and _, not beginning with a digit; got {name!r}")
    return f"{name}_{cell.number}" if name in RESERVED else name


def _check_marks(cell: Marked) -> None:
    """Raise Unfit unless solutions are opened and closed, in cells that have one."""
    is_open, found = False, False
    for line in cell.source.splitlines():
        mark = line.strip()
        if mark in (BEGIN, END):
            if cell.role not in ("answer", "written"):
                raise Unfit(cell, f"a solution stands in a cell with the role {cell.role}")
            if is_open == (mark == BEGIN):
                raise Unfit(cell, f"{mark} stands {'inside of' if is_open else 'without'} a solution")
            is_open, found = mark == BEGIN, True
    if is_open:
        raise Unfit(cell, f"a solution is not closed: {END} is missing")
    if cell.role == "answer" and not found:
        raise Unfit(cell, f"an answer needs a solution, between {BEGIN} and {END}")
    if cell.role == "written" and cell.points is None:
        raise Unfit(cell, "a written question needs points=")


def _check_python(cell: Marked) -> None:
    texts = [records.solved(cell.source)] + ([records.unsolved(cell.source)] if cell.role == "answer" else [])
    for text in texts:
        try:
            compile(text, "cell", "exec")
        except SyntaxError as error:
            what = "" if text == texts[0] else " without its solution"
            raise Unfit(cell, f"line {error.lineno}{what} is no Python: {error.msg}") from None


def _tree(cell: Marked) -> ast.Module:
    try:
        return ast.parse(records.solved(cell.source))
    except SyntaxError:
        return ast.Module([], [])                   # said later, with the line


def _defined(text: str) -> set[str]:
    """The global names that a cell binds."""
    import symtable

    table = symtable.symtable(records.solved(text), "cell", "exec")
    return {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported() or s.is_namespace()}


def _cell(cell: Marked, answer: str) -> Cell:
    if cell.role == "test":
        first, _, rest = cell.source.strip("\n").partition("\n")
        said = re.match(r"#+ *(.*\S)", first)
        asks = cell.asks or (said[1] if said else "")
        text = rest.strip("\n") if said and asks == said[1] else cell.source
        assert cell.points is not None
        test = Test(cell.name, cell.points, asks, cell.hidden, exercise=answer or cell.name)
        return Cell("test", cell.name, text, test)
    if cell.role == "written":
        question = records.unsolved(cell.source, ()).strip()
        return Cell("written", cell.name, question, None, cell.points or 0,
                    "\n\n".join(records.solutions(cell.source)).strip())
    return Cell(cell.role, cell.name, cell.source)                                              # type: ignore[arg-type]
