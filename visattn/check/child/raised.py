"""An exception of somebody's code in one line that helps: what, where in their file, and the line that stands there."""

import linecache
import re
import traceback
from pathlib import Path

from .adapt import Broken
from .records import Problem

HERE = str(Path(__file__).resolve().parent)
LONGEST = 400                               # characters of a message
SAYS_NO = re.compile(r"(?i)not (yet |currently )?(implemented|supported)|unimplemented|un-?supported|only supports|"
                     r"does(n't| not) support|got (dtype )?b?float16")
# Python and NumPy say these of operands that do not fit, which is a mistake and no honest "no".
IS_A_BUG = re.compile(r"(?i)unsupported operand|not supported between|not supported for the input types|"
                      r"unsupported format")


def problem_of(error: BaseException, files: tuple[str, ...], part: str = "") -> Problem:
    """The Problem of an exception: unsupported, resource, mutated or raised.

    files   the user's file, or the folder of a package; the last line in it is named
    """
    if isinstance(error, Broken):
        return error.problem._replace(part=error.problem.part or part)
    return Problem(kind_of(error), described(error, files), part)


def kind_of(error: BaseException) -> str:
    """What an exception says about the function that raised it."""
    said = _said(error)
    if isinstance(error, NotImplementedError):
        return "unsupported"
    if isinstance(error, MemoryError) or "out of memory" in said.lower():
        return "resource"
    if "read-only" in said or "leaf Variable that requires grad" in said:
        return "mutated"
    if isinstance(error, (RuntimeError, ValueError, TypeError, AssertionError)) and SAYS_NO.search(said) \
            and not IS_A_BUG.search(said):
        return "unsupported"
    return "raised"


def described(error: BaseException, files: tuple[str, ...]) -> str:
    """TypeError: … (student.py, line 12: a = q @ k)"""
    said = _said(error)
    if len(said) > LONGEST:
        said = said[:LONGEST] + " …"
    text = f"{type(error).__name__}: {said}" if said else type(error).__name__
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return f"{text.partition(' (')[0]} ({Path(error.filename).name}, line {error.lineno}" + \
            (f": {error.text.strip()})" if error.text else ")")
    where = _last(error, files)
    if where is None:
        return text
    line = linecache.getline(where.filename, where.lineno or 0).strip()
    return f"{text} ({Path(where.filename).name}, line {where.lineno}{': ' if line else ''}{line})"


def _said(error: BaseException) -> str:
    """Its message, in one line."""
    try:
        return " ".join(str(error).split())
    except Exception:                       # an exception whose own text fails
        return "(its message cannot be read)"


def _last(error: BaseException, files: tuple[str, ...]) -> traceback.FrameSummary | None:
    """The last place in the user's files; else the last that is in no package and not here."""
    frames = list(traceback.extract_tb(error.__traceback__))
    theirs = [f for f in frames if any(f.filename == file or (file.endswith("/") and f.filename.startswith(file))
                                       for file in files)]
    others = [f for f in frames if not f.filename.startswith(HERE) and "site-packages" not in f.filename
              and not f.filename.startswith("<frozen")]
    found = theirs or others
    return found[-1] if found else None
