"""Read-outs of a function as a black box: what its scale is, what its mask hides, where its grid lands.

    findings = probe(ops.attention, call, takes={"q", "k", "v", "scale", "causal"})

A function that is wrong everywhere still says much when it is asked the right question: values that are the unit
matrix make the output of attention its map, queries of zeros make the map its mask.  Each question is put to the
reference, too, and a finding is fine where both say the same.  Only forward is called, at most CALLS times; a question
that the function cannot answer, for it lacks the option or raises, is not asked.
"""

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

import numpy as np

from visattn import catalogue, gradcheck, tree
from visattn.check.probes._ask import Call, Function, Question, Unanswered
from visattn.check.verdicts import Finding

CALLS = 40


def probe(op: ModuleType, call: Call, takes: "set[str] | frozenset[str]") -> list[Finding]:
    """[Finding] of a function that should be `op`; of an operator that nothing is known to ask of, none.

    call   call(args, options) is the leaves of the output, or None where it fails; both by the operator's names
    takes  the names of arguments and options that it has a place for
    """
    name = gradcheck.name_of(op)
    theirs = Function(name, call, set(takes), CALLS)
    ours = Function(name, lambda args, options: tree.leaves(op.forward(**args, **options)[0]), set(takes), -1)
    found: list[Finding] = []
    with np.errstate(all="ignore"):
        for question in _questions(op).get(name, ()):
            try:
                found.extend(question(theirs, ours))
            except (Unanswered, ArithmeticError, LookupError, TypeError, ValueError):
                continue                        # an answer of another shape, too, leaves the question open
    return found


def _questions(op: ModuleType) -> dict[str, tuple[Question, ...]]:
    """{operator: questions} of its family, from the module of that name here."""
    family = catalogue.family_of(op)
    if family not in {module.name for module in iter_modules(__path__)}:
        return {}
    questions: dict[str, tuple[Question, ...]] = import_module(f"{__name__}.{family}").QUESTIONS
    return questions
