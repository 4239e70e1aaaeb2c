"""An instructor's own operator: one file that follows the contract of CONTRIBUTING.md, made into the same exercise.

    sheet("hw1", "gate.py")             its module docstring introduces it, its functions are the solution

The file is the instructor's own code, and runs here as it is.  Students must not have it, so the tests of their
notebooks compare with results that are stored in them: inputs, outputs, gradients, and for each element how far honest
arithmetic may be from it.  Our own grader has the file, and judges with it as with any operator; unlike a stored
result, it also knows a gradient that is right for a wrong output.
"""

import ast
import base64
import hashlib
import io
import json
import linecache
import secrets
import sys
from collections.abc import Callable, Sequence
from functools import cache, wraps
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from visattn import tree
from visattn.assignment import derivation, exercise, judging, source
from visattn.assignment.cells import seed_from
from visattn.assignment.exercise import Texts
from visattn.assignment.judging import ALL
from visattn.assignment.records import UNWRITTEN, Cell, Sheet
from visattn.assignment.sheet import checked_parts, identifier, with_points
from visattn.check import cases, tolerance
from visattn.check.tolerance import Within, arguments_of

CONTRACT = ("forward", "backward", "example", "Cache")
SETUP = """import numpy as np
from typing import NamedTuple
from visattn.assignment import same"""
MOST = 4                                            # cases that are stored for one test
WIDTH = 100                                         # of a line of stored results


def is_operator(file: str | Path) -> bool:
    """Does a Python file define an operator, and is it no script with cells?"""
    try:
        text = Path(file).read_text(encoding="utf-8")
        names = {node.name for node in ast.parse(text).body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    except (SyntaxError, UnicodeDecodeError):
        return False
    return {"forward", "backward"} <= names and not any(line.startswith("# %%") for line in text.splitlines())


@cache
def module(name: str, text: str) -> ModuleType:
    """The operator that a text defines, as a module that can be imported by its name while this process lives.

    Raises ValueError where the text does not run, or lacks a part of the contract.
    """
    dotted = f"visattn.own_{hashlib.sha256(text.encode()).hexdigest()[:16]}.{name}"
    made = ModuleType(dotted)
    made.__file__ = f"<{dotted}>"
    linecache.cache[made.__file__] = len(text), None, text.splitlines(keepends=True), made.__file__
    sys.modules[dotted] = made                      # where types are looked up, and the source is read
    try:
        exec(compile(text, made.__file__, "exec"), vars(made))
        for part in CONTRACT:
            if not hasattr(made, part):
                raise ValueError(f"there is no {part}; an operator has {', '.join(CONTRACT)}")
    except Exception as error:
        del sys.modules[dotted]
        raise ValueError(f"{name}.py is no operator: {str(error) or type(error).__name__}") from error
    for part in ("forward", "backward"):
        setattr(made, part, _with_door(getattr(made, part)))
    return made


def _with_door(formula: Callable[..., Any]) -> Callable[..., Any]:
    """A function as `checked` leaves it: one that knows its formula."""
    if hasattr(formula, "__wrapped__"):
        return formula

    @wraps(formula)
    def door(*args: Any, **options: Any) -> Any:
        return formula(*args, **options)

    return door


def sheet(name: str, file: str | Path, *, parts: Sequence[str] = ("forward", "backward"), title: str = "",
          points: int | None = None, lang: str = "en", written: bool = True, key: str = "") -> Sheet:
    """The sheet of an assignment on an operator's file, which names the operator.  Raises ValueError, OSError."""
    identifier(name, "NAME")
    short, text = identifier(Path(file).stem, "the file's name"), Path(file).read_text(encoding="utf-8")
    op, say, parts, key = module(short, text), Texts(lang), checked_parts(parts), key or secrets.token_hex(16)
    if "derivation" in parts:
        raise ValueError("--parts: derivation: its lines are judged with the reference, which students must not have")
    may_call, results = source.parts(op), f"{short}_results"
    if short in may_call:
        raise ValueError(f"{file}: it calls an operator of its own name, {short}; rename the file")
    opening = [Cell("text", "about", f"# {title or name}\n\n{say('how', hidden='')}"), Cell("given", "setup", SETUP)]
    if may_call:
        opening += [Cell("text", "given_about", say("given")), Cell("given", "given", source.given(may_call))]
    opening.append(Cell("given", results, f"{results} = {packed(op, 'formula', 0)}"))
    cells = [_test(cell, op, results, key) for cell in exercise.of_operator(op, parts, say)]
    cells += exercise.questions(op, say) if written else ()
    whole = Sheet(name, title or name, (*opening, *cells), lang, (short,), tuple(parts), tuple(may_call), False, text,
                  key)
    return whole if points is None else with_points(whole, points)


def _test(cell: Cell, op: ModuleType, results: str, key: str) -> Cell:
    """A test that compares with stored results instead of asking the reference."""
    if cell.test is None:
        return cell
    call = ast.parse(cell.source, mode="eval").body
    assert isinstance(call, ast.Call)
    functions = ", ".join(ast.unparse(a) for a in call.args[2:])
    data = packed(op, cell.test.group, seed_from(key)) if cell.test.hidden else results
    return cell._replace(source=f'same("{cell.test.part}", {data}, {functions})')


# --- results, as text in a notebook

def packed(op: ModuleType, group: str, seed: int) -> str:
    """The results of an operator in one group of its cases ("": in all but formula), as a string of Python."""
    names = [n for n, g in judging.grouped(op).items() if (g.group == group if group else g.group != "formula")]
    chosen = [names[i] for i in sorted({round(i) for i in np.linspace(0, len(names) - 1, min(MOST, len(names)))})]
    arrays: dict[str, np.ndarray] = {}
    told = []
    for i, case in enumerate(cases.cases(op, judging.PRECISION, seed, chosen)):
        if not all(a is None or tree.is_leaf(a) for a in case.args):
            raise ValueError(f"{cases.name_of(op)}: arguments must be arrays, not records of them")
        right = tolerance.bounds(op, case.args, case.options, case.dy, judging.PRECISION)
        kept = {f"in {n}": a for n, a in zip(arguments_of(op), case.args) if a is not None}
        kept |= {f"in {n}": a for n, a in case.options.items() if isinstance(a, np.ndarray)}
        kept |= {f"dy {n}": a for n, a in enumerate(tree.leaves(case.dy))}
        for part, leaves in right.parts().items():
            kept |= {f"{part} {n}": leaf.value for n, leaf in enumerate(leaves)}
            kept |= {f"within {part} {n}": leaf.error for n, leaf in enumerate(leaves)}
        arrays |= {f"{i} {name}": a for name, a in kept.items()}
        told.append({"name": case.name, "layout": case.layout, "args": [a is not None for a in case.args],
                     "options": {n: a for n, a in case.options.items() if not isinstance(a, np.ndarray)},
                     "of_arrays": [n for n, a in case.options.items() if isinstance(a, np.ndarray)]})
    about = np.array(json.dumps({"names": arguments_of(op), "cases": told}))
    np.savez_compressed(file := io.BytesIO(), about=about, **arrays)                            # type: ignore[arg-type]
    data = base64.b64encode(file.getvalue()).decode()
    rows = [f'    "{data[i:i + WIDTH]}"' for i in range(0, len(data), WIDTH)]
    return "\n".join(["(", *rows, ")"])


def compared(part: str, data: str, functions: Sequence[Callable[..., Any]]) -> str:
    """Where functions differ from stored results, in words; "" where they are within their bounds.

    part    y, one gradient such as dx, or gradients: all of them
    """
    with np.load(io.BytesIO(base64.b64decode(data)), allow_pickle=False) as file:
        stored = {key: file[key] for key in file.files}
    about = json.loads(str(stored.pop("about")))
    for i, case in enumerate(about["cases"]):
        kept = {key.partition(" ")[2]: a for key, a in stored.items() if key.startswith(f"{i} ")}
        try:
            found = _case(part, about["names"], case, kept, functions)
        except NotImplementedError:
            return UNWRITTEN
        except Exception as error:
            found = f"{type(error).__name__}: {error}"
        if found:
            return f"{found} (in the case {case['name']})"
    return ""


def _case(part: str, names: list[str], case: dict[str, Any], kept: dict[str, np.ndarray],
          functions: Sequence[Callable[..., Any]]) -> str:
    """Where functions differ in one case."""
    args = [_laid_out(kept[f"in {n}"], case["layout"]) if there else None for n, there in zip(names, case["args"])]
    options = case["options"] | {n: kept[f"in {n}"] for n in case["of_arrays"]}
    answer = functions[0](*args, **options)
    if not (isinstance(answer, tuple) and len(answer) == 2):
        return "forward returns two things, the output and a cache"
    y, cache = answer
    found = {"y": tree.leaves(y)}
    if part != "y":
        dy = [kept[f"dy {n}"] for n in range(len(found["y"]))]
        grads = functions[1](dy[0] if tree.is_leaf(y) else tuple(dy), cache)
        given = [f"d{n}" for n, a in zip(names, args) if a is not None]
        if not isinstance(grads, tuple) or len(grads) != len(given):
            return f"backward returns a tuple of {', '.join(given)}"
        found = {name: [grad] for name, grad in zip(given, grads) if part in (name, ALL)}
    for name, leaves in found.items():
        for n, leaf in enumerate(leaves):
            if f"{name} {n}" not in kept:
                return f"{name} has {len(leaves)} parts"
            says = derivation.differs(name, leaf, Within(kept[f"{name} {n}"], kept[f"within {name} {n}"]))
            if says:
                return says.partition(", with the right values")[0]
    return ""


def _laid_out(a: np.ndarray, layout: str) -> np.ndarray:
    """An array in a layout of memory: one that may not be written, or with gaps."""
    if layout == "strided" and a.ndim:
        return np.repeat(a, 2, axis=-1)[..., ::2]
    a = a.copy()
    a.flags.writeable = layout != "readonly"
    return a
