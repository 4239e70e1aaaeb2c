"""Submissions that are nearly the same: pairs that stand out from the class.

    for pair in pairs({"ada": code, "bob": code}, sheet):
        pair.share                      # 0.97 of the shorter one's runs of eight tokens are in both

Names are no difference, nor are comments, layout and docstrings; what the sheet gives, and what most of the class has,
is left out.  Short right answers are alike: a pair is a reason to read both, never more.
"""

import ast
import io
import keyword
import statistics
import tokenize
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import NamedTuple

from visattn.assignment.records import Sheet, unsolved
from visattn.assignment.source import RUN

ENOUGH = 40                                     # runs that are a student's own, below which nothing can be said
ALIKE = 0.6                                     # of the shorter one's runs
APART = 6.0                                     # times the usual distance from the middle of all pairs
COMMON = 0.5                                    # of the class: what they have is nobody's
SHOWN = 50                                      # pairs
WARNING = ("Short right answers are alike, and so are those of people who learned from the same page. "
           "Read both before you say anything.")

Run = tuple[str, ...]


class Pair(NamedTuple):
    """Two submissions that are more alike than the class is."""

    one: str
    other: str
    share: float                                # of the shorter one's runs of tokens, that both have
    runs: int                                   # how many these are
    usual: float                                # the share of the pair in the middle of all


def pairs(codes: Mapping[str, str], sheet: Sheet) -> list[Pair]:
    """The pairs that stand out, the most alike first."""
    shown = _runs("\n".join(unsolved(c.source) for c in sheet.cells if c.kind in ("given", "answer")))
    runs = {student: _runs(code) - shown for student, code in codes.items()}
    counts = Counter(run for some in runs.values() for run in some)
    most = max(2, COMMON * len(runs))
    common = {run for run, count in counts.items() if count > most}
    own = {student: some - common for student, some in runs.items() if len(some - common) >= ENOUGH}
    found = []
    for one, other in combinations(sorted(own), 2):
        both, shorter = len(own[one] & own[other]), min(len(own[one]), len(own[other]))
        found.append((both / shorter, both, one, other))
    if not found:
        return []
    shares = [share for share, *_ in found]
    middle = statistics.median(shares)
    usual = statistics.median(abs(share - middle) for share in shares)
    least = max(ALIKE, middle + APART * usual) if len(found) > 2 else ALIKE
    chosen = sorted((each for each in found if each[0] >= min(least, 0.95)), key=lambda e: (-e[0], e[2], e[3]))
    return [Pair(one, other, share, both, middle) for share, both, one, other in chosen[:SHOWN]]


def _runs(code: str) -> set[Run]:
    """Every RUN tokens of a code that follow each other, its names numbered in the order in which each run has them."""
    words = [token for text in _functions(code) for token in (*_tokens(text), "")]
    runs = set()
    for i in range(len(words) - RUN + 1):
        some = words[i:i + RUN]
        if "" not in some:
            names: dict[str, str] = {}
            runs.add(tuple(names.setdefault(w, f"${len(names)}") if w.startswith("$") else w for w in some))
    return runs


def _functions(code: str) -> Iterator[str]:
    """The functions of a code, without their docstrings; what is no Python is taken as it is."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        yield code
        return
    for node in tree.body:
        for inner in ast.walk(node):
            if isinstance(inner, (ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(inner) is not None:
                inner.body = inner.body[1:] or [ast.Pass()]
        try:
            yield ast.unparse(node)
        except (RecursionError, ValueError):
            continue


def _tokens(text: str) -> Iterator[str]:
    """Words, signs and numbers; a name that a person chose begins with $."""
    before = ""
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.NAME:
                chosen = not keyword.iskeyword(token.string) and before not in (".", "import", "from")
                yield f"${token.string}" if chosen and token.string != "np" else token.string
            elif token.type in (tokenize.NUMBER, tokenize.OP, tokenize.STRING):
                yield token.string
            if token.string.strip():
                before = token.string
    except (tokenize.TokenError, SyntaxError):
        return
