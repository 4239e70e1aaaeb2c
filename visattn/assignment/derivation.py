"""A derivation, line by line: each assignment of a backward, graded by itself.

    known = of(ops.attention)           what is given (do, q, k, v, p, scale), and what lines must come to (dv, dp, …)
    written = read(text, known)         a student's function, taken apart: one expression a name
    code = together(written)            and put together again, as a function that computes one of them

A line is computed with the right values of all names that it uses, and compared with the right value of its own, within
the bound of honest arithmetic: so a right line after a wrong one is right.  Names that the derivation does not know are
the student's own; they are computed as they stand, and what is built on them is judged.
"""

import ast
import sys
import textwrap
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from visattn import tree
from visattn.assignment import judging, source
from visattn.assignment.records import BEGIN, END, UNWRITTEN
from visattn.assignment.source import Module
from visattn.check import cases, words
from visattn.check.cases import Case, name_of
from visattn.check.compare import compare
from visattn.check.error_rules import Bounded
from visattn.check.judge import HONEST
from visattn.check.precision import PRECISIONS
from visattn.check.tolerance import OWN, Within, arguments_of

P = PRECISIONS[judging.PRECISION]


class Known(NamedTuple):
    """What the reference has under which name."""

    op: str
    incoming: tuple[str, ...]               # do; of several outputs do, dlse
    names: tuple[str, ...]                  # what a derivation may use: incoming gradients, then what the cache holds
    lines: tuple[str, ...]                  # what it must come to, in order
    numbers: tuple[str, ...]                # those of the names that are no arrays


class Line(NamedTuple):
    """One assignment of a student's derivation."""

    name: str
    expression: str
    uses: tuple[str, ...]                   # known names, and those of lines before it
    number: int                             # of the line in the text


class Derivation(NamedTuple):
    """A student's derivation."""

    known: Known
    lines: tuple[Line, ...]
    around: tuple[str, ...]                 # helpers and imports inside the function


class Unreadable(ValueError):
    """The derivation is not a list of assignments; the message says where."""


class Unavailable(ValueError):
    """An operator's backward is no list of assignments."""


@cache
def of(op: ModuleType) -> Known:
    """The names of an operator's derivation, from its own backward at a plain case.  Raises Unavailable."""
    values = traced(op, plain_cases(op)[0])
    written = [name for name, _ in solution(op, values)]
    return Known(name_of(op), values.incoming, tuple(values.given), tuple(n for n in written if n in values.lines),
                 tuple(name for name, value in values.given.items() if not isinstance(value, np.ndarray)))


def plain_cases(op: ModuleType, seed: int = 0) -> list[Case]:
    """The cases on which a derivation is judged: nothing but what is required."""
    names = [name for name, g in judging.grouped(op).items() if g.group == "formula"]
    return cases.cases(op, P, seed, names)


class Traced(NamedTuple):
    incoming: tuple[str, ...]
    given: dict[str, Any]                   # arrays and numbers
    lines: dict[str, Within]
    names: dict[str, Any]                   # every local name of backward


def traced(op: ModuleType, case: Case) -> Traced:
    """What every name of the reference's backward holds in one case: exact, and with its bound."""
    exact, near = _locals(op, case, lambda a: a), _locals(op, case, _carried)
    incoming = _incoming(op, case)
    given = dict(zip(incoming, tree.leaves(case.dy), strict=True))
    for name in exact["cache"]._fields:
        value = getattr(exact["cache"], name)
        if _plain(value) and name not in given:
            given[name] = value
    held = {name: (value, near["locals"].get(name)) for name, value in exact["locals"].items()}
    held |= {f"d{name}": pair for name, pair in zip(arguments_of(op), zip(exact["grads"], near["grads"]))
             if f"d{name}" not in held}
    lines = {name: Within(np.asarray(value, float), error.error * OWN + P.stored * np.abs(value))
             for name, (value, error) in held.items()
             if name.startswith("d") and name not in given and isinstance(error, Bounded)}
    return Traced(incoming, given, lines, exact["locals"])


def _plain(value: Any) -> bool:
    return isinstance(value, (np.ndarray, np.generic, float, int, bool, tuple)) and not hasattr(value, "_fields") \
        and not (isinstance(value, tuple) and any(not isinstance(v, (int, float)) for v in value))


def _carried(a: Any) -> Any:
    return Bounded(np.array(a, float), np.zeros(np.shape(a)), precision=P) if a.dtype.kind == "f" else a


def _incoming(op: ModuleType, case: Case) -> tuple[str, ...]:
    """What backward calls the gradients that come in: do; of several outputs what it unpacks them to."""
    code = op.backward.__wrapped__.__code__
    if tree.is_leaf(case.dy):
        return (code.co_varnames[0],)
    first = _body(op)[0]
    assert isinstance(first, ast.Assign)
    assert isinstance(first.targets[0], ast.Tuple)
    return tuple(ast.unparse(e) for e in first.targets[0].elts)


@cache
def _body(op: ModuleType) -> list[ast.stmt]:
    """The statements of a backward, its docstring aside."""
    import inspect

    text = ast.parse(inspect.getsource(op))
    function = next(n for n in text.body if isinstance(n, ast.FunctionDef) and n.name == "backward")
    return function.body[1:]


def _locals(op: ModuleType, case: Case, carry: Callable[[Any], Any]) -> dict[str, Any]:
    """The cache, and what every local name of backward holds at its end."""
    formula, found = op.backward.__wrapped__.__code__, {}

    def watch(frame: Any, event: str, arg: Any) -> None:
        if event == "return" and frame.f_code is formula:
            found.update(frame.f_locals)

    options = {key: tree.map(carry, value) if tree.is_leaf(value) else value for key, value in case.options.items()}
    with np.errstate(all="ignore"):
        forward, backward = op.forward.__wrapped__, op.backward.__wrapped__
        _, cache = forward(*tree.map(carry, tuple(case.args)), **options)
        before = sys.getprofile()
        sys.setprofile(watch)
        try:
            grads = backward(tree.map(carry, case.dy), cache)
        finally:
            sys.setprofile(before)
    names = [name for name in formula.co_varnames if name in found]
    return {"cache": cache, "locals": {name: found[name] for name in names}, "grads": grads}


# --- the reference's lines

def solution(op: ModuleType, values: Traced) -> list[tuple[str, str]]:
    """[(name, expression)] of an operator's backward, as it runs in a plain case.  Raises Unavailable."""
    module, lines, given = Module.of(op.__name__), {}, {*values.given}
    queue = list(_body(op))
    while queue:
        node = queue.pop(0)
        if isinstance(node, ast.If) and (branch := _taken(node, values)) is not None:
            queue = [*branch, *queue]
        elif isinstance(node, ast.Assign) and ast.unparse(node.value) in ("cache", *values.incoming, "dy"):
            names = [n.id for n in ast.walk(node.targets[0]) if isinstance(n, ast.Name) and n.id != "_"]
            for name in names:
                if name not in given and values.names.get(name) is None:
                    lines[name] = "None"
                elif name not in given:
                    raise Unavailable(f"{name_of(op)}: its cache holds records")
        elif isinstance(node, ast.Assign) and len(node.targets) == 1:
            for name, value in _pairs(op, node.targets[0], node.value):
                if name in lines or name in given:
                    raise Unavailable(f"{name_of(op)}: {name} is assigned twice")
                lines[name] = module.expression(value)
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name) and node.target.id in lines:
            name = node.target.id                               # what it was before gets a name of its own
            lines = {f"{name}_" if key == name else key: value for key, value in lines.items()}
            whole = ast.BinOp(ast.Name(f"{name}_", ast.Load()), node.op, node.value)
            lines[name] = module.expression(whole)
        elif isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple):
            for argument, value in zip(arguments_of(op), node.value.elts):
                if not isinstance(value, (ast.Starred, ast.Name)):
                    lines[f"d{argument}"] = module.expression(value)
            if any("cache" in source.free_names(expression) for expression in lines.values()):
                raise Unavailable(f"{name_of(op)}: its lines read records of its cache")
            return list(lines.items())
        else:
            break
    raise Unavailable(f"the gradient of {name_of(op)} is no list of assignments")


def _taken(node: ast.If, values: Traced) -> list[ast.stmt] | None:
    """The branch of `if x is None` or `if x is not None` that a plain case takes."""
    test = node.test
    if isinstance(test, ast.Compare) and isinstance(test.left, ast.Name) and len(test.ops) == 1 \
            and isinstance(test.ops[0], (ast.Is, ast.IsNot)):
        is_none = values.names.get(test.left.id, values.given.get(test.left.id)) is None
        return node.body if is_none == isinstance(test.ops[0], ast.Is) else node.orelse
    return None


def _pairs(op: ModuleType, target: ast.expr, value: ast.expr) -> list[tuple[str, ast.expr]]:
    """a, b = x, y as two assignments; a, = f() as one."""
    if isinstance(target, ast.Name):
        return [(target.id, value)]
    if isinstance(target, ast.Tuple) and all(isinstance(e, ast.Name) for e in target.elts):
        names = [ast.unparse(e) for e in target.elts]
        if isinstance(value, ast.Tuple) and len(value.elts) == len(names):
            return list(zip(names, value.elts))
        return [(name, ast.Subscript(value, ast.Constant(i), ast.Load())) for i, name in enumerate(names)]
    raise Unavailable(f"the gradient of {name_of(op)} is no list of assignments")


def stub(op: ModuleType) -> str:
    """The function that a student fills in, with the reference's own lines as its solution."""
    known = of(op)
    lines = [f"{name} = {expression}" for name, expression in solution(op, traced(op, plain_cases(op)[0]))]
    text = "\n".join(filter(None, [source.helpers(op, "backward"), *lines, f"return {', '.join(known.lines)}"]))
    return "\n".join([f"def {known.op}_derivation({', '.join(known.names)}):",
                      f'    """One assignment a line, among them {", ".join(known.lines)}."""',
                      f"    {BEGIN}", textwrap.indent(text, "    "), f"    {END}"])


# --- a student's lines

def read(text: str, known: Known) -> Derivation:
    """The assignments of a function's text.  Raises Unreadable."""
    try:
        module = ast.parse(text)
    except SyntaxError as error:
        raise Unreadable(f"line {error.lineno} is no Python: {error.msg}") from None
    functions = [n for n in module.body if isinstance(n, ast.FunctionDef) and n.name == f"{known.op}_derivation"]
    if not functions:
        raise Unreadable(f"there is no function {known.op}_derivation")
    lines: dict[str, Line] = {}
    around: list[str] = []
    for node in functions[-1].body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue                                            # a docstring
        if isinstance(node, ast.Return):
            break
        if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)):
            around.append(ast.unparse(node))                    # helpers, for every line
            continue
        if isinstance(node, ast.Raise):
            raise Unreadable(UNWRITTEN)
        target = node.targets[0] if isinstance(node, ast.Assign) and len(node.targets) == 1 else None
        if not isinstance(node, ast.Assign) or not isinstance(target, ast.Name):
            raise Unreadable(f"line {node.lineno} must be one assignment, name = …; got {ast.unparse(node)[:60]!r}")
        if target.id in lines or target.id in known.names:
            raise Unreadable(f"line {node.lineno} assigns {target.id} again: give each result a name of its own")
        uses = {n.id for n in ast.walk(node.value) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
        here = tuple(n for n in (*known.names, *lines) if n in uses)
        lines[target.id] = Line(target.id, ast.unparse(node.value), here, node.lineno)
    return Derivation(known, tuple(lines.values()), tuple(around))


def together(written: Derivation) -> str:
    """A function that computes one line, `line`, from the right values of the names that it uses; what lies between,
    under names of the student's own, is computed on the way."""
    known, name = written.known, written.known.op
    body = [textwrap.indent(text, "    ") for text in written.around]
    for line in written.lines:
        if line.name in known.lines:
            body.append(f"    if line == {line.name!r}:")
            body += [f"        {own.name} = {own.expression}" for own in _own(written, line)]
            body.append(f"        return {line.expression}, None")
    return "\n".join([f"def {name}_line({', '.join(f'{n}=None' for n in arguments(written))}, *, line):", *body, ""])


def arguments(written: Derivation) -> list[str]:
    """All names whose right values lines may be computed from."""
    return [*written.known.names, *(line.name for line in written.lines if line.name in written.known.lines)]


def _own(written: Derivation, line: Line) -> list[Line]:
    """The lines with names of the student's own on which a line is built, first to last."""
    by_name = {each.name: each for each in written.lines if each.name not in written.known.lines}
    needed, queue = set(), [*line.uses]
    while queue:
        name = queue.pop()
        if name in by_name and name not in needed:
            needed.add(name)
            queue += by_name[name].uses
    return [each for each in written.lines if each.name in needed]


def judge(op: ModuleType, written: Derivation, call: Callable[[str, dict[str, Any]], Any],
          seed: int = 0) -> dict[str, str]:
    """{name: "" where that line is right, else why not}, of every line that the reference has.

    call    call("da", {"p": …, "dp": …}) computes one line, or raises

    Every line is computed before its own right value is used in another, in numbers that are drawn for this.
    """
    found = dict.fromkeys(written.known.lines, "")
    for case in plain_cases(op, seed):
        right = traced(op, case)
        values = dict(right.given)
        for line in (line for line in written.lines if line.name in found):
            uses = dict.fromkeys(name for each in (*_own(written, line), line) for name in each.uses)
            try:
                mine = call(line.name, {name: values[name] for name in uses if name in values})
            except Exception as error:
                found[line.name] = found[line.name] or " ".join(str(error).split()) or type(error).__name__
            else:
                found[line.name] = found[line.name] or differs(line.name, mine, right.lines[line.name])
            values[line.name] = right.lines[line.name].value
    written_ones = {line.name for line in written.lines}
    return {name: says if name in written_ones else f"there is no line {name} = …" for name, says in found.items()}


def differs(name: str, mine: Any, exact: Within) -> str:
    """Where a line's value is not right, in words; "" where it is."""
    try:
        mine = np.asarray(mine, float)
    except (TypeError, ValueError):
        return f"{name} is no array of numbers"
    if mine.shape != exact.value.shape:
        return f"{name} has shape {mine.shape}, where {exact.value.shape} is meant"
    compared = compare(mine, exact)
    if compared.worst <= HONEST:
        return ""
    at = tuple(int(i) for i in np.unravel_index(int(np.argmax(compared.ratio)), mine.shape))
    got, wanted = words.apart(float(mine[at]), float(exact.value[at]))
    return f"{name}[{', '.join(map(str, at))}] is {got}, where {wanted} is meant, with the right values of what it uses"
