"""What is kept while many functions are checked is what would be computed, and only where it is the same question."""

import numpy as np
import pytest

from visattn import ops
from visattn.check import cases, changes, diagnose, judge, memory, tolerance
from visattn.check.precision import PRECISIONS

P = PRECISIONS["float64"]


def no_row_sum(x, *, axis=-1, mask=None):
    p, cache = ops.softmax.forward(x, axis=axis, mask=mask)
    return p, cache


def wrong(dp, cache):
    return (dp * cache.p,)


def told(report):
    return [(p.name, p.verdict, p.says, p.ratio, p.case, p.suspect) for p in report.parts], [
        (c.name, c.ratios, c.verdicts) for c in report.cases], report.findings, report.notes


@pytest.mark.parametrize("backward", [ops.softmax.backward, wrong])
def test_a_report_is_the_same_with_and_without(backward):
    plain = judge.run("softmax", no_row_sum, backward, precision="float64")
    with memory.kept():
        first, second = (judge.run("softmax", no_row_sum, backward, precision="float64") for _ in range(2))
    assert told(plain) == told(first) == told(second)


def test_nothing_is_computed_twice_inside_and_nothing_kept_outside(monkeypatch):
    asked = []
    monkeypatch.setattr(tolerance, "exact", lambda *a, f=tolerance.exact: asked.append(1) or f(*a))
    case = cases.cases(ops.softmax, P)[0]
    for inside, wanted in ((False, 2), (True, 1)):
        asked.clear()
        with memory.kept() if inside else memory.kept(0):
            for _ in range(2):
                tolerance.bounds(ops.softmax, case.args, case.options, case.dy, P)
        assert len(asked) == wanted


def test_another_number_another_option_another_precision_and_another_operator_are_other_questions():
    x, dy = np.linspace(-1, 1, 6).reshape(2, 3), np.ones((2, 3))
    moved = x.copy()
    moved[0, 0] += 1e-15
    with memory.kept():
        change = next(c for c in changes.own(ops.softmax.__name__) if c.name == "base_two")
        asked = [(ops.softmax, (x,), {}, dy, "float64"), (ops.softmax, (moved,), {}, dy, "float64"),
                 (ops.softmax, (x,), {"axis": 0}, dy, "float64"), (ops.softmax, (x,), {}, dy, "float32"),
                 (ops.softmax, (x,), {}, None, "float64"), (changes.changed(ops.softmax, change), (x,), {}, dy,
                                                           "float64")]
        found = [tolerance.bounds(*each) for each in asked]
        again = [tolerance.bounds(*each) for each in asked]
    assert len({id(b) for b in found}) == len(asked)
    assert [id(b) for b in again] == [id(b) for b in found]
    for each, kept in zip(asked, found, strict=True):
        fresh = tolerance.bounds(*each)
        np.testing.assert_array_equal(kept.y[0].value, fresh.y[0].value)
        np.testing.assert_array_equal(kept.y[0].error, fresh.y[0].error)


def test_values_with_other_names_shapes_kinds_or_layouts_have_other_digests():
    a = np.arange(6.0)
    some = [{"axis": 1}, {"other": 1}, {"axis": 1.0}, {"axis": "1"}, {"axis": True}, {"axis": None}, {"axis": a},
            {"axis": a.reshape(2, 3)}, {"axis": a.reshape(3, 2).T}, {"axis": a.astype("f4")}, {"axis": (1, 2)},
            {"axis": [1, 2]}, {"axis": ((1,), 2)}]
    assert len({memory.digest(each) for each in some}) == len(some)
    with pytest.raises(memory.Unkept):
        memory.digest({"axis": object()})


def test_what_is_kept_cannot_be_written():
    with memory.kept():
        case = cases.cases(ops.softmax, P)[0]
        bounds = tolerance.bounds(ops.softmax, case.args, case.options, case.dy, P)
        for array in (case.args[0], bounds.y[0].value, bounds.grads["dx"][0].error):
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0


def test_a_list_of_cases_belongs_to_whoever_asked():
    with memory.kept():
        cases.cases(ops.softmax, P).clear()
        assert cases.cases(ops.softmax, P)


def test_an_exception_is_kept_too():
    calls = []

    @memory.remembered(lambda x: x)
    def fails(x):
        calls.append(x)
        raise ValueError(x)

    with memory.kept():
        for _ in range(2):
            with pytest.raises(ValueError, match="7"):
                fails(7)
    assert calls == [7]


def test_the_longest_unused_goes_first():
    calls = []

    @memory.remembered(lambda x: x)
    def doubled(x):
        calls.append(x)
        return 2 * x

    with memory.kept(2):
        assert [doubled(x) for x in (1, 2, 1, 3, 1, 2)] == [2, 4, 2, 6, 2, 4]
    assert calls == [1, 2, 3, 2]


def test_two_copies_with_the_same_change_are_one_operator_and_a_stranger_is_none():
    change = next(c for c in changes.own(ops.softmax.__name__) if c.kind == "mistake")
    one, two = changes.changed(ops.softmax, change), changes.changed(ops.softmax, change)
    assert one is not two
    assert memory.key_of(one) == memory.key_of(two) != memory.key_of(ops.softmax)
    in_a_part = changes.changed(ops.attention, change)
    assert memory.key_of(in_a_part) != memory.key_of(ops.attention)
    stranger = type(ops)("visattn.ops.primitives.softmax")
    vars(stranger).update(forward=ops.softmax.forward, backward=ops.softmax.backward)
    with pytest.raises(memory.Unkept):
        memory.key_of(stranger)


def test_pairs_of_mistakes_are_tried_and_forgotten():
    seen = [diagnose.Seen(c, {}, tolerance.bounds(ops.softmax, c.args, c.options, c.dy, P)) for c in
            cases.cases(ops.softmax, P)[:1]]
    known = [c for c in changes.own(ops.softmax.__name__) if c.kind == "mistake"]
    with memory.kept():
        one, two = (diagnose.Diagnosis(ops.softmax, seen, P) for _ in range(2))
        assert one.tried((known[0],), seen[0]) is two.tried((known[0],), seen[0])
        pair = known[0], next(c for c in known if c.line != known[0].line)
        assert one.tried(pair, seen[0]) is not two.tried(pair, seen[0])
