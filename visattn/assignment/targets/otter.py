"""A notebook for `otter assign`, in the format of raw cells; tests are functions, not doctests.

    student/NAME.ipynb                  what otter gives to students, its public tests inside
    instructor/NAME.ipynb               for otter: solutions, and all tests

    otter assign NAME.ipynb dist        in instructor/; dist/autograder/*.zip is for Gradescope and for otter
    otter run -a dist/autograder/*.zip handed_in.ipynb -o results

A question is an answer with the tests that follow it, each a case with its own points.
"""

import textwrap
from collections.abc import Iterator
from typing import Any

from visattn._extras import need
from visattn.assignment import records, source
from visattn.assignment.exercise import Texts
from visattn.assignment.records import BEGIN, END, Cell, Sheet
from visattn.assignment.targets import KEY_FILE, _notebook
from visattn.assignment.targets._notebook import CALLS

NO_PROMPT, END_SOLUTION = "# BEGIN SOLUTION NO PROMPT", "# END SOLUTION"
LOCKED, ANSWER = {"editable": False, "deletable": False}, "otter_answer_cell"
OPENED, CLOSED = "<!-- BEGIN QUESTION -->", "<!-- END QUESTION -->"
CASE = '''""" # BEGIN TEST CONFIG
{config}
""" # END TEST CONFIG
{function}'''
TESTS = """from otter.test_files import test_case

OK_FORMAT = False

name = "{name}"
points = None

"""


def files(sheet: Sheet) -> dict[str, str]:
    say = Texts(sheet.lang)
    public = {name: _public(name, cells) for name, cells in _questions(sheet) if any(_shown(c) for c in cells)}
    metadata = {"otter": {"OK_FORMAT": False, "assignment_name": sheet.name, "tests": public}}
    return {f"student/{sheet.name}.ipynb": _notebook.text(student(sheet, say), metadata),
            f"instructor/{sheet.name}.ipynb": _notebook.text(original(sheet, say))}


# --- for otter

def original(sheet: Sheet, say: Texts) -> Iterator[Any]:
    """The cells of the notebook that otter reads."""
    yield _raw("assignment", "# ASSIGNMENT CONFIG",
               {"name": sheet.name, "requirements": ["visattn"], "export_cell": False, "autograder_files": [KEY_FILE],
                "tests": {"ok_format": False}, "generate": {"show_stdout": False, "show_hidden": False}})
    for cells in grouped(sheet):
        first, tests = cells[0], [cell for cell in cells if cell.test is not None]
        if first.kind == "written":
            yield _raw(f"{first.name}_begin", "# BEGIN QUESTION",
                       {"name": first.name, "manual": True, "points": first.points})
            yield _notebook.words(f"{first.name}_asks", "text", first.source)
            yield _raw(f"{first.name}_prompt", "# BEGIN PROMPT")
            yield _notebook.words(first.name, "written", say("answer_here"))
            yield _raw(f"{first.name}_prompted", "# END PROMPT")
            yield _raw(f"{first.name}_solution", "# BEGIN SOLUTION")
            yield _notebook.words(f"{first.name}_says", "solution", first.solution)
            yield _raw(f"{first.name}_solved", "# END SOLUTION")
            yield _raw(f"{first.name}_end", "# END QUESTION")
        elif not _is_question(cells):
            yield _plain(first)
        else:
            name = _name(cells)
            yield _raw(f"{name}_begin", "# BEGIN QUESTION", {"name": name})
            if first.kind == "answer":
                yield _raw(f"{name}_solution", "# BEGIN SOLUTION")
                yield _notebook.code(name, "answer", _marked(first.source))
                yield _raw(f"{name}_solved", "# END SOLUTION")
            if tests:
                yield _raw(f"{name}_tests", "# BEGIN TESTS")
                for cell in tests:
                    assert cell.test is not None
                    config = {"points": cell.test.points, "hidden": cell.test.hidden}
                    yield _notebook.code(cell.name, "test", CASE.format(config=_yaml(config), function=function(cell)))
                yield _raw(f"{name}_tested", "# END TESTS")
            yield _raw(f"{name}_end", "# END QUESTION")
            if hidden := [cell for cell in tests if not _shown(cell)]:
                yield _notebook.words(f"{hidden[0].name}_later", "text", _notebook.later(hidden, say))


def grouped(sheet: Sheet) -> Iterator[list[Cell]]:
    """Cells by themselves, answers with the tests that follow them."""
    group: list[Cell] = []
    for cell in sheet.cells:
        if cell.kind != "test" and group:
            yield group
            group = []
        group.append(cell)
    if group:
        yield group


def _is_question(cells: list[Cell]) -> bool:
    first = cells[0]
    return len(cells) > 1 or first.kind == "test" or (first.kind == "answer" and bool(records.solutions(first.source)))


def _name(cells: list[Cell]) -> str:
    """Of a question; of tests that follow no answer, with a word that none of them has."""
    return f"{cells[0].name}_question" if cells[0].kind == "test" else cells[0].name


def _questions(sheet: Sheet) -> Iterator[tuple[str, list[Cell]]]:
    return ((_name(cells), cells) for cells in grouped(sheet) if cells[0].kind != "written" and _is_question(cells))


def _shown(cell: Cell) -> bool:
    return cell.test is not None and not cell.test.hidden


def _marked(text: str) -> str:
    """An answer with otter's marks: the solution is cut out, and what students get stands in a string beside it."""
    found: list[str] = []
    for line in text.splitlines():
        indent = line[:len(line) - len(line.lstrip())]
        if line.strip() == BEGIN:
            found.append(indent + NO_PROMPT)
        elif line.strip() == END:
            found += [indent + END_SOLUTION, f'{indent}""" # BEGIN PROMPT', f"{indent}raise NotImplementedError",
                      f'{indent}""" # END PROMPT']
        else:
            found.append(line)
    return "\n".join(found)


def function(cell: Cell) -> str:
    """A test as a function; otter calls it with those of its arguments that the notebook defines."""
    free = source.free_names(cell.source)
    calls = [name for name in CALLS if name in free]
    lines = [f"from visattn.assignment import {', '.join(calls)}", ""] if calls else []
    names = [name for name in free if name not in calls]
    body = textwrap.indent("\n".join([*lines, cell.source.rstrip()]), "    ")
    return f"def test_{cell.name}({', '.join(names)}):\n{body}"


def _yaml(table: dict[str, Any]) -> str:
    return str(need("yaml", "notebooks").safe_dump(table, sort_keys=False)).strip()


def _raw(name: str, first: str, config: dict[str, Any] | None = None) -> Any:
    return _notebook.raw(name, "\n".join([first, *([_yaml(config)] if config else [])]))


def _plain(cell: Cell) -> Any:
    if cell.kind == "text":
        return _notebook.words(cell.name, "text", cell.source)
    return _notebook.code(cell.name, cell.kind, cell.source)


# --- for students

def student(sheet: Sheet, say: Texts) -> Iterator[Any]:
    """The cells that otter makes of the original for students."""
    start = f'# Initialize Otter\nimport otter\ngrader = otter.Notebook("{sheet.name}.ipynb")'
    yield _notebook.code("otter", "given", start, **LOCKED)
    before = ""                                     # the written question that ends where the next cell begins
    for cells in grouped(sheet):
        for made in _released(cells, say):
            if before and made.cell_type == "markdown":
                made.source = f"{CLOSED}\n\n{made.source}"
                made.metadata |= LOCKED
            elif before:
                yield _notebook.words(f"{before}_end", "text", f"{CLOSED}\n\n", **LOCKED)
            before = ""
            yield made
        before = cells[0].name if cells[0].kind == "written" else ""
    if before:
        yield _notebook.words(f"{before}_end", "text", f"{CLOSED}\n\n", **LOCKED)


def _released(cells: list[Cell], say: Texts) -> Iterator[Any]:
    """What students get of an answer with its tests, or of another cell."""
    first, name = cells[0], _name(cells)
    if first.kind == "written":
        yield _notebook.words(f"{name}_asks", "text", f"{OPENED}\n\n{first.source}", **LOCKED)
        yield _notebook.words(name, "written", say("answer_here"), tags=[ANSWER])
    elif not _is_question(cells):
        yield _plain(first)
    else:
        if first.kind == "answer":
            yield _notebook.code(name, "answer", records.unsolved(first.source), tags=[ANSWER])
        tests = [cell for cell in cells if cell.test is not None]
        hidden = [cell for cell in tests if not _shown(cell)]
        if len(hidden) < len(tests) or (tests and first.kind == "answer"):
            yield _notebook.code(f"{name}_check", "given", f'grader.check("{name}")', **LOCKED)
        if hidden:
            yield _notebook.words(f"{hidden[0].name}_later", "text", _notebook.later(hidden, say))


def _public(name: str, cells: list[Cell]) -> str:
    """The file of a question's public tests, which otter keeps in the notebook's metadata."""
    cases = [f"@test_case(points={cell.test.points}, hidden=False)\n{function(cell)}\n"
             for cell in cells if cell.test is not None and not cell.test.hidden]
    return TESTS.format(name=name) + "\n".join(cases)
