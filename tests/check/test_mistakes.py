"""The catalogue of mistakes: large enough, told apart by name, and each of them to be seen in float32."""

from collections import Counter

import numpy as np
import pytest

from visattn import catalogue, ops, tree
from visattn.check import cases, changes, tolerance
from visattn.check.diagnose import Diagnosis, Seen, Tried
from visattn.check.precision import PRECISIONS

OPERATORS = [getattr(ops, name) for name in dir(ops)]


def short(op):
    return op.__name__.rpartition(".")[2]


def seen(op, precision="float32"):
    """The cases of an operator and what is right in them."""
    for case in cases.cases(op, precision):
        with np.errstate(all="ignore"):
            bounds = tolerance.bounds(op, case.args, case.options, case.dy, precision, all_ways=False)
        yield Seen(case, {}, bounds)


def test_there_are_at_least_seventy():
    assert len(changes.everything("mistake")) >= 70


@pytest.mark.parametrize("module", OPERATORS, ids=short)
def test_every_operator_has_some(module):
    assert len([c for c in changes.own(module.__name__) if c.kind == "mistake"]) >= 3


@pytest.mark.parametrize("module", catalogue.select(), ids=short)
def test_names_are_told_apart_by_the_operator_s(module):
    counted = Counter((change.op, change.name) for change in changes.changes_of(module))
    assert [name for name, count in counted.items() if count > 1] == []


@pytest.mark.parametrize("module", OPERATORS, ids=short)
def test_float32_tells_every_mistake_from_the_reference(module):
    diagnosis = Diagnosis(module, list(seen(module)), PRECISIONS["float32"])
    hidden = {change.name for change in changes.own(module.__name__) if change.kind == "mistake"
              and not any(diagnosis.tells((change,), s, part) for s in diagnosis.seen for part in s.bounds.parts())}
    assert hidden == set()


@pytest.mark.parametrize("module", OPERATORS, ids=short)
def test_every_mistake_can_be_made(module):
    made = cases.cases(module, "float64")
    for change in changes.own(module.__name__):
        changed = changes.changed(module, change)
        assert any(not Tried(changed, case, PRECISIONS["float64"]).raises for case in made), change.name


@pytest.mark.parametrize("module", catalogue.select(), ids=short)
def test_an_output_is_the_same_to_the_bit_where_forward_never_runs_the_changed_line(module):
    p = PRECISIONS["float64"]
    case = min(cases.cases(module, p), key=lambda c: sum(np.size(a) for a in tree.leaves(c.args)))
    right = Tried(module, case, p).part("y")
    unfelt = [change for change in changes.changes_of(module) if not changes.felt_by_forward(module, change)]
    for change in unfelt:
        for got, wanted in zip(Tried(changes.changed(module, change), case, p).part("y"), right, strict=True):
            np.testing.assert_array_equal(got, wanted, err_msg=change.name)


@pytest.mark.parametrize(("module", "name", "felt"), [
    (ops.softmax, "no_row_sum", False), (ops.softmax, "base_two", True), (ops.attention, "unscaled", True),
    (ops.attention, "causal_strict", True),                         # in a helper of forward
    (ops.attention, "heads_after_tokens", True),                    # beside `example`, around forward
    (ops.multihead, "split_and_merge_without_transpose", True),     # two helpers in one
    (ops.attention, "dv_untransposed", False), (ops.cbam, "spatial_gate_skipped_in_backward", False)])
def test_which_changes_an_output_may_feel(module, name, felt):
    change = next(change for change in changes.changes_of(module) if change.name == name)
    assert changes.felt_by_forward(module, change) is felt
