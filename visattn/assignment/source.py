"""An operator's file, taken apart: what an exercise shows of it, what it keeps back, and what it gives.

    text = of(ops.attention)
    text.forward.head           def attention_forward(q, k, …):, its docstring; what the student is given
    text.forward.body           and what replaces `raise NotImplementedError`: the solution, from the operator's file

The solution is the reference.  Its lines are copied when an assignment is made, never kept: names get the operator's in
front (softmax.forward is softmax_forward, its Cache SoftmaxCache), types go, and what it needs of its own helpers comes
along.
"""

import ast
import builtins
import inspect
import re
import textwrap
import tokenize
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import import_module
from io import StringIO
from types import ModuleType
from typing import NamedTuple

RUN = 8                                         # tokens that two texts do not share by chance
WORDS = re.compile(r"\w+|[^\w\s]")
DOOR = ("visattn.ops._contract",)               # what checks arguments is no part of a formula


class Function(NamedTuple):
    """One function of an exercise."""

    name: str                                   # attention_forward
    head: str                                   # its signature and docstring
    body: str                                   # the rest, indented: the solution
    arguments: tuple[str, ...]


class Text(NamedTuple):
    """An operator as an exercise has it."""

    op: str
    records: str                                # class AttentionCache(NamedTuple): …
    forward: Function
    backward: Function


def of(op: ModuleType, fixed: tuple[str, ...] | None = None, text: str = "") -> Text:
    """The text of an operator, its parts called by the names that they have in an assignment.

    fixed   options that are not arguments, because they are in a dict `mine`, with the order of axes; None: all are
    text    another text of its file, such as one with a mistake
    """
    module = Module(op.__name__, text) if text else Module.of(op.__name__)
    kept = [name for name in ("Params", "Cache") if name in module.nodes and (name == "Cache" or module.uses(name))]
    records = "\n\n\n".join(_record(module, name) for name in kept)
    forward, backward = (_function(module, name) for name in ("forward", "backward"))
    if fixed is not None:
        forward, backward = _with_mine(module, forward, fixed), _with_mine(module, backward, fixed)
    return Text(module.short, records, forward, backward)


def given(parts: Iterable[str]) -> str:
    """The definitions of these operators, and of those that they call, for a cell that students may use."""
    wanted: dict[str, None] = {}
    for part in parts:
        for name in (*_called(Module.of(_module_of(part))), part):
            wanted.setdefault(name)
    made: dict[tuple[str, str], list[str]] = {}             # a helper that several need is there once
    return "\n\n\n".join(_whole(Module.of(_module_of(name)), made) for name in wanted)


def parts(op: ModuleType) -> list[str]:
    """The names of the operators that this one calls, the ones called by them before them."""
    return _called(Module.of(op.__name__))


def prefixed(op: str, name: str) -> str:
    """What forward, Cache or a helper of an operator is called in an assignment: softmax_forward, SoftmaxCache."""
    if name[:1].isupper() and not name.isupper():
        return "".join(word.capitalize() for word in op.split("_")) + name
    return f"{op.upper() if name.isupper() else op}_{name.lstrip('_')}"


# --- comparing texts

def tokens(text: str, prose: bool = True) -> list[str]:
    """The words and signs of a text, comments and layout left out; what is no Python is read as well as it can be.

    prose   with the words of docstrings
    """
    found, before = [], tokenize.NEWLINE
    try:
        for token in tokenize.generate_tokens(StringIO(text).readline):
            is_docstring = token.type == tokenize.STRING and before in (tokenize.NEWLINE, tokenize.INDENT)
            if token.type in (tokenize.NAME, tokenize.NUMBER, tokenize.OP, tokenize.STRING) and (
                    prose or not is_docstring):
                found += WORDS.findall(token.string)
            if token.type not in (tokenize.NL, tokenize.COMMENT):
                before = token.type
    except (tokenize.TokenError, SyntaxError):
        return WORDS.findall(text)
    return found


def runs(text: str, n: int = RUN, prose: bool = True) -> set[tuple[str, ...]]:
    """Every n tokens of a text that follow each other, lists of names aside: a signature has them, too."""
    words = tokens(text, prose)
    found = {tuple(words[i:i + n]) for i in range(len(words) - n + 1)}
    return {run for run in found if any(not (word.isidentifier() or word in ",()") for word in run)}


def leaked(solution: str, shown: str) -> set[tuple[str, ...]]:
    """The runs of a solution's code that stand in a text which students get."""
    return runs(textwrap.dedent(solution), prose=False) & (runs(shown) | _raw_runs(shown))


def _raw_runs(text: str) -> set[tuple[str, ...]]:
    """The runs of a text read as no Python: what is in strings and comments is a leak as well."""
    words = WORDS.findall(text)
    return {tuple(words[i:i + RUN]) for i in range(len(words) - RUN + 1)}


# --- one file

class Module:
    """The definitions of one file of operators, and what is called by which name in it."""

    def __init__(self, name: str, text: str = "") -> None:
        self.name = name
        self.short = name.rpartition(".")[2]
        self.is_operator = not self.short.startswith("_")
        self.lines = (text or inspect.getsource(import_module(name))).splitlines()
        tree = ast.parse("\n".join(self.lines))
        self.nodes: dict[str, ast.stmt] = {}
        self.imports: dict[str, str] = {}                   # local name: the line that imports it
        self.modules: dict[str, str] = {}                   # local name: the module of operators that it is
        self.borrowed: dict[str, tuple[str, str]] = {}      # local name: (module of operators, name there)
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                self.nodes[node.name] = node
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                self.nodes[node.targets[0].id] = node
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                self._import(node)

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            local = alias.asname or alias.name
            if isinstance(node, ast.Import):
                self.imports[local] = f"import {alias.name}" + (f" as {alias.asname}" if alias.asname else "")
            elif node.module == "typing":
                continue                                    # NamedTuple is there; types are not
            elif not (node.module or "").startswith("visattn"):
                self.imports[local] = f"from {node.module} import {alias.name}"
            elif node.module not in DOOR:
                whole = f"{node.module}.{alias.name}"
                if inspect.ismodule(getattr(import_module(node.module or ""), alias.name, None)):
                    self.modules[local] = whole
                else:
                    self.borrowed[local] = (node.module or "", alias.name)

    @staticmethod
    @cache
    def of(name: str) -> "Module":
        return Module(name)

    def called(self, name: str) -> str:
        """What a definition of this file is called in an assignment."""
        return prefixed(self.short, name) if self.is_operator else name

    def uses(self, name: str) -> bool:
        """Do forward or backward need this definition?"""
        return any(name in names for names, _ in (self.needs("forward"), self.needs("backward")))

    def needs(self, name: str) -> tuple[dict[str, None], dict[str, None]]:
        """(definitions of this file and of helper files, lines that import) that a definition calls, in order."""
        found: dict[str, None] = {}
        imports: dict[str, None] = {}
        queue = [name]
        while queue:
            here = queue.pop(0)
            for node in ast.walk(_bare(self.nodes[here])):
                if isinstance(node, ast.Name):
                    if node.id in self.nodes and node.id not in found and node.id != name:
                        found[node.id] = None
                        queue.append(node.id)
                    elif node.id in self.imports:
                        imports[self.imports[node.id]] = None
        return found, imports

    def elsewhere(self, names: Iterable[str]) -> Iterator[tuple["Module", str]]:
        """(file, definition) of what these definitions borrow from other files, without operators called whole."""
        for name in names:
            for node in ast.walk(_bare(self.nodes[name])):
                if isinstance(node, ast.Name) and node.id in self.borrowed:
                    module, there = self.borrowed[node.id]
                    yield Module.of(module), there
                elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) \
                        and node.value.id in self.modules and node.attr not in ("forward", "backward", "Cache"):
                    yield Module.of(self.modules[node.value.id]), node.attr

    def parts(self) -> list[str]:
        """The operators that forward and backward call whole."""
        mine = ["forward", "backward", *self.needs("forward")[0], *self.needs("backward")[0]]
        found: dict[str, None] = {}
        for name in mine:
            for node in ast.walk(_bare(self.nodes[name])):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) \
                        and node.value.id in self.modules and node.attr in ("forward", "backward", "Cache"):
                    found[self.modules[node.value.id].rpartition(".")[2]] = None
        return list(found)

    def text(self, node: ast.stmt, first: int | None = None) -> list[str]:
        """The lines of a node from line `first` on, in an assignment's names."""
        start, end = (node.lineno if first is None else first) - 1, node.end_lineno or node.lineno
        if isinstance(node, ast.FunctionDef) and first is None and node.decorator_list:
            start = node.decorator_list[0].lineno - 1
        edits: list[tuple[int, int, int, str]] = []
        for where in _with_locals(node, set()):
            inner, local = where
            edit = self._renamed(inner, local)
            if edit is not None and inner.lineno - 1 >= start:
                edits.append((inner.lineno - 1, inner.col_offset, inner.end_col_offset or 0, edit))
        lines = [line.encode() for line in self.lines]
        for at, a, b, new in sorted(edits, reverse=True):
            lines[at] = lines[at][:a] + new.encode() + lines[at][b:]
        return [_remark_in_place(line.decode(), was) for line, was in zip(lines[start:end], self.lines[start:end])]

    def expression(self, node: ast.expr) -> str:
        """An expression in an assignment's names."""
        module = self

        class Rename(ast.NodeTransformer):
            def generic_visit(self, inner: ast.AST) -> ast.AST:
                name = module._renamed(inner, set())
                return ast.Name(name, ast.Load()) if name is not None else super().generic_visit(inner)

        return ast.unparse(Rename().visit(ast.parse(ast.unparse(node), mode="eval").body))

    def _renamed(self, node: ast.AST, local: set[str]) -> str | None:
        if isinstance(node, ast.Name) and node.id not in local:
            if node.id in self.nodes:
                return self.called(node.id) if self.called(node.id) != node.id else None
            if node.id in self.borrowed:
                module, there = self.borrowed[node.id]
                name = Module.of(module).called(there)
                return name if name != node.id else None
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in self.modules \
                and node.value.id not in local:
            return Module.of(self.modules[node.value.id]).called(node.attr)
        return None


def _remark_in_place(line: str, before: str) -> str:
    """A line whose remark begins in the column in which it began before."""
    code, sign, remark = line.partition("  #")
    column = before.find("  #") + 2
    return line if not sign or column < 2 else f"{code.rstrip():<{column - 2}}  #{remark}"


def _with_locals(node: ast.AST, local: set[str]) -> Iterator[tuple[ast.Name | ast.Attribute, set[str]]]:
    """Every expression below a node, and the names that are local where it stands."""
    if isinstance(node, (ast.FunctionDef, ast.Lambda)):
        arguments = node.args
        names = {a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs,
                                 *filter(None, (arguments.vararg, arguments.kwarg)))}
        if isinstance(node, ast.FunctionDef):
            names |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
            names |= {n.name for n in ast.walk(node) if isinstance(n, ast.FunctionDef) and n is not node}
        local = local | names
    elif isinstance(node, (ast.GeneratorExp, ast.ListComp, ast.SetComp, ast.DictComp)):
        local = local | {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    if isinstance(node, (ast.Name, ast.Attribute)):
        yield node, local
    for child in ast.iter_child_nodes(node):
        yield from _with_locals(child, local)


def _bare(node: ast.stmt) -> ast.AST:
    """A definition without its types and its door."""
    copy = ast.parse(ast.unparse(node)).body[0]
    for inner in ast.walk(copy):
        if isinstance(inner, ast.FunctionDef):
            inner.returns, inner.decorator_list = None, []
            for a in (*inner.args.posonlyargs, *inner.args.args, *inner.args.kwonlyargs):
                a.annotation = None
        elif isinstance(inner, ast.AnnAssign):
            inner.annotation = ast.Constant(None)
    return copy


def _module_of(op: str) -> str:
    from visattn import ops

    return getattr(ops, op).__name__


def _called(module: Module) -> list[str]:
    found: dict[str, None] = {}
    for part in module.parts():
        for name in (*_called(Module.of(_module_of(part))), part):
            found.setdefault(name)
    return list(found)


# --- functions and records

def _function(module: Module, name: str) -> Function:
    node = module.nodes[name]
    assert isinstance(node, ast.FunctionDef)
    helpers, imports = _surroundings(module, name)
    body = textwrap.dedent("\n".join(module.text(node, _after_docstring(node)))).splitlines()
    inner = [*imports, *([""] if imports else []), *helpers, *body]
    arguments = tuple(a.arg for a in node.args.args)
    head = [_signature(module, node), *_docstring(node)]
    return Function(module.called(name), "\n".join(head), textwrap.indent("\n".join(inner), "    "), arguments)


def helpers(op: ModuleType, name: str) -> str:
    """The helpers that a function of an operator calls, as text that can stand anywhere."""
    lines, imports = _surroundings(Module.of(op.__name__), name)
    return "\n".join([*imports, *([""] if imports else []), *lines]).rstrip()


def without_derivation(head: str) -> str:
    """The head of a backward that does not tell how its formulas are found."""
    return f'{head.partition(chr(10))[0]}\n    """One gradient for each argument of forward."""'


def _with_mine(module: Module, function: Function, fixed: tuple[str, ...]) -> Function:
    """A function without the options that everybody has a value of their own for; what is kept back calls the
    reference with those of `mine`, its arrays in the order of axes that `mine` says."""
    forward = function.name == module.called("forward")
    node = module.nodes["forward" if forward else "backward"]
    assert isinstance(node, ast.FunctionDef)
    bare = _bare(node)
    assert isinstance(bare, ast.FunctionDef)
    kept = [(a, d) for a, d in zip(bare.args.kwonlyargs, bare.args.kw_defaults) if a.arg not in fixed]
    bare.args.kwonlyargs, bare.args.kw_defaults = [a for a, _ in kept], [d for _, d in kept]
    bare.body, bare.name = [ast.Pass()], function.name
    whole = function.head.partition("\n")
    lines = _without(whole[2].splitlines(), fixed)
    names = function.arguments
    inner = [whole[0].replace(function.name, "reference", 1), *function.body.splitlines(), "",
             f'options, axes = mine["{module.short}"]["options"], mine["{module.short}"]["axes"]', "",
             "def moved(name, a, way):",
             "    return a if a is None or name not in axes else np.moveaxis(a, *axes[name][::way])", ""]
    if forward:
        given = [f'moved("{n}", {n}, -1)' for n in names] + [f"{a.arg}={a.arg}" for a, _ in kept]
        inner += [f'y, cache = reference({", ".join(given)}, **options)', 'return moved("y", y, 1), cache']
    else:
        inner += [f'grads = reference(moved("y", {names[0]}, -1), cache)',
                  f"names = {_arguments(module)!r}",
                  "return tuple(moved(name, grad, 1) for name, grad in zip(names, grads))"]
    head = "\n".join([ast.unparse(bare).partition("\n")[0], *lines])
    return Function(function.name, head, textwrap.indent("\n".join(inner), "    "), names)


def _arguments(module: Module) -> list[str]:
    node = module.nodes["forward"]
    assert isinstance(node, ast.FunctionDef)
    return [a.arg for a in node.args.args]


def _without(lines: list[str], names: tuple[str, ...]) -> list[str]:
    """The lines of a docstring without what they say of these options."""
    kept, skip = [], False
    for line in lines:
        told = re.match(r"    (\w+(?:, \w+)*)  +\S", line)
        if told:
            skip = {*told[1].split(", ")} <= {*names}
        elif not line.startswith("     "):
            skip = False
        if line.startswith("    shapes: "):
            line = re.sub(rf",? \b({'|'.join(names) or '-'}) \([^)]*\)", "", line)
        if not skip:
            kept.append(line)
    return kept


Made = dict[tuple[str, str], list[str]]             # (file, definition): its lines


def _surroundings(module: Module, *names: str, skip: Iterable[str] = ("Cache", "Params"),
                  made: Made | None = None) -> tuple[list[str], list[str]]:
    """(the helpers, the imports) that definitions of an operator need, as lines; other operators are there.

    made    helpers that are there already; those that are not are added
    """
    imports: dict[str, None] = {}
    made = {} if made is None else made
    before = set(made)

    def add(source: Module, name: str) -> None:
        needed, lines = source.needs(name)
        imports.update({line: None for line in lines if not line.startswith("import numpy")})
        for there, other in source.elsewhere([name]):
            _need(there, other)
        for other in needed:
            if not (source.is_operator and other in (*skip, "forward", "backward")):
                _need(source, other)

    def _need(source: Module, name: str) -> None:
        if (source.name, name) not in made:
            made[source.name, name] = []
            add(source, name)
            made[source.name, name] = made.pop((source.name, name)) or _definition(source, name)

    for name in names:
        add(module, name)
    helpers = [line for key, lines in made.items() if key not in before for line in [*lines, ""]]
    return helpers, list(imports)


def _definition(module: Module, name: str) -> list[str]:
    """A helper, a constant or a record, without types."""
    node = module.nodes[name]
    if isinstance(node, ast.ClassDef):
        return _record(module, name).splitlines()
    if isinstance(node, ast.FunctionDef):
        return [_signature(module, node), *module.text(node, node.body[0].lineno)]
    return module.text(node)


def _whole(module: Module, made: Made) -> str:
    """An operator as students may be given it: its record, its helpers, both functions with the first line of each
    docstring."""
    helpers, imports = _surroundings(module, "forward", "backward", skip=("Params",), made=made)
    lines = [*imports, *([""] if imports else []), *helpers]
    for name in ("forward", "backward"):
        node = module.nodes[name]
        assert isinstance(node, ast.FunctionDef)
        lines += [_signature(module, node), *_docstring(node, brief=True),
                  *module.text(node, _after_docstring(node)), "", ""]
    return "\n".join(lines).strip()


def _signature(module: Module, node: ast.FunctionDef) -> str:
    copy = _bare(node)
    assert isinstance(copy, ast.FunctionDef)
    copy.body, copy.name = [ast.Pass()], module.called(node.name) if node.name in module.nodes else node.name
    return ast.unparse(copy).partition("\n")[0]


def _after_docstring(node: ast.FunctionDef) -> int:
    """The first line of a function's body, comments above it included."""
    return node.body[1 if ast.get_docstring(node) is not None else 0].lineno


def _docstring(node: ast.FunctionDef, brief: bool = False) -> list[str]:
    """The docstring as it stands, with a line for the shapes that the types had said."""
    text = ast.get_docstring(node, clean=False) or ""
    shapes = _shapes(node) if node.name == "forward" else ""
    on_top = not text.startswith("\n")                        # a derivation begins on a line of its own
    text = inspect.cleandoc(text) if on_top else "\n" + textwrap.indent(inspect.cleandoc(text), "    ")
    if brief:
        return [f'    """{text.strip().partition(chr(10))[0].rstrip(",:")}"""'] if on_top else []
    rest = _without([f"    {line}" if line else "" for line in text.splitlines()[1:]], ("raises",))    # the door's
    more = ["", f"    shapes: {shapes}"] if shapes else []
    first = text.partition("\n")[0]
    if not rest and not more:
        return [f'    """{first}"""']
    return [f'    """{first}', *rest, *more, '    """']


def _shapes(node: ast.FunctionDef) -> str:
    """q (*B, T, D), k (*B, S, D) …: the axes of the arrays in a signature."""
    told = []
    for a in (*node.args.args, *node.args.kwonlyargs):
        axes = _axes(a.annotation)
        if axes is not None:
            told.append(f"{a.arg} ({', '.join(axes)}{',' if len(axes) == 1 else ''})")
    return ", ".join(told)


def _axes(annotation: ast.expr | None) -> list[str] | None:
    """["*B", "T", "D"] of Float[Array, "*B T D"] | None; None for what is no array."""
    text = "" if annotation is None else ast.unparse(annotation)
    found = re.match(r"(?:Float|Bool|Integer)\[Array, '([^']*)'\]", text)
    return found[1].split() if found else None


def _record(module: Module, name: str) -> str:
    """A record of arrays: its fields, with the axes and the remarks that stand beside them."""
    node = module.nodes[name]
    assert isinstance(node, ast.ClassDef)
    lines = [f"class {module.called(name)}(NamedTuple):"]
    for field in node.body:
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            remark = module.lines[field.lineno - 1].partition("  #")[2].strip()
            axes = _axes(field.annotation)
            default = "" if field.value is None else f" = {ast.unparse(field.value)}"
            kind = "np.ndarray" if axes is not None else _plain_type(field.annotation)
            kind += " | None" if "| None" in ast.unparse(field.annotation) and axes is not None else ""
            what = f"({', '.join(axes)})" if axes is not None else _record_type(module, field.annotation)
            about = "  ".join(filter(None, (what, remark)))
            code = f"    {field.target.id}: {kind}{default}"
            lines.append(f"{code:<34}# {about}" if about else code)
        elif isinstance(field, ast.FunctionDef):
            start = field.decorator_list[0].lineno if field.decorator_list else field.lineno
            lines += ["", *module.lines[start - 1:field.end_lineno]]
    return "\n".join(lines)


def _plain_type(annotation: ast.expr) -> str:
    """int stays int; what is neither an array nor plain is an object, since its type may not be there."""
    text = ast.unparse(annotation)
    return text if set(re.findall(r"\w+", text)) <= {"int", "float", "bool", "str", "tuple", "None"} else "object"


def _record_type(module: Module, annotation: ast.expr) -> str:
    """linear.Cache as LinearCache; "" for what is no record of another operator."""
    if isinstance(annotation, ast.Attribute) and isinstance(annotation.value, ast.Name) \
            and annotation.value.id in module.modules:
        return Module.of(module.modules[annotation.value.id]).called(annotation.attr)
    return ""


BUILTINS = frozenset(dir(builtins))


def free_names(code: str) -> list[str]:
    """Names that a piece of code uses and does not define, in order."""
    tree = ast.parse(code)
    stored = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    stored |= {n.name for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
    stored |= {a.arg for n in ast.walk(tree) if isinstance(n, ast.arguments)
               for a in (*n.posonlyargs, *n.args, *n.kwonlyargs)}
    stored |= {(a.asname or a.name).partition(".")[0] for n in ast.walk(tree)
               if isinstance(n, (ast.Import, ast.ImportFrom)) for a in n.names}
    used = [n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)]
    return list(dict.fromkeys(name for name in used if name not in stored and name not in BUILTINS))
