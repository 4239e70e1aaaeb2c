"""What must hold of the changes and cases that are listed with an operator, for its tests.

    @pytest.mark.parametrize(("module", "change"), listed.of("equal"))
"""

from functools import cache

import numpy as np
import pytest

from visattn import ops, tree
from visattn.check import cases, changes

MOVED, SAME = 1e-6, 1e-9                # relative to the largest number of a result; both far from float64's rounding


def of(*kinds):
    """(operator, change) for every change of these kinds, with the operator in whose file it stands, as parameters."""
    operators = [getattr(ops, name) for name in dir(ops)]
    return [pytest.param(op, change, id=f"{name(op)}-{change.name}") for op in operators
            for change in changes.own(op.__name__) if change.kind in kinds]


def name(op):
    return op.__name__.rpartition(".")[2]


@cache
def cases_of(op):
    """Those of the operator alone, and two draws of its example, in double precision."""
    return cases.cases(op, "float64", names=["plain_0", "bare", *(maker.__name__ for maker in cases.own(op))])


@cache
def results(op, change=None):
    """{(case, part): array} of the operator, or of the changed one; None for a part that raises."""
    module, found = op if change is None else changes.changed(op, change), {}
    for case in cases_of(op):
        with np.errstate(all="ignore"):
            try:
                y, kept = module.forward(*case.args, **case.options)
                found |= {(case.name, f"y{i}"): np.asarray(leaf) for i, leaf in enumerate(tree.leaves(y))}
            except (ValueError, TypeError, IndexError):
                found[case.name, "y0"] = None
                continue
            try:
                grads = module.backward(case.dy, kept)
                found |= {(case.name, f"d{i}"): np.asarray(leaf) for i, leaf in enumerate(tree.leaves(grads))}
            except (ValueError, TypeError, IndexError):
                found[case.name, "d0"] = None
    return found


def distance(one, other):
    """The largest difference of two results, relative to the largest number; infinite where they do not compare."""
    if one is None or other is None:
        return 0.0 if one is other else np.inf
    if one.shape != other.shape or not np.array_equal(np.isfinite(one), np.isfinite(other)):
        return np.inf
    if not np.array_equal(np.isposinf(one), np.isposinf(other)):
        return np.inf
    one, other = (np.where(np.isfinite(a), a, 0) for a in (one, other))
    return np.abs(one - other).max(initial=0) / (max(np.abs(one).max(initial=0), np.abs(other).max(initial=0)) or 1)


def moved(op, change):
    """The largest distance from the operator, over all parts that the changed operator computes."""
    right, wrong = results(op), results(op, change)
    return max((distance(right[key], value) for key, value in wrong.items() if value is not None and key in right),
               default=0)


def twins(op, but=()):
    """The pairs that no case tells apart, of which one is listed with the operator and the other there or with a part
    of it; but for those in `but`, sets of two names."""
    both = [change for change in changes.changes_of(op) if change.kind in ("mistake", "convention")]
    return [(one.name, two.name) for i, one in enumerate(both) for two in both[i + 1:]
            if one.op == op.__name__ and {one.name, two.name} not in but and _alike(results(op, one), results(op, two))]


def _alike(one, two):
    return one.keys() == two.keys() and all(distance(one[key], two[key]) < SAME for key in one)
