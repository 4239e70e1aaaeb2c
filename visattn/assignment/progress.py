"""What a learner's own files pass, judged anew: `visattn progress`.

    for row in progress("workspace"):
        row.file, row.op, row.passed, row.of, row.left          # "dk: the factor 1/√D is missing"

An operator is found by its functions, attention_forward and so on, in any notebook or Python file; which notebook they
began in does not matter.  Nothing is remembered between runs.
"""

import ast
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from visattn import ops
from visattn.assignment import grading, reading, sheet, source, submissions
from visattn.assignment.records import UNWRITTEN, Sheet

NOTHING = Sheet("progress", "", ())
LEFT_OUT = {"instructor", "build", "node_modules"}          # folders that hold no work of a learner's


class Row(NamedTuple):
    """One operator in one file."""

    file: str
    op: str
    passed: int
    of: int
    left: tuple[tuple[str, str], ...]                       # (what is tried, why it does not pass yet)


def progress(path: str | Path, step: Callable[[str], None] = lambda what: None) -> list[Row]:
    """What passes in a file, or in every notebook and Python file of a folder.

    Raises FileNotFoundError where there is no such file or folder, and ValueError where no operator is in it.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(2, "no such file or folder", str(path))
    rows = [row for file in sorted(files(path)) for row in of_file(file, path, step)]
    if not rows:
        raise ValueError(f"{path} defines no operator, such as softmax_forward; `make lab` brings notebooks that do")
    return rows


def files(path: Path) -> Iterator[Path]:
    """The notebooks and Python files of a learner's."""
    if path.is_file():
        yield path
    elif path.is_dir():
        for entry in path.iterdir():
            hidden = entry.name.startswith((".", "_")) or entry.name in LEFT_OUT or entry.is_symlink()
            if not hidden and (entry.is_dir() or entry.suffix in submissions.CODE):
                yield from files(entry)


def of_file(file: Path, below: Path, step: Callable[[str], None]) -> Iterator[Row]:
    """A row for each operator that a file defines."""
    content = submissions.Content(file.name, file.read_bytes(), 0.0)
    try:
        pieces = reading.taken_apart(content, NOTHING).pieces
    except reading.Unread:
        return
    defined = {p.node.name: p.node for p in pieces if isinstance(p.node, ast.FunctionDef)}
    name = str(file.relative_to(below)) if below.is_dir() else file.name
    for op in dir(ops):
        functions = sheet.functions_of(op)
        parts = [part for part, function in functions.items() if function in defined]
        if "forward" not in parts or ast.dump(defined[functions["forward"]]) == _given(op):
            continue
        step(f"{name}: {op}")
        whole = _sheet(op, tuple(parts))
        done = [part for part in parts if not reading.is_stub(defined[functions[part]])]
        found = {}
        if "forward" in done:
            asked = _sheet(op, tuple(done))
            result = grading.grade(asked, reading.read("", [content], asked))
            found = {o.test: "" if o.passed else o.says for o in result.outcomes}
        left = tuple((test.asks, found.get(test.name, UNWRITTEN)) for test in whole.tests
                     if found.get(test.name, UNWRITTEN))
        yield Row(name, op, len(whole.tests) - len(left), len(whole.tests), left)


@cache
def _sheet(op: str, parts: tuple[str, ...]) -> Sheet:
    """What is asked of one operator, of which these parts are there."""
    return sheet.of_operators("progress", [op], parts=parts, given=[], written=False)


@cache
def _given(op: str) -> str:
    """An operator's forward as an assignment gives it, where it is a part of another."""
    tree = ast.parse(source.given([op]))
    name = source.prefixed(op, "forward")
    return next(ast.dump(node) for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)
