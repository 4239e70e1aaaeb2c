"""What lessons and their notebooks share: quotations of the source, and a judge for the exercises.

    quote("visattn/ops/pairs/attention.py:forward")           # shows the function as it is installed
    quote("visattn/gpu/primitives/softmax.cu:softmax_kept")   # or the kernel, with the comment before it
    judge(my_forward, my_backward, args)                      # every law of gradcheck, on your two functions

A lesson quotes operators and defines none; so a quotation is read from the installed package when it is shown.
"""

import ast
import re
from pathlib import Path

import numpy as np

from visattn import gradcheck
from visattn._extras import need
from visattn.assignment.records import UNWRITTEN
from visattn.gpu._host import KernelFault

HERE = Path(__file__).parents[1]


def source(where):
    """The text of a function, from "visattn/path/to/module.py:name"; of a kernel, from "visattn/path/to/file.cu:name",
    with the comment before it; nothing is imported.  The stubs of an operator, from "exercise:name"."""
    path, _, name = where.partition(":")
    if path == "exercise":
        from visattn.assignment import exercise

        return exercise.practice(name)
    lines = (HERE / path).read_text(encoding="utf-8").splitlines(keepends=True)
    found = (_function if path.endswith(".py") else _kernel)(lines, name)
    if found is None:
        raise LookupError(f"{path} has no {name}")
    return "".join(lines[slice(*found)])


def _function(lines, name):
    """(first line, end) of a function or class of a Python file, decorators included."""
    for node in ast.parse("".join(lines)).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == name:
            return min(part.lineno for part in (node, *node.decorator_list)) - 1, node.end_lineno
    return None


def _kernel(lines, name):
    """(first line, end) of a function of a CUDA file, the comment before it included."""
    begins = re.compile(rf"[^\s/#}}].*\b{name}\(")
    for i, line in enumerate(lines):
        if begins.match(line):
            first = i
            while first and lines[first - 1].startswith(("//", "template")):
                first -= 1
            ends = (k for k in range(i, len(lines)) if lines[k] == "}\n" or (k == i and line.endswith("}\n")))
            return first, next(ends) + 1
    return None


class Quotation:
    """The text of a function, which a notebook shows in colours: to be read, not run."""

    def __init__(self, text, language="python"):
        self.text, self.language = text, language

    def __repr__(self):
        return self.text

    def _repr_html_(self):
        pygments, formatters, lexers = (need(f"pygments{part}") for part in ("", ".formatters", ".lexers"))
        block = "color: #1d2433; background: #f7f7f7; padding: 2px 8px"          # in dark themes too
        text = "font-family: ui-monospace, monospace; color: inherit; background: inherit"
        formatter = formatters.HtmlFormatter(noclasses=True, cssstyles=block, prestyles=text)
        return pygments.highlight(self.text, lexers.get_lexer_by_name(self.language), formatter)


def quote(where):
    """What a notebook shows in the place of a quotation: where it is from, and the function as it is installed."""
    mark, language = ("#", "python") if where.partition(":")[0].endswith(".py") else ("//", "cuda")
    return Quotation(f"{mark} {where}\n{source(where)}", language)


def verdict(forward, backward, args, options=None, *, y=None):
    """None where your two functions are right, else what is wrong, in words.

    backward    None where there is nothing to differentiate: then forward returns y alone
    y           what forward must give, where that is part of the exercise
    """
    try:
        if backward is None:
            return _differs(forward.__name__, forward(*args, **(options or {})), y)
        if y is not None:
            mine = forward(*args, **(options or {}))
            if not (isinstance(mine, tuple) and len(mine) == 2):
                return f"forward must return two things, y and a cache; it returns {type(mine).__name__}"
            wrong = _differs("forward", mine[0], y)
            if wrong:
                return wrong
        gradcheck.check(gradcheck.Pair(forward, backward), args, options)
    except NotImplementedError:
        return UNWRITTEN
    except (AssertionError, KernelFault) as wrong:
        return str(wrong)
    return None


def _differs(name, mine, y):
    """None where an answer is what it must be, to a few roundings of its dtype; else where it is not."""
    if np.shape(mine) != np.shape(y):
        return f"{name} gives shape {np.shape(mine)}, expected {np.shape(y)}"
    mine, y = np.asarray(mine), np.asarray(y)
    rtol, atol = (1e-5, 1e-6) if y.dtype == np.float32 else (1e-9, 1e-12)
    if np.allclose(mine, y, rtol=rtol, atol=atol):
        return None
    off = np.nan_to_num(abs(mine - y), nan=np.inf)
    where = np.unravel_index(np.argmax(off), y.shape)
    at = f" at {tuple(int(i) for i in where)}" if y.ndim else ""
    return f"{name} gives {mine[where]:.6g}{at}, expected {y[where]:.6g}"


def judge(forward, backward, args, options=None, *, y=None):
    """Print the verdict on your functions."""
    wrong = verdict(forward, backward, args, options, y=y)
    print(f"Not yet: {wrong}" if wrong else "Right." if backward is None else "Right: every law holds.")
