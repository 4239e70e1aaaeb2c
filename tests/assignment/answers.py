"""Answers as students give them: the reference's own text, whole, without bodies, or with one of its lines changed."""

from typing import NamedTuple

import numpy as np

from visattn import ops
from visattn.assignment import source
from visattn.assignment.records import solved, unsolved
from visattn.check import changes


def code(sheet, how=solved):
    """What a submission to a sheet defines, as one file."""
    return "\n\n\n".join(how(cell.source) if cell.kind == "answer" else cell.source for cell in sheet.cells
                         if cell.kind in ("answer", "given") and cell.name not in ("setup", "student"))


def stubs(sheet):
    return code(sheet, unsolved)


def mistaken(sheet, op, name):
    """The solution with one known mistake of an operator in it."""
    change = next(c for c in changes.own(getattr(ops, op).__name__) if c.name == name)
    old, new = change.line.strip().splitlines(), change.instead.strip("\n").splitlines()
    lines, wanted = code(sheet).splitlines(), [line.strip() for line in old]
    at = [i for i in range(len(lines))
          if [line.partition("  #")[0].strip() for line in lines[i:i + len(wanted)]] == wanted]
    assert len(at) == 1, f"{name}: {len(at)} places"
    indent = lines[at[0]][:len(lines[at[0]]) - len(lines[at[0]].lstrip())]
    return "\n".join([*lines[:at[0]], *(indent + line for line in new), *lines[at[0] + len(wanted):]])


def functions(text):
    """The names that an answer defines."""
    scope = {"np": np, "NamedTuple": NamedTuple}
    exec(text, scope)
    return scope


__all__ = ["code", "functions", "mistaken", "source", "stubs"]
