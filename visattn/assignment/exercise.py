"""An operator as an exercise: its introduction, the answers to write, the tests, the questions.

    cells = of_operator(ops.attention, ("forward", "backward"), Texts("en"))

Nothing here is written for one operator.  The introduction is what a lesson says of it, and its own docstring; the
answers are its own functions without their bodies; the tests are the groups of its cases; the questions ask for what
`visattn.check.cost` counts, and about one of its known mistakes.
"""

import re
import string
import textwrap
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from visattn import catalogue
from visattn.assignment import judging, source
from visattn.assignment.records import BEGIN, END, Cell, Test, unsolved

HERE = Path(__file__).parent
LESSONS = (HERE / "lessons", HERE.parents[1] / "lessons")           # of a wheel, of a checkout
POINTS = {"output": 2}                                              # of a test; 1 of any other


class Texts:
    """The words of one language."""

    def __init__(self, lang: str) -> None:
        if lang not in languages():
            raise ValueError(f"--lang: there is no {lang!r}; there is {', '.join(languages())}")
        self.table = tomllib.loads((HERE / "texts" / f"{lang}.toml").read_text(encoding="utf-8"))

    def __call__(self, key: str, **words: Any) -> str:
        text = self.table
        for part in key.split("."):
            text = text[part]
        assert isinstance(text, str)
        return string.Formatter().vformat(text, (), words).strip()


def languages() -> list[str]:
    return sorted(path.stem for path in (HERE / "texts").glob("*.toml"))


def of_operator(op: ModuleType, parts: tuple[str, ...], say: Texts, *, number: int = 1,
                fixed: tuple[str, ...] | None = None) -> list[Cell]:
    """The cells of one operator's exercise.

    parts   forward, backward, derivation: what students write; a forward that they do not write is given
    fixed   options that are no arguments, because every student has values of their own for them; None: all are
    """
    text = source.of(op, fixed)
    fixed = fixed or ()
    name = text.op
    cells = [Cell("text", f"{name}_about", about(op, number))]
    grads = [f"d{a}" for a in text.forward.arguments]
    groups = {g.group for g in judging.grouped(op, fixed).values()}

    if "forward" in parts:
        cells += [Cell("text", f"{name}_forward_about", say("forward", forward=text.forward.name)),
                  Cell("answer", text.forward.name, f"{text.records}\n\n\n{_answer(text.forward)}"),
                  _test(name, "output", say("ask.output", op=name), text)]
    else:
        cells += [Cell("text", f"{name}_forward_about", say("shown_forward")),
                  Cell("given", text.forward.name,
                       f"{text.records}\n\n\n{text.forward.head}\n{text.forward.body}")]
    if "backward" in parts:
        about_it = say("backward", backward=text.backward.name, grads=", ".join(grads))
        back = text.backward
        if "derivation" in parts:                           # which is then not told
            back = back._replace(head=source.without_derivation(back.head))
        cells += [Cell("text", f"{name}_backward_about", about_it), Cell("answer", back.name, _answer(back))]
        required = _required(op)
        cells += [_test(name, f"d{a}", say("ask.gradient", argument=a), text)
                  for a in text.forward.arguments if a in required]
    if "derivation" in parts:
        from visattn.assignment import derivation

        known = derivation.of(op)
        cells += [Cell("text", f"{name}_derivation_about",
                       say("derivation", names=", ".join(f"`{n}`" for n in known.names),
                           lines=", ".join(f"`{n}`" for n in known.lines))),
                  Cell("answer", f"{name}_derivation", derivation.stub(op))]
        cells += [_test(name, f"line_{line}", say("ask.line", name=line), text) for line in known.lines]
    hidden = [group for group in ("masks", "options", "edges") if group in groups]
    tests = []
    if "forward" in parts:
        tests += [_test(name, group, say(f"ask.{group}", op=name, names=_options(op, fixed)), text, True)
                  for group in hidden]
    if "backward" in parts and hidden:
        tests.append(_test(name, "gradients", say("ask.gradients", op=name), text, True))
    return cells + tests


def questions(op: ModuleType, say: Texts) -> Iterator[Cell]:
    """Written questions about an operator, and what a full answer says."""
    from visattn import check
    from visattn.check import changes

    text = source.of(op)
    sizes, args, options = sized_example(op)
    try:
        counted = check.cost(op, args, options)
    except NotImplementedError:
        counted = None
    if counted is not None:
        yield Cell("written", f"{text.op}_cost", say("cost", sizes=sizes, forward=text.forward.name), points=2,
                   solution=say("cost_solution", macs=f"{counted.multiply_adds:,}",
                                elements=f"{counted.elementwise:,}", command="visattn.check.cost"))
    own = [c for c in changes.own(op.__name__) if c.kind == "mistake"]
    if own:
        known = max(own, key=lambda c: (bool(c.see), -len(c.instead.splitlines()), len(c.says)))
        yield Cell("written", f"{text.op}_mistake", say("mistake", says=known.says), points=2,
                   solution=say("mistake_solution", name=known.name.replace("_", " "),
                                place=changes.function_of(known) or "the file",
                                line=textwrap.indent(known.line.strip(), "    ").strip(),
                                instead=textwrap.indent(known.instead.strip(), "    ").strip()))


def sized_example(op: ModuleType) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    """(its sizes in words, arguments, options) of the operator's own example."""
    from visattn.check.cases import Integers

    args, options = op.example(Integers(0, op.__name__))
    shapes = [f"{name} {tuple(a.shape)}" for name, a in zip(source.of(op).forward.arguments, args) if a is not None]
    return ", ".join(shapes), args, options


def practice(op: str) -> str:
    """An exercise for a lesson: an operator's stubs, and a last line that says whether what is there is right."""
    from visattn import ops

    text = source.of(getattr(ops, op))
    answers = [unsolved(_answer(function)) for function in (text.forward, text.backward)]
    ending = f'attempt("{op}", {text.forward.name}, {text.backward.name})'
    return "\n\n\n".join([text.records, *answers, ending]) + "\n"


def about(op: ModuleType, number: int) -> str:
    """The heading and the introduction of an operator: what a lesson says before it quotes it, or its docstring."""
    entry = catalogue.describe(op)
    heading = f"## {number}. {entry.name.replace('_', ' ').capitalize()}"
    formulas = "\n\n".join(_paragraphs(_docstring(op))[2 if entry.paper else 1:])
    told = lesson(entry.name)
    parts = [heading, entry.claim, entry.paper]
    if told:
        parts += [told]
    return "\n\n".join(filter(None, [*parts, formulas]))


def _docstring(op: ModuleType) -> str:
    """A module's docstring as it stands: Python, or inspect, may take away the indentation that all its lines share."""
    import ast
    import inspect

    return ast.get_docstring(ast.parse(inspect.getsource(op)), clean=False) or ""


def _paragraphs(text: str) -> list[str]:
    """A docstring in Markdown: what is indented is shown as it stands."""
    found: list[str] = []
    for paragraph in text.strip().split("\n\n"):
        indented = all(line.startswith("    ") for line in paragraph.splitlines() if line)
        if indented and paragraph.strip():
            paragraph = "\n".join(line[4:] for line in paragraph.splitlines())
            if found and found[-1].endswith("\n```"):               # one block, though empty lines are in it
                found[-1] = found[-1].removesuffix("```") + f"\n{paragraph}\n```"
                continue
            paragraph = f"```text\n{paragraph}\n```"
        found.append(paragraph)
    return found


@cache
def lesson(op: str) -> str:
    """What a lesson says to introduce an operator, between <!-- introduces OP --> and <!-- -->; "" if none does."""
    folder = next((f for f in LESSONS if f.is_dir()), None)
    for file in sorted(folder.glob("[0-9][0-9]-*.md")) if folder else ():
        text = file.read_text(encoding="utf-8")
        found = re.search(rf"<!-- introduces {op} -->\n(.*?)<!-- -->", text, re.S)
        if found:
            title = text.partition("\n")[0].removeprefix("# ")
            return f"{found[1].strip()}\n\n(From lesson {title}.)"
    return ""


def _answer(function: source.Function) -> str:
    return f"{function.head}\n    {BEGIN}\n{function.body}\n    {END}"


def test_of(op: str, what: str) -> Test:
    """One test of an operator, by its name in the sheet: output, masks, dq, gradients, line_dq."""
    if what.startswith("line_"):
        group, part = "line", what.removeprefix("line_")
    elif what == "output":
        group, part = "formula", "y"
    elif what == judging.ALL:
        group, part = "", judging.ALL
    else:
        group, part = (what, "y") if what in judging.GROUPS else ("formula", what)
    return Test(f"{op}_{what}", POINTS.get(what, 1), "", False, op, group, part, op)


def _test(op: str, what: str, asks: str, text: source.Text, hidden: bool = False) -> Cell:
    """A graded cell: it calls `expect` with the functions that it is about."""
    test = test_of(op, what)._replace(asks=asks, hidden=hidden)
    functions = [text.forward.name] if test.part == "y" else [text.forward.name, text.backward.name]
    if test.group == "line":
        functions = [f"{op}_derivation"]
    return Cell("test", test.name, f'expect("{op}", "{what}", {", ".join(functions)})', test)


def _required(op: ModuleType) -> set[str]:
    import inspect

    return {p.name for p in inspect.signature(op.forward).parameters.values()
            if p.kind is not p.KEYWORD_ONLY and p.default is p.empty}


def _options(op: ModuleType, fixed: tuple[str, ...]) -> str:
    names = [*judging.options_of(op), *(a for a in source.of(op).forward.arguments if a not in _required(op))]
    return ", ".join(n for n in names if n not in fixed and n not in judging.MASKS)
