"""One-line changes of an operator: mistakes, conventions of libraries, and other right ways to write a line.

    mistake("unscaled", "scale = q.shape[-1] ** -0.5 if scale is None else scale", "scale = 1.0", "The scores …")

`line` stands in the operator's file exactly once; `changed(op, change)` is the operator with `instead` in its place.
Because operators call operators as modules, a mistake made in one is known in all that are made of it: softmax without
its maximum is a mistake of attention, too, and nobody writes it down twice.
"""

import ast
import inspect
from collections.abc import Iterable
from functools import cache
from importlib import import_module
from itertools import pairwise
from types import CodeType, ModuleType
from typing import Literal, NamedTuple

from visattn import catalogue
from visattn.check import memory

Kind = Literal["mistake", "convention", "equal", "plain"]


class Change(NamedTuple):
    """One line (or a few that follow each other) of a file, and what stands there instead."""

    name: str                           # short, in snake case, said by reports
    line: str
    instead: str
    says: str                           # what a good teacher would say, in a sentence or two
    see: str = ""                       # where to read on: "eq. (1), lesson 1"
    kind: Kind = "mistake"
    by: str = ""                        # of a convention: who does it so, such as "keras"
    op: str = ""                        # the dotted name of the module whose line it is; filled in


def mistake(name: str, line: str, instead: str, says: str, see: str = "") -> Change:
    """What should not be."""
    return Change(name, line, instead, says, see)


def convention(name: str, line: str, instead: str, says: str, by: str, see: str = "") -> Change:
    """What is right where it is meant, and which libraries mean it."""
    return Change(name, line, instead, says, see, "convention", by)


def equal(name: str, line: str, instead: str, says: str = "") -> Change:
    """The same mathematics, rounded otherwise: what it costs belongs to what an honest implementation may cost."""
    return Change(name, line, instead, says, kind="equal")


def plain(name: str, line: str, instead: str, says: str = "") -> Change:
    """The same mathematics without a trick against rounding: what the analysis of errors runs in its place, where it
    would take the trick for a source of errors."""
    return Change(name, line, instead, says, kind="plain")


@cache
def listed(module: str) -> ModuleType | None:
    """What is listed with a module of operators, at its path under `visattn.check.mistakes`; None if nothing is."""
    path = module.partition(".ops.")[2] or module.partition("visattn.")[2]
    name = f"visattn.check.mistakes.{path}"
    try:
        return import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name is None or not name.startswith(missing.name):
            raise
        return None


@cache
def own(module: str) -> tuple[Change, ...]:
    """The changes listed with one module of operators."""
    return tuple(change._replace(op=module) for change in getattr(listed(module), "CHANGES", ()))


def changes_of(op: ModuleType, kind: Kind | None = None) -> list[Change]:
    """The changes of an operator and of every operator it is made of."""
    return [c for module in (op, *parts(op)) for c in own(module.__name__) if kind in (None, c.kind)]


def everything(kind: Kind | None = None) -> list[Change]:
    """Every change of every operator and model, once."""
    return list(dict.fromkeys(c for op in catalogue.select() for c in changes_of(op, kind)))


def parts(op: ModuleType) -> list[ModuleType]:
    """The modules of operators, and their helpers, that a module is made of, nearest first, each once."""
    found: dict[str, ModuleType] = {}
    queue = [op]
    while queue:
        for _, part in _direct(queue.pop(0)):
            if part.__name__ not in found and part is not op:
                found[part.__name__] = part
                queue.append(part)
    return list(found.values())


def _direct(module: ModuleType) -> list[tuple[str, ModuleType]]:
    return [(name, value) for name, value in vars(module).items()
            if isinstance(value, ModuleType) and value.__name__.startswith(("visattn.ops.", "visattn.models."))]


@memory.remembered(lambda op, *changes: (memory.key_of(op), changes))
def changed(op: ModuleType, *changes: Change) -> ModuleType:
    """A copy of the operator with these changes in it, or in the operators that it calls; the original stays.

    The copy's functions are the bare formulas: nobody checks what they are given.
    Raises LookupError where a line of a change does not stand in its file exactly once, or two changes are of one line.
    """
    by_module = {module.__name__: made_in(module) for module in (op, *parts(op))}
    for change in changes:
        name = change.op or op.__name__
        by_module[name] = (*by_module.get(name, ()), change)
    return _rebuild(op, by_module, {})


@memory.remembered(lambda op, change: (memory.key_of(op), change))
def applies(op: ModuleType, change: Change) -> bool:
    """Has a copy of an operator still the line that this change is of?"""
    module = next(m for m in (op, *parts(op)) if m.__name__ == change.op)
    try:
        changed_source(change.op, (*made_in(module), change))
    except LookupError:
        return False
    return True


def made_in(module: ModuleType) -> tuple[Change, ...]:
    """The changes that a copy has in it; none in an original."""
    return getattr(module, "__changes__", ())


def _rebuild(module: ModuleType, changes: dict[str, tuple[Change, ...]], done: dict[str, ModuleType]) -> ModuleType:
    """The module itself if nothing in it or below it changes; otherwise a copy that calls the copies."""
    if module.__name__ not in done:
        below = {name: _rebuild(part, changes, done) for name, part in _direct(module)}
        mine = changes.get(module.__name__, ())
        if mine != made_in(module) or any(vars(module)[name] is not part for name, part in below.items()):
            copy = ModuleType(module.__name__, module.__doc__)
            vars(copy).update(vars(module) | below | {"__changes__": mine})
            for formula in _formulas(module.__name__, mine):
                exec(formula, vars(copy))
            done[module.__name__] = copy
        else:
            done[module.__name__] = module
    return done[module.__name__]


@cache
def _formulas(module: str, changes: tuple[Change, ...]) -> tuple[CodeType, ...]:
    """The code of a module's constants and functions, without types and doors."""
    changed = f"<{module} with {', '.join(c.name for c in changes)}>"
    return tuple(code for was, text in zip(_statements(module), _changed(module, changes), strict=True)
                 for code in _compiled(text, f"<{module}>" if was == text else changed))


@cache
def _compiled(text: str, file: str) -> tuple[CodeType, ...]:
    """The code of a statement, in a tuple; none of an import, which a copy has from its original."""
    tree = ast.parse(text)
    tree.body = [node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.Assign))]
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            node.returns = None
            node.decorator_list = [d for d in node.decorator_list if _name(d) != "checked"]
            for arg in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
                arg.annotation = None
    return (compile(tree, file, "exec", dont_inherit=True),) if tree.body else ()


def _name(decorator: ast.expr) -> str:
    """Of @name, or of @name(...)."""
    decorator = decorator.func if isinstance(decorator, ast.Call) else decorator
    return decorator.id if isinstance(decorator, ast.Name) else ""


def changed_source(module: str, changes: Iterable[Change]) -> str:
    """The text of a module with these changes in it."""
    return "".join(_changed(module, changes))


def _changed(module: str, changes: Iterable[Change]) -> list[str]:
    """The statements of a module with these changes in them."""
    statements = _statements(module)
    lines = [(number, line) for number, text in enumerate(statements) for line in text.splitlines()]
    for change in changes:
        wanted = [line.strip() for line in change.line.strip().splitlines()]
        code = [_code(line) for _, line in lines]
        places = [i for i in range(len(code)) if code[i] == wanted[0] and code[i:i + len(wanted)] == wanted]
        if len(places) != 1:
            raise LookupError(f"{change.name}: {change.line!r} stands {len(places)} times in {module}, not once")
        number, first = lines[places[0]]
        indent = first[:len(first) - len(first.lstrip())]
        lines[places[0]:places[0] + len(wanted)] = [
            (number, indent + line) for line in change.instead.strip("\n").splitlines()]
    return ["".join(f"{line}\n" for number, line in lines if number == this) for this in range(len(statements))]


@cache
def _statements(module: str) -> tuple[str, ...]:
    """The text of a module, cut before each of its statements."""
    lines = inspect.getsource(import_module(module)).splitlines(keepends=True)
    starts = [min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))]) - 1
              for node in ast.parse("".join(lines)).body]
    return tuple("".join(lines[a:b]) for a, b in pairwise([0, *starts[1:], len(lines)]))


def _code(line: str) -> str:
    """A line without its indentation and the comment at its end."""
    return line.partition("  #")[0].strip()


def function_of(change: Change) -> str:
    """The function whose line a change is: "forward", "backward", or the name of a helper."""
    texts = zip(_statements(change.op), _changed(change.op, [change]), strict=True)
    return _names(next((was for was, text in texts if was != text), ""))[0]


def felt_by_forward(op: ModuleType, change: Change) -> bool:
    """May a change move the output of an operator?  Not where forward never comes to run its line."""
    return "def " in change.instead or function_of(change) in _run_by_forward(op)


@cache
def _run_by_forward(op: ModuleType) -> frozenset[str]:
    """The names of the functions, of an operator and of those it is made of, that its forward may come to run."""
    mentions: dict[str, set[str]] = {}
    for module in (op, *parts(op)):
        for text in _changed(module.__name__, made_in(module)):
            name, others = _names(text)
            mentions.setdefault(name, set()).update(others)
    names = {"", "forward"}                                     # "": what stands outside of functions
    while more := set().union(*(mentions[name] for name in names)) & mentions.keys() - names:
        names |= more
    return frozenset(names)


@cache
def _names(text: str) -> tuple[str, frozenset[str]]:
    """The name of the function that a statement defines, "" for none, and all names in it."""
    tree = ast.parse(text)
    defined = next((node.name for node in tree.body if isinstance(node, ast.FunctionDef)), "")
    return defined, frozenset(getattr(node, "id", getattr(node, "attr", "")) for node in ast.walk(tree))
