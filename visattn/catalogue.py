"""What there is: every operator and model, in the words of its own file.

    for entry in catalogue():
        print(entry.family, entry.name, entry.claim)
"""

import inspect
import re
from collections.abc import Iterable
from difflib import get_close_matches
from types import ModuleType
from typing import Any, NamedTuple

FAMILIES = ["primitives", "gates", "pairs", "sampling", "recurrent", "models"]


class Entry(NamedTuple):
    name: str
    family: str
    claim: str                  # one sentence
    paper: str                  # author, title, year; empty where there is none to cite
    signature: str              # forward(q, k, v, *, mask=None)
    has_weights: bool


def catalogue(names: Iterable[str] | None = None) -> list[Entry]:
    """[Entry] of the operators and models of these names, or of all; LookupError for a name that is neither."""
    return [describe(op) for op in select(names)]


def everything() -> list[str]:
    """The names of all operators, family by family, and of all models."""
    from visattn import models, ops

    def family(name: str) -> int:
        return FAMILIES.index(family_of(getattr(ops, name)))

    return sorted(dir(ops), key=lambda name: (family(name), name)) + dir(models)


def select(names: Iterable[str] | None = None) -> list[ModuleType]:
    """The operators and models of these names, or all; LookupError for a name that is neither."""
    from visattn import models, ops

    operators, all_models = dir(ops), dir(models)
    chosen = []
    for name in everything() if names is None else dict.fromkeys(names):
        if name not in operators and name not in all_models:
            near = get_close_matches(name, operators + all_models, n=3)
            raise LookupError(f"there is no operator or model {name!r}"
                              + (f"; did you mean {' or '.join(near)}?" if near else "; `visattn ops` lists them"))
        chosen.append(getattr(ops if name in operators else models, name))
    return chosen


def family_of(op: Any) -> str:
    return op.__name__.split(".")[-2]


def describe(op: ModuleType) -> Entry:
    claim, paper = read_docstring(op.__doc__ or "")
    return Entry(op.__name__.rpartition(".")[2], family_of(op), claim, paper, signature(op), hasattr(op, "Params"))


def read_docstring(text: str) -> tuple[str, str]:
    """(claim, paper): the first paragraph, and the next one if it is a citation, which has a year in it."""
    paragraphs = [" ".join(p.split()) for p in inspect.cleandoc(text).split("\n\n")]
    claim = paragraphs[0] if paragraphs else ""
    second = paragraphs[1] if len(paragraphs) > 1 else ""
    is_citation = re.search(r"\b(19|20)\d\d\b", second) and not re.match(r"\s", text.split("\n\n")[1])
    return claim, second if is_citation else ""


def signature(op: ModuleType) -> str:
    """forward's arguments without their types."""
    from visattn.ops._contract import bare  # op has loaded it; this module loads nothing

    return f"forward{bare(inspect.signature(op.forward))}"
