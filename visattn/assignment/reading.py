"""From the files of one student to what is graded: a Submission of definitions, and notes on what was repaired.

    submission = read("ada", contents(handed), sheet)
    submission.code, submission.notes, submission.problem

Nothing here runs code.  A notebook is read as data, and each of its cells as text: definitions and imports are kept,
and of other statements those that bind a name that these use, each so that its failure is its own.  What is given, and
every test, comes from the sheet, whatever a notebook has in its place.
"""

import ast
import io
import json
import re
import symtable
import tokenize
import warnings
from collections.abc import Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from itertools import permutations
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from visattn.assignment.exercise import Texts
from visattn.assignment.grading import Submission
from visattn.assignment.records import Cell, Sheet, unsolved
from visattn.assignment.sheet import functions_of
from visattn.assignment.submissions import CODE, Content
from visattn.check.words import several

CELLS, CODE_SIZE = 2000, 1 << 20                # of a notebook; characters of code
SETUP = ("setup", "otter")                      # given cells that only a notebook needs
TESTS = re.compile(r"(test_.*|.*_test|conftest)\.py")
MAGIC = re.compile(r"\s*(%|!|\?)|.*\?\s*$|\s*[\w, ]+=\s*[!%]")
FOREIGN = re.compile(r"\s*%%(?!time\b|timeit\b|capture\b|prun\b|python3?\b)\w+")      # %%bash: no Python below it
OTHERS = {"fwd": "forward", "bwd": "backward", "bw": "backward", "fw": "forward", "grad": "backward"}
ANOTHERS = "made for another student's variant"         # begins a note that is for the instructor alone
ALIKE = 0.8                                     # of a question's text: this cell asks it


class Block(NamedTuple):
    """One cell as it was handed in."""

    number: int                                 # from 1, as a reader counts
    name: str                                   # of the sheet's cell that it was; "" = unknown
    code: bool
    source: str


class Piece(NamedTuple):
    """One statement of a cell."""

    node: ast.stmt
    text: str
    number: int                                 # of its cell
    binds: frozenset[str]
    uses: frozenset[str]                        # global names


class Unread(ValueError):
    """A file is not what it should be; the message is a clause about it."""


class Candidate(NamedTuple):
    """One file, taken apart."""

    content: Content
    blocks: list[Block]
    pieces: list[Piece]
    notes: list[str]
    answered: frozenset[str]                    # asked functions that are there and no stubs


def read(student: str, files: Sequence[Content], sheet: Sheet, notes: Iterable[str] = ()) -> Submission:
    """The submission of one student.  Whatever is wrong with its files is a note, or its `problem`."""
    said = list(notes)
    found, problems = [], []
    for content in files:
        name = PurePosixPath(content.name).name.lower()
        if TESTS.fullmatch(name) or not (name.endswith(CODE) or content.problem):
            continue
        try:
            if content.problem:
                raise Unread(content.problem)
            found.append(taken_apart(content, sheet))
        except Unread as error:
            problems.append(f"{content.name}: {error}")
    if not found:
        there = ", ".join(c.name for c in files[:5])
        lacking = f"there is no notebook and no Python file, only {there}" if there else "nothing was handed in"
        return Submission(student, problem=problems[0] if problems else lacking, notes=tuple(said))
    best, others = _best(found, sheet.name)
    said += best.notes
    if others or problems:
        names = [c.content.name for c in others] + [p.partition(": ")[0] for p in problems]
        said.append(f"{best.content.name} is graded, the most complete or else the newest; not {', '.join(names)}")
    pieces = [*_from_others(best, others, said), *best.pieces]
    code = assembled(pieces, sheet, said)
    written = words(best.blocks, files, sheet)
    variant = _variant_name(best.pieces, student, said) if sheet.variants else ""
    return Submission(student, code, tuple(dict.fromkeys(said)), written, variant=variant)


def _best(found: list[Candidate], sheet: str) -> tuple[Candidate, list[Candidate]]:
    """The file that answers most; of several, the one named as the assignment, then the newest."""
    def rank(c: Candidate) -> tuple[Any, ...]:
        path = PurePosixPath(c.content.name)
        return len(c.answered), path.stem == sheet, c.content.when, path.suffix == ".ipynb", c.content.name

    best = max(found, key=rank)
    return best, [c for c in found if c is not best]


def _from_others(best: Candidate, others: list[Candidate], said: list[str]) -> list[Piece]:
    """What is asked for and stands in another file only: that file's code comes before the best one's."""
    pieces: list[Piece] = []
    for other in sorted(others, key=lambda c: c.content.when):
        if more := sorted(other.answered - best.answered):
            said.append(f"{' and '.join(more)} is taken from {other.content.name}")
            pieces += other.pieces
    return pieces


# --- one file

def taken_apart(content: Content, sheet: Sheet) -> Candidate:
    """The cells and statements of a file.  Raises Unread."""
    notebook = content.name.lower().endswith(".ipynb")
    blocks = cells(content.data, sheet) if notebook else [Block(1, "", True, text_of(content.data))]
    if sum(len(b.source) for b in blocks if b.code) > CODE_SIZE:
        raise Unread(f"it has more than {CODE_SIZE:,} characters of code")
    kinds, asked = {cell.name: cell.kind for cell in sheet.cells}, asked_of(sheet)
    notes, pieces = [], []
    for block in blocks:
        if not block.code or kinds.get(block.name) == "given" or block.name in SETUP:
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")                 # of "\d" and the like, whatever the filters here are
                here = parsed(block)
            if kinds.get(block.name) == "test":                 # an answer that was written into it, or merged with it
                here = [p for p in here if p.binds & asked and isinstance(p.node, ast.FunctionDef)]
            pieces += here
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            where = f"cell {block.number}" if notebook else "the file"
            line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
            why = error.msg if isinstance(error, SyntaxError) else str(error) or type(error).__name__
            if not notebook:
                raise Unread(f"it is not Python{line}: {why}") from None
            notes.append(f"{where} is left out, for it is not Python{line}: {why}")
    answered = {name for p in pieces for name in p.binds & asked if not is_stub(p.node)}
    return Candidate(content, blocks, pieces, notes, frozenset(answered))


def text_of(data: bytes) -> str:
    """The text of a Python file.  Raises Unread."""
    if not data.strip():
        raise Unread("it is empty")
    if b"\0" in data:
        raise Unread("it is not a text: there are zero bytes in it")
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        return data.decode(encoding)
    except (SyntaxError, UnicodeDecodeError, LookupError):
        raise Unread("its encoding is not UTF-8") from None


def cells(data: bytes, sheet: Sheet) -> list[Block]:
    """The cells of a notebook, of format 4 or 3.  Raises Unread."""
    if not data.strip():
        raise Unread("it is empty")
    try:
        book = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise Unread("its encoding is not UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise Unread(f"it is not a notebook: {str(error) or 'too deep'}") from None
    listed = book.get("cells") if isinstance(book, dict) else None
    if listed is None and isinstance(book, dict):
        sheets = book.get("worksheets")
        listed = [c for s in sheets if isinstance(s, dict) for c in s.get("cells") or ()] if isinstance(
            sheets, list) else None
    if not isinstance(listed, list):
        raise Unread("it is not a notebook: it has no cells")
    if len(listed) > CELLS:
        raise Unread(f"it has {len(listed):,} cells")
    known, found = {cell.name for cell in sheet.cells}, []
    for number, cell in enumerate((c for c in listed if isinstance(c, dict)), 1):
        source = cell.get("source", cell.get("input", ""))
        text = "".join(s for s in source if isinstance(s, str)) if isinstance(source, list) else source
        if isinstance(text, str):
            found.append(Block(number, _name_of(cell, known), cell.get("cell_type") == "code", text))
    return found


def _name_of(cell: dict[str, Any], known: set[str]) -> str:
    """The name of the sheet's cell that this is a copy of, in nbgrader's metadata or ours; or its id."""
    metadata = cell.get("metadata")
    marks = metadata if isinstance(metadata, dict) else {}
    for key, field in (("nbgrader", "grade_id"), ("visattn", "name")):
        name = marks[key].get(field) if isinstance(marks.get(key), dict) else None
        if isinstance(name, str):
            return name
    return cell["id"] if isinstance(cell.get("id"), str) and cell["id"] in known else ""


def parsed(block: Block) -> list[Piece]:
    """The statements of a cell.  Raises SyntaxError and what else `ast.parse` does."""
    try:
        tree, source = ast.parse(block.source), block.source
    except SyntaxError:
        source = python(block.source)
        tree = ast.parse(source)
    lines, found = source.splitlines(), []
    for node in tree.body:
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
        text = "\n".join(lines[first - 1:node.end_lineno])
        if node.col_offset or len(ast.parse(text).body) != 1:               # a; b on one line
            text = ast.get_source_segment(source, node) or ""
        compile(text, "cell", "exec")                                       # what only fails when it is compiled
        found.append(Piece(node, text, block.number, frozenset(_binds(node)), frozenset(_uses(text))))
    return found


def python(source: str) -> str:
    """A cell without what only IPython understands."""
    if FOREIGN.match(source):
        return ""
    return "\n".join(re.sub(r"\S.*", "pass", line) if len(line) < 1000 and MAGIC.match(line) else line
                     for line in source.splitlines())


def _binds(node: ast.stmt) -> Iterator[str]:
    """The global names that a statement binds, or whose objects it writes in."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name
        return
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
            yield inner.id
        elif isinstance(inner, (ast.Subscript, ast.Attribute)) and isinstance(inner.ctx, ast.Store):
            owner: ast.expr = inner.value
            while isinstance(owner, (ast.Subscript, ast.Attribute)):
                owner = owner.value
            if isinstance(owner, ast.Name):
                yield owner.id
        elif isinstance(inner, (ast.FunctionDef, ast.ClassDef)):
            yield inner.name
        elif isinstance(inner, ast.alias):
            yield (inner.asname or inner.name).partition(".")[0]


def _uses(text: str) -> Iterator[str]:
    """The global names that a statement, and what is defined in it, reads."""
    tables = [symtable.symtable(text, "cell", "exec")]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        top = table.get_type() == "module"
        yield from (s.get_name() for s in table.get_symbols() if s.is_referenced() and (top or s.is_global()))


# --- together

def asked_of(sheet: Sheet) -> frozenset[str]:
    """The names of all functions that a sheet asks for."""
    return frozenset(name for cell in sheet.cells if cell.kind == "answer" for name, node in _definitions(cell).items()
                     if isinstance(node, ast.FunctionDef))


def _definitions(cell: Cell) -> dict[str, ast.stmt]:
    """{name: definition} of a cell of the sheet, without its solution."""
    return {node.name: node for node in ast.parse(unsolved(cell.source)).body
            if isinstance(node, (ast.FunctionDef, ast.ClassDef))}


def is_stub(node: ast.stmt) -> bool:
    """Is a function still as it was given: nothing but `raise NotImplementedError`, `pass` or `…`?"""
    if not isinstance(node, ast.FunctionDef):
        return False
    body = [n for n in node.body if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))]
    if len(body) == 1 and isinstance(body[0], ast.Raise) and body[0].exc is not None:
        return "NotImplementedError" in ast.unparse(body[0].exc)
    return all(isinstance(n, ast.Pass) for n in body)


def assembled(pieces: list[Piece], sheet: Sheet, said: list[str]) -> str:
    """One file: what is given, the stubs of what is missing, then the student's own."""
    given = [cell for cell in sheet.cells if cell.kind == "given" and cell.name not in SETUP]
    given_names = {name for cell in given for name in _definitions(cell)}
    for name in sorted(_differing(pieces, given)):
        said.append(f"{name} is given: what stands in its place was not looked at")
    ours = {*given_names, "mine", *(["student"] if sheet.variants else [])}
    pieces = [p for p in pieces if not (p.binds and p.binds <= ours) and not _imports_visattn(p.node)]
    pieces = _once(pieces, said)
    asked = asked_of(sheet)
    aliases = _renamed(pieces, asked, sheet, said)
    pieces = [p._replace(text=_called(p, aliases[p.node.name])) if isinstance(p.node, ast.FunctionDef)
              and p.node.name in aliases else p for p in pieces if not p.binds & {*aliases.values()}]
    bound = {name for p in pieces for name in p.binds} | set(aliases.values())
    stubs, missing = [], []
    for cell in (c for c in sheet.cells if c.kind == "answer"):
        source = unsolved(cell.source).splitlines()
        for name, node in _definitions(cell).items():
            if name not in bound:
                stubs.append("\n".join(source[node.lineno - 1:node.end_lineno]))
                missing += [name] if name in asked else []
    if missing:
        one = len(missing) == 1
        said.append(f"{several(missing)} {'is' if one else 'are'} missing: {'it counts' if one else 'they count'} as "
                    "not written")
    kept = _needed(pieces, {*asked, *aliases})
    parts = [*(cell.source for cell in given), *stubs, *map(_guarded, kept),
             *(f"{old} = {new}" for old, new in aliases.items())]
    return "\n\n\n".join(part.strip("\n") for part in parts) + "\n"


def _differing(pieces: list[Piece], given: list[Cell]) -> set[str]:
    """Given names for which something else was handed in."""
    dumped = {name: ast.dump(node) for cell in given for name, node in _definitions(cell).items()}
    return {name for p in pieces for name in p.binds & dumped.keys() if ast.dump(p.node) != dumped[name]}


def _imports_visattn(node: ast.stmt) -> bool:
    names = [a.name for a in node.names] if isinstance(node, ast.Import) else \
        [node.module or ""] if isinstance(node, ast.ImportFrom) else []
    return any(name.partition(".")[0] in ("visattn", "otter", "IPython") for name in names)


def _once(pieces: list[Piece], said: list[str]) -> list[Piece]:
    """Without stubs of what is written elsewhere; of what is written twice, the last counts, as it does in Python."""
    of: dict[str, list[Piece]] = {}
    for piece in pieces:
        if isinstance(piece.node, ast.FunctionDef):
            of.setdefault(piece.node.name, []).append(piece)
    dropped = []
    for name, copies in of.items():
        written = [p for p in copies if not is_stub(p.node)]
        counts = (written or copies)[-1]
        dropped += [p for p in copies if p is not counts]
        if len(copies) > 1:
            where = dict.fromkeys(f"cell {p.number}" for p in copies)
            said.append(f"{name} is there {len(copies)} times ({', '.join(where)}): the last that is written counts")
    return [p for p in pieces if not any(p is d for d in dropped)]


def _renamed(pieces: list[Piece], asked: frozenset[str], sheet: Sheet, said: list[str]) -> dict[str, str]:
    """{its name: the name that was asked for} of functions that can only be meant as those."""
    there = {p.node.name for p in pieces if isinstance(p.node, ast.FunctionDef) and not is_stub(p.node)}
    bound = {name for p in pieces for name in p.binds if not is_stub(p.node)}
    free = sorted(there - asked)
    found: dict[str, str] = {}
    for name in sorted(asked - bound):
        wanted = {_plain(name)}
        if len(sheet.ops) == 1:
            roles = {function: role for role, function in functions_of(sheet.ops[0]).items()}
            wanted |= {roles[name]} if name in roles else set()
            wanted |= {_plain(sheet.ops[0])} if roles.get(name) == "forward" else set()
        meant = [other for other in free if _plain(other) in wanted and other not in found]
        if len(meant) == 1:
            found[meant[0]] = name
            said.append(f"{meant[0]} is taken for {name}")
    return found


def _plain(name: str) -> str:
    """A name without capitals and signs, its short forms written out."""
    words = re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower())
    return "".join(OTHERS.get(word, word) for word in words)


def _called(piece: Piece, name: str) -> str:
    """A function under another name."""
    assert isinstance(piece.node, ast.FunctionDef)
    return re.sub(rf"\bdef\s+{re.escape(piece.node.name)}\b", f"def {name}", piece.text, count=1)


def _needed(pieces: list[Piece], wanted: set[str]) -> list[Piece]:
    """Definitions and imports; of other statements, those that bind what these use."""
    kept = [isinstance(p.node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom))
            for p in pieces]
    used = set(wanted)
    while True:
        used |= {name for p, keep in zip(pieces, kept) if keep for name in p.uses}
        more = [keep or (bool(p.binds & used) and not isinstance(p.node, ast.Expr)) for p, keep in zip(pieces, kept)]
        if more == kept:
            return [p for p, keep in zip(pieces, kept) if keep]
        kept = more


def _guarded(piece: Piece) -> str:
    """A statement whose failure is its own.  A plain function cannot fail to be defined."""
    node = piece.node
    if isinstance(node, ast.FunctionDef) and not node.decorator_list:
        a = node.args
        hints = [x.annotation for x in (*a.posonlyargs, *a.args, *a.kwonlyargs, a.vararg, a.kwarg) if x is not None]
        defaults = [*a.defaults, *(d for d in a.kw_defaults if d is not None)]
        if node.returns is None and not any(hints) and all(map(_is_literal, defaults)):
            return piece.text
    if isinstance(node, ast.ImportFrom) and node.module == "__future__":
        return ""
    ending = "except BaseException:\n    pass"
    if "\n" in piece.text and _has_long_string(node):                       # indenting would change it
        return f"try:\n    exec(compile({piece.text!r}, 'answers.py', 'exec'))\n{ending}"
    body = "\n".join(f"    {line}" if line else line for line in piece.text.splitlines())
    return f"try:\n{body}\n{ending}"


def _is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except ValueError:
        return False
    return True


def _has_long_string(node: ast.stmt) -> bool:
    return any(isinstance(n, (ast.Constant, ast.JoinedStr)) and n.end_lineno != n.lineno for n in ast.walk(node))


# --- words

def words(blocks: list[Block], files: Sequence[Content], sheet: Sheet) -> dict[str, str]:
    """{question: answer} of the written questions that were answered."""
    questions = [cell for cell in sheet.cells if cell.kind == "written"]
    empty = {_squeezed(Texts(sheet.lang)("answer_here")), "youranswerhere", ""}
    by_name = {b.name: b.source for b in blocks if b.name and not b.code}
    beside = _sections(files, {cell.name for cell in questions})
    found = {}
    for cell in questions:
        text = by_name.get(cell.name) or beside.get(cell.name) or _below(blocks, cell)
        text = text.replace(cell.source, "").strip()
        if _squeezed(text) not in empty:
            found[cell.name] = text[:20_000]
    return found


def _sections(files: Sequence[Content], names: set[str]) -> dict[str, str]:
    """What stands in files of Markdown below the names of questions."""
    found: dict[str, list[str]] = {}
    for content in files:
        if content.name.lower().endswith(".md"):
            here: list[str] = []
            for line in content.data.decode("utf-8-sig", "replace").splitlines():
                if line.startswith("## "):
                    here = found.setdefault(line[3:].strip(), [])
                else:
                    here.append(line)
    return {name: "\n".join(lines) for name, lines in found.items() if name in names}


def _below(blocks: list[Block], question: Cell) -> str:
    """The cells after the one that asks a question, up to the next that the sheet knows; where names were lost."""
    asks = _squeezed(question.source)
    near = [0.0 if block.code else _alike(asks, _squeezed(block.source)) for block in blocks]
    if max(near, default=0.0) < ALIKE:
        return ""
    at = near.index(max(near))
    found = []
    for block in blocks[at + 1:]:
        if block.code or block.source.lstrip().startswith("#"):
            break
        found.append(block.source)
    return "\n\n".join(found)


def _alike(asks: str, text: str) -> float:
    """How much of a question is in a text: 1 for all of it."""
    if len(text) < ALIKE * len(asks):
        return 0.0
    return 1.0 if asks in text else SequenceMatcher(None, asks, text[:2 * len(asks)], autojunk=False).ratio()


def _squeezed(text: str) -> str:
    return "".join(re.findall(r"\w+", text.lower()))


# --- whose variant

def _variant_name(pieces: list[Piece], student: str, said: list[str]) -> str:
    """The name under which the variant was made, where it is another way to say the student's; else "", said."""
    names = [p.node.value.value for p in pieces if isinstance(p.node, ast.Assign) and "student" in p.binds
             and isinstance(p.node.value, ast.Constant) and isinstance(p.node.value.value, str)]
    name = names[-1].strip() if names else ""
    if not name:
        said.append("no name stands in the cell `student`")
        return ""
    if name.casefold() == student.strip().casefold():
        return ""
    mine, theirs = (re.findall(r"\w+", text.casefold())[:6] for text in (student, name))
    if theirs == [w for w in theirs if w in mine] or any("".join(p) == "".join(mine) for p in permutations(theirs)):
        said.append(f"its variant is that of {name!r}")
        return name
    said.append(f"{ANOTHERS}: the notebook says {name!r}, it was handed in by {student!r}")
    return ""
