"""Assignments: every operator is an exercise, and one sheet makes and grades it everywhere.

    visattn assignment new hw1 --ops softmax,attention --target nbgrader
    visattn assignment grade submissions --assignment hw1/assignment.json

In a notebook that was made so:

    expect("attention", "dq", attention_forward, attention_backward)        # passes, or says what is wrong
    mine = variant("hw1", "ada", ["attention"])                             # what holds for this student
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visattn.assignment.cells import attempt, expect, same, variant

__all__ = ["attempt", "expect", "same", "variant"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"{__name__} has no {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"{__name__}.cells"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
