"""What a check finds, as plain records: judged in `judge`, shown in `report`, kept as JSON.

From the worst to the best, of the output and of each gradient by itself:

    failed       the function did not answer: it raised, hung, crashed, or could not be loaded
    contract     shape, dtype or device are not what the operator promises, an input was written, the output shares
                 memory with one, or the same call gives two answers
    range        infinite, or not a number, where the exact answer is finite
    wrong        another formula
    precision    the right formula in coarser arithmetic than claimed, and which
    imprecise    within one and a half times the bound: accepted, with a word
    pass         within the bound that honest arithmetic of this precision keeps
    unsupported  the function does not do this, and says so: neither right nor wrong
"""

from typing import Any, Literal, NamedTuple

import numpy as np

Verdict = Literal["failed", "contract", "range", "wrong", "precision", "imprecise", "pass", "unsupported"]
ORDER: tuple[Verdict, ...] = ("failed", "contract", "range", "wrong", "precision", "imprecise", "pass", "unsupported")
RIGHT = ("pass", "imprecise")


class Suspect(NamedTuple):
    """A mistake, a convention, or a pair of mistakes, that the answers are consistent with."""

    names: tuple[str, ...]              # one, or two that were made together
    operators: tuple[str, ...]          # whose lines they are
    says: str
    see: str
    line: str                           # the reference's line(s)
    instead: str                        # and the line(s) that give the same answers
    convention: str                     # by which library, if it is a convention; else ""
    evidence: int                       # cases that tell it from the reference by at least four bounds
    rivals: tuple[str, ...] = ()        # other names that these answers do not tell from it


class Map(NamedTuple):
    """Where an error sits: |y - y*| / bound at every element of the worst case."""

    case: str
    axes: tuple[str, ...]               # ("N", "T", "E")
    ratio: np.ndarray                   # at most 3 axes kept for pictures; inf where not finite
    shape: tuple[int, ...]
    worst: tuple[int, ...]              # index of the largest
    got: float
    wanted: float
    bound: float


class Part(NamedTuple):
    """The verdict on the output, or on one gradient."""

    name: str                           # "y", or "dq": d + the argument's name
    verdict: Verdict
    says: str                           # one or two sentences for people
    ratio: float                        # the largest |error| / bound over all cases
    precision: str                      # the precision of the case it occurred in
    case: str                           # and its name
    map: Map | None = None
    suspect: Suspect | None = None
    consistent: bool = False            # a gradient that is right for the function's own, wrong, output


class CaseResult(NamedTuple):
    """One case of one precision."""

    name: str
    precision: str
    catches: str                        # what it is there for
    ratios: dict[str, float]            # of each part: the largest |error| / bound; None where not judged
    verdicts: dict[str, Verdict]
    seconds: float


class Finding(NamedTuple):
    """Something learned by probing: "effective scale", "1.0, where 1/√D = 0.408 is meant"."""

    name: str
    says: str
    value: Any = None                   # plain numbers, strings, nested lists
    fine: bool = True


class Report(NamedTuple):
    """All that a check found."""

    op: str
    implementation: str                 # "student.py:attention"
    framework: str                      # numpy, torch, jax, cupy, numba, triton
    verdict: Verdict                    # the worst of the parts; "pass" only if all are right
    says: str                           # the whole, in a sentence or two
    precisions: tuple[str, ...]
    parts: tuple[Part, ...]
    cases: tuple[CaseResult, ...]
    findings: tuple[Finding, ...]       # probes, identities, conventions, the first intermediate that diverges
    notes: tuple[str, ...]              # how arguments were matched, what was left out and why
    isolation: tuple[str, ...]          # in which of the protections the function ran; ("none: in this process",)
    seconds: float
    takes: tuple[str, ...] = ()         # the operator's arguments and options that the function has a place for

    @property
    def passed(self) -> bool:
        """Right: every part that was judged is, and at least one was."""
        return self.verdict in RIGHT

    def _repr_html_(self) -> str:
        """How a notebook shows it."""
        from visattn.check import report

        return report.html(self, whole_page=False)

    def __str__(self) -> str:
        from visattn.check import report

        return report.text(self)
