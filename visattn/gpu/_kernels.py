"""What a kernel says of itself: the comment block before it, read from a `.cu` file or a Numba file.

    cu = read(Path("softmax.cu"))
    cu.compile                          # sets of defines to compile offline: [{"Real": "float", "LANES": "32"}, …]
    cu["softmax_kept"].quotations       # the lines of the reference that it computes
    cu["softmax_kept"].bytes(launch)    # Bytes(reads=…, writes=…): what that launch says it moves

    //= p /= p.sum(axis, keepdims=True)             a line of the reference; `#= ` in a Numba file
    //: threads 256                                 of a block
    //: reads rows * columns * real                 bytes of global memory that a launch reads
    //: writes rows * columns * real                and writes; `reads at most …` where it depends on the numbers
    //: shared TILE * HEAD * 4                      dynamic shared memory of a block, bytes
    //: blocks 1 because a tile of keys …           where fewer than two blocks fit a multiprocessor
    //: fma per load 2                              multiply-adds for each load from shared memory, in machine code
    //: tensor cores                                its products run there
    //: compile Real=float LANES=32 from sm_80      anywhere in the file; `from` where older cards lack something

Expressions are Python over the kernel's parameters, its defines, `real` (bytes of a Real), `blocks` (of the launch),
`min`, `max`, `ceil(a, b)` (a / b, rounded up), and `x is not None` for pointers.  Nothing else in them is evaluated.
"""

import ast
import operator
import re
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

SIZES = {"float": 4, "double": 8, "__half": 2, "__nv_bfloat16": 2}
FUNCTIONS = {"min": min, "max": max, "ceil": lambda a, b: -(-a // b)}
OPERATORS: dict[Any, Any] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.USub: operator.neg, ast.Not: operator.not_,
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge, ast.Is: operator.is_, ast.IsNot: operator.is_not}
ALLOWED = (ast.Expression, ast.BinOp, ast.UnaryOp, ast.Compare, ast.BoolOp, ast.And, ast.Or, ast.IfExp, ast.Call,
           ast.Name, ast.Load, ast.Constant, *OPERATORS)
ONCE = ("threads", "reads", "writes", "shared", "blocks", "fma per load", "tensor cores")

KERNEL = re.compile(r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\s*\(([^)]*)\)\s*)?(\w+)\s*\(([^)]*)\)')
INCLUDED = re.compile(r'^[ \t]*#\s*include\s+"(\w+\.cuh)"', re.M)
CHOICE = re.compile(r"\(([^()?:]+)\?([^()?:]+):([^()?:]+)\)")
DEFAULT = re.compile(r"^[ \t]*#\s*define[ \t]+(\w+)[ \t]+(.+?)[ \t]*(?://.*)?$", re.M)
DIRECTIVE = re.compile(r"\s*(?://|#): (compile|threads|reads|writes|shared|blocks|fma per load|tensor cores)\b\s*(.*)")
BLOCKS = re.compile(r"(\d+) because (\S.*)")


class HeaderError(ValueError):
    """A comment block that does not say what it should; the message begins with file and line."""

    def __init__(self, path: Path, line: int, text: str):
        super().__init__(f"{path.name}:{line}: {text}")


class Bytes(NamedTuple):
    """Bytes of global memory that one launch moves."""

    reads: int
    writes: int


class Formula:
    """An expression of a header, checked when it is read: `formula(names)` is its value."""

    def __init__(self, text: str, known: set[str], path: Path, line: int):
        self.text, self.path, self.line = text, path, line
        try:
            self.tree = ast.parse(text, mode="eval")
        except SyntaxError as error:
            raise HeaderError(path, line, f"{text!r} is no expression: {error.msg}") from None
        called = {id(node.func) for node in ast.walk(self.tree) if isinstance(node, ast.Call)}
        for node in ast.walk(self.tree):
            if not isinstance(node, ALLOWED):
                raise HeaderError(path, line, f"{text!r} has a {type(node).__name__}, which expressions here have not")
            if isinstance(node, ast.Call) and (not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS
                                               or node.keywords):
                raise HeaderError(path, line, f"{text!r} calls {ast.unparse(node.func)}; there are "
                                              f"{', '.join(FUNCTIONS)}")
            if isinstance(node, ast.Constant) and not (node.value is None or isinstance(node.value, (int, float))):
                raise HeaderError(path, line, f"{text!r} has the constant {node.value!r}")
            if isinstance(node, ast.Name) and id(node) not in called and node.id not in known:
                raise HeaderError(path, line, f"{text!r} names {node.id}; known are {', '.join(sorted(known))}")

    def __call__(self, names: Mapping[str, Any]) -> Any:
        try:
            return self._value(self.tree.body, names)
        except (TypeError, ZeroDivisionError, KeyError) as error:
            raise HeaderError(self.path, self.line, f"{self.text!r} cannot be computed: {error!r}") from error

    def _value(self, node: ast.AST, names: Mapping[str, Any]) -> Any:
        match node:
            case ast.Constant():
                return node.value
            case ast.Name():
                return names[node.id]
            case ast.Call():
                return FUNCTIONS[node.func.id](*(self._value(a, names) for a in node.args))     # type: ignore
            case ast.IfExp():
                return self._value(node.body if self._value(node.test, names) else node.orelse, names)
            case ast.UnaryOp():
                return OPERATORS[type(node.op)](self._value(node.operand, names))
            case ast.BinOp():
                return OPERATORS[type(node.op)](self._value(node.left, names), self._value(node.right, names))
            case ast.BoolOp():
                found = (self._value(v, names) for v in node.values)
                return all(found) if isinstance(node.op, ast.And) else any(found)
            case ast.Compare():
                values = [self._value(v, names) for v in (node.left, *node.comparators)]
                return all(OPERATORS[type(op)](a, b) for op, a, b in zip(node.ops, values, values[1:]))
        raise AssertionError(ast.dump(node))


class Header(NamedTuple):
    """One kernel, and what stands before it."""

    path: Path
    name: str
    line: int                               # of its declaration
    parameters: tuple[str, ...]
    quotations: tuple[tuple[int, str], ...]
    defaults: dict[str, str]                # defines of the file
    threads: Formula | None
    bounds: Formula | None                  # the first number of __launch_bounds__
    reads: Formula | None
    writes: Formula | None
    at_most: frozenset[str]                 # of reads and writes, those that depend on the numbers
    shared: Formula | None
    blocks: int                             # that have to fit a multiprocessor
    because: str                            # why fewer than two
    fma_per_load: float | None
    tensor_cores: bool

    def names(self, defines: Mapping[str, Any]) -> dict[str, Any]:
        """What expressions over defines alone may name."""
        found = {name: value for name, value in defines.items() if not isinstance(value, str)}
        for name, value in {**defines, **{k: v for k, v in self.defaults.items() if k not in defines}}.items():
            found[name] = _number(value, found)
        found["real"] = SIZES.get(str(defines.get("Real", self.defaults.get("Real", "float"))), 4)
        return found

    def block(self, defines: Mapping[str, Any]) -> int:
        """Threads of a block."""
        if self.threads is None:
            raise HeaderError(self.path, self.line, f"{self.name} does not say how many threads a block has")
        return int(self.threads(self.names(defines)))

    def dynamic(self, defines: Mapping[str, Any]) -> int:
        """Bytes of dynamic shared memory of a block."""
        return 0 if self.shared is None else int(self.shared(self.names(defines)))

    def bytes(self, launch: Any) -> Bytes:
        """What this launch (`visattn.gpu._device.Launch`) says that it moves."""
        if len(launch.args) != len(self.parameters):
            raise HeaderError(self.path, self.line, f"{self.name} has {len(self.parameters)} parameters; it was "
                                                    f"launched with {len(launch.args)}")
        given = {name: _plain(arg) for name, arg in zip(self.parameters, launch.args)}
        names = {**self.names(launch.defines), **given, "blocks": prod(launch.grid)}
        if self.reads is None or self.writes is None:
            raise HeaderError(self.path, self.line, f"{self.name} does not say what it reads and writes")
        return Bytes(int(self.reads(names)), int(self.writes(names)))


class Kernels(NamedTuple):
    """A file of kernels."""

    path: Path
    compile: tuple[dict[str, str], ...]     # sets of defines
    since: tuple[int, ...]                  # for each of them, the first architecture that it is for: 75, 80 …
    headers: tuple[Header, ...]
    quotations: tuple[tuple[int, str], ...]         # of the whole file

    def __getitem__(self, name: str) -> Header:                             # type: ignore[override]
        for header in self.headers:
            if header.name == name:
                return header
        raise KeyError(f"{self.path.name} has no kernel {name}; it has {', '.join(h.name for h in self.headers)}")


def read(path: Path) -> Kernels:
    """The kernels of a `.cu` file, or of a Numba file (`softmax_v1.py`); HeaderError where a header is amiss."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    mark = "#= " if path.suffix == ".py" else "//= "
    quotations = tuple((i, line.strip().removeprefix(mark)) for i, line in enumerate(lines, 1)
                       if line.strip().startswith(mark))
    places = _numba(text) if path.suffix == ".py" else _cuda(text)
    if not places:
        raise HeaderError(path, 1, "no kernel here")
    defaults: dict[str, str] = {}
    for name, value in DEFAULT.findall(_included(path, text) + text):
        defaults.setdefault(name, value)
    defaults.setdefault("Real", "float")
    sets, since, said = [], [], {}
    for i, line in enumerate(lines, 1):
        if re.match(r"\s*(?://|#):", line) is None:
            continue
        match = DIRECTIVE.fullmatch(line)
        if match is None:
            raise HeaderError(path, i, f"{line.strip()!r} is none of: compile, {', '.join(ONCE)}")
        if match[1] == "compile":
            defines, first = _compile(path, i, match[2])
            sets.append(defines)
            since.append(first)
        else:
            said[i] = (match[1], match[2])
    headers, defines_known = [], {*defaults, *(name for one in sets for name in one)}
    for place in places:
        top = place.line
        while top > 1 and lines[top - 2].lstrip().startswith(("//", "#", "@")):
            top -= 1
        mine = {i: said.pop(i) for i in range(top, place.end + 1) if i in said}
        headers.append(_header(path, place, mine, tuple(q for q in quotations if top <= q[0] <= place.end),
                               defaults, defines_known))
    for i, (word, _) in said.items():
        raise HeaderError(path, i, f"{word!r} belongs to no kernel: it stands directly before one")
    return Kernels(path, tuple(sets), tuple(since), tuple(headers), quotations)


class _Place(NamedTuple):
    name: str
    line: int
    end: int
    parameters: tuple[str, ...]
    bounds: str | None


def _cuda(text: str) -> list[_Place]:
    plain = re.sub(r"//[^\n]*", lambda m: " " * len(m[0]), text)            # so that comments hold no kernel
    found = []
    for match in KERNEL.finditer(plain):
        line = plain.count("\n", 0, match.start()) + 1
        end = plain.find("\n}", match.end())
        end = plain.count("\n", 0, end if end >= 0 else len(plain)) + 2
        names = tuple(re.findall(r"(\w+)\s*(?:\[[^\]]*\])?\s*$", p)[0] for p in match[3].split(",") if p.strip())
        found.append(_Place(match[2], line, end, names, match[1].split(",")[0] if match[1] else None))
    return found


def _numba(text: str) -> list[_Place]:
    """Functions under @cuda.jit that are no device functions."""
    found = []
    for node in ast.parse(text).body:
        if not isinstance(node, ast.FunctionDef):
            continue
        for decorator in node.decorator_list:
            call = decorator.func if isinstance(decorator, ast.Call) else decorator
            device = isinstance(decorator, ast.Call) and any(k.arg == "device" for k in decorator.keywords)
            if ast.unparse(call) == "cuda.jit" and not device:
                names = tuple(a.arg for a in node.args.args)
                found.append(_Place(node.name, decorator.lineno, node.end_lineno or node.lineno, names, None))
    return found


def _header(path: Path, place: _Place, said: Mapping[int, tuple[str, str]], quotations: tuple[tuple[int, str], ...],
            defaults: dict[str, str], defines: set[str]) -> Header:
    found: dict[str, Any] = {}
    because, blocks, at_most = "", 2, set()
    for i, (word, text) in said.items():
        if word in found:
            raise HeaderError(path, i, f"{place.name} says {word!r} twice")
        if word == "blocks":
            match = BLOCKS.fullmatch(text)
            if match is None:
                raise HeaderError(path, i, f"'blocks {text}' should read 'blocks 1 because …'")
            blocks, because = int(match[1]), match[2]
            found[word] = True
        elif word == "fma per load":
            try:
                found[word] = float(text)
            except ValueError:
                raise HeaderError(path, i, f"'fma per load {text}': expected a number") from None
        elif word == "tensor cores":
            if text:
                raise HeaderError(path, i, f"'tensor cores {text}': nothing more is expected")
            found[word] = True
        else:
            launched = {*place.parameters, "blocks"} if word in ("reads", "writes") else set()
            if launched and text.startswith("at most "):
                text = text.removeprefix("at most ")
                at_most.add(word)
            found[word] = Formula(text, {*defines, "real"} | launched, path, i)
    bounds = None if place.bounds is None else Formula(place.bounds, {*defines, "real"}, path, place.line)
    return Header(path, place.name, place.line, place.parameters, quotations, defaults, found.get("threads"), bounds,
                  found.get("reads"), found.get("writes"), frozenset(at_most), found.get("shared"), blocks, because,
                  found.get("fma per load"), "tensor cores" in found)


def _compile(path: Path, line: int, text: str) -> tuple[dict[str, str], int]:
    defines, since = {}, 75
    words = text.split()
    if "from" in words:
        at = words.index("from")
        match = re.fullmatch(r"sm_(\d+)", " ".join(words[at + 1:]))
        if match is None:
            raise HeaderError(path, line, f"'from {' '.join(words[at + 1:])}' should read 'from sm_80'")
        words, since = words[:at], int(match[1])
    for word in words:
        name, equals, value = word.partition("=")
        if not (equals and name.isidentifier() and value):
            raise HeaderError(path, line, f"{word!r} should read NAME=value")
        defines[name] = value
    return defines, since


def _included(path: Path, text: str) -> str:
    """The headers of ours that a file includes, and theirs."""
    found = ""
    for name in INCLUDED.findall(text):
        header = Path(__file__).parent / name
        if header.exists():
            its = header.read_text(encoding="utf-8")
            found += _included(header, its) + its + "\n"
    return found


def _number(value: Any, names: Mapping[str, Any]) -> Any:
    """A define as a number where it is one: 32, (TILE / 16), (A > B ? A : B), or another define; else the word."""
    if not isinstance(value, str):
        return value
    python = re.sub(r"(?<!/)/(?!/)", "//", CHOICE.sub(r"((\2) if (\1) else (\3))", value))
    try:
        return Formula(python, set(names), Path("define"), 0)(names)
    except HeaderError:
        return value


def _plain(arg: Any) -> Any:
    """An argument of a launch as formulas see it: of a pointer only whether it is null."""
    if hasattr(arg, "__setitem__"):
        return object()
    return arg.item() if hasattr(arg, "item") else arg
