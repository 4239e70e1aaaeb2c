"""How a question is put to a function, and what makes of its answer words."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from visattn.check.verdicts import Finding

NEAR = 1e-3             # what is read as one number; float32 may be at work inside

Call = Callable[[dict[str, Any], dict[str, Any]], Any]
Findings = Iterator[Finding]


class Unanswered(Exception):
    """The function has no place for this question, raised, or has been asked enough."""


class Function:
    """What is probed, or the reference: arguments and options by name in, the first output as float64."""

    def __init__(self, name: str, call: Call, takes: set[str], calls: int) -> None:
        self.name, self.call, self.takes, self.left = name, call, takes, calls

    def __call__(self, args: dict[str, Any], options: dict[str, Any]) -> np.ndarray:
        if not {*args, *options} <= self.takes or self.left == 0:
            raise Unanswered
        self.left -= 1
        try:
            answer = self.call(args, options)
        except Exception:
            raise Unanswered from None
        if answer is None or len(answer) == 0:
            raise Unanswered
        return np.asarray(answer[0], np.float64)


Question = Callable[[Function, Function], Findings]          # of the function, and of the reference


def near(a: Any, b: Any, within: float = NEAR) -> bool:
    """The same numbers, as far as can be read; NaN is NaN."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=within, atol=within, equal_nan=True))


def draw(pattern: np.ndarray) -> str:
    """A boolean table as "10000/11000/11100"."""
    return "/".join("".join("1" if here else "0" for here in row) for row in pattern)


def number(x: float) -> str:
    return f"{x:.4g}"
