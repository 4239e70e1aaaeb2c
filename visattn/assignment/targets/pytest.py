"""A folder with a file to fill in, and tests for pytest.

    student/NAME.py                     given code and stubs
    student/test_NAME.py                public tests: pytest test_NAME.py
    student/README.md                   the text of the sheet, and how to run the tests
    student/answers.md                  the questions in words, if there are any
    instructor/NAME.py, test_NAME.py    the solution, and all tests; answers.md with what full answers say
"""

import textwrap
from collections.abc import Callable, Iterable

from visattn.assignment import records, source
from visattn.assignment.exercise import Texts
from visattn.assignment.records import Cell, Sheet
from visattn.assignment.targets import _notebook
from visattn.assignment.targets._notebook import CALLS


def files(sheet: Sheet) -> dict[str, str]:
    say, name = Texts(sheet.lang), sheet.name
    tests = [cell for cell in sheet.cells if cell.test is not None]
    public = [cell for cell in tests if cell.test is not None and not cell.test.hidden]
    made = {f"student/{name}.py": module(sheet, records.unsolved),
            f"student/test_{name}.py": suite(sheet, public),
            "student/README.md": readme(sheet, say),
            f"instructor/{name}.py": module(sheet, records.solved),
            f"instructor/test_{name}.py": suite(sheet, tests)}
    if any(cell.kind == "written" for cell in sheet.cells):
        made["student/answers.md"] = answers(sheet, lambda cell: say("answer_here"))
        made["instructor/answers.md"] = answers(sheet, lambda cell: cell.solution)
    return made


def module(sheet: Sheet, answer: Callable[[str], str]) -> str:
    """The file with the code: what is given as it is, what is to be written as `answer` leaves it."""
    parts = [f'"""{sheet.title}"""']
    for cell in sheet.cells:
        if cell.kind in ("given", "answer"):
            parts.append(answer(cell.source) if cell.kind == "answer" else cell.source)
    return "\n\n\n".join(part.strip("\n") for part in parts) + "\n"


def suite(sheet: Sheet, tests: Iterable[Cell]) -> str:
    """The file of the tests, a function each."""
    made, called = [], set()
    for cell in tests:
        assert cell.test is not None
        free = source.free_names(cell.source)
        called |= {name for name in CALLS if name in free}
        names = [name for name in free if name not in CALLS]
        first, _, rest = _notebook.test(cell).partition("\n")
        body = [f"from {sheet.name} import {', '.join(names)}", "", *rest.splitlines()] if names else rest.splitlines()
        made.append("\n".join([first, f"def test_{cell.name}():", textwrap.indent("\n".join(body), "    ")]))
    head = f'"""{sheet.title}: pytest test_{sheet.name}.py"""'
    imports = [f"from visattn.assignment import {', '.join(sorted(called))}"] if called else []
    return "\n\n\n".join(["\n\n".join([head, *imports]), *made]) + "\n"


def readme(sheet: Sheet, say: Texts) -> str:
    """The sheet's text, then how to run the tests."""
    texts = [cell.source for cell in sheet.cells if cell.kind == "text"]
    later = [_notebook.later(cells, say) for hidden, cells in _notebook.blocks(sheet) if hidden]
    title = [] if texts and texts[0].startswith("# ") else [f"# {sheet.title}"]
    return "\n\n".join([*title, *texts, say("pytest", name=sheet.name), *later]) + "\n"


def answers(sheet: Sheet, answer: Callable[[Cell], str]) -> str:
    """The written questions, each below its own name, with a place for the answer."""
    parts = [f"# {sheet.title}"]
    for cell in sheet.cells:
        if cell.kind == "written":
            parts += [f"## {cell.name}", cell.source, answer(cell)]
    return "\n\n".join(parts) + "\n"
