"""Everybody has a variant of their own: it is read off the signature, and an answer to another one is wrong."""

from typing import NamedTuple

import numpy as np
import pytest
from answers import code

from visattn import check, ops
from visattn.assignment import grading, sheet, source, variants
from visattn.check import cases
from visattn.check.tolerance import arguments_of


def test_a_variant_is_the_same_for_the_same_name_and_differs_between_names():
    mine = variants.of("hw1", "Ada ", ["attention"])
    assert mine == variants.of("hw1", "ada", ["attention"])
    others = [variants.of("hw1", f"student{i}", ["attention"])["attention"]["options"] for i in range(20)]
    assert len({repr(options) for options in others}) > 5
    assert mine != variants.of("hw2", "ada", ["attention"])


def test_what_varies_is_read_off_the_signature():
    can = variants.choices(ops.attention)
    assert can.options["causal"] == ("top_left", "bottom_right", None)
    assert can.options["scale"][0] is None
    assert "mask" not in can.options
    assert variants.choices(ops.grid_sample).options["align_corners"] == (False, True)
    assert variants.choices(ops.squeeze_excite).orders == {
        "channels": {"x": [1, -1], "y": [1, -1]}, "weights": {"w1": [-1, -2], "w2": [-1, -2]}}


def test_no_name_no_variant():
    with pytest.raises(ValueError, match="student must be the name or number under which you hand in"):
        variants.of("hw1", " ", ["attention"])


def test_moved_axes_come_back():
    x = np.zeros((2, 3, 4, 5))
    there = variants.moved({"x": [1, -1]}, "x", x, 1)
    assert there.shape == (2, 4, 5, 3)
    assert variants.moved({"x": [1, -1]}, "x", there, -1).shape == x.shape
    assert variants.moved({}, "x", x, 1) is x


def test_the_solution_of_any_variant_is_right(operator):
    """The reference with the options and the order of axes that `mine` says, called as the reference is."""
    name = operator.__name__.rpartition(".")[2]
    text = source.of(operator, variants.fixed(operator))
    some = [case.name for case in cases.cases(operator, "float64")][:6]
    for student in ("ada", "emmy"):
        mine = variants.of("hw1", student, [name])
        scope = {"np": np, "NamedTuple": NamedTuple, "mine": mine}
        exec(source.given(source.parts(operator)) + "\n\n\n" + text.records, scope)
        for function in (text.forward, text.backward):
            exec(f"{function.head}\n{function.body}", scope)
        forward, backward = variants.adapted(arguments_of(operator), mine[name]["axes"], scope[text.forward.name],
                                             scope[text.backward.name])
        report = check.run(name, forward, backward, options=mine[name]["options"], precision="float64",
                               only=some)
        assert report.passed, report.says


def test_somebody_else_s_answer_is_wrong():
    made = sheet.of_operators("hw1", ["attention"], varied=True, written=False)
    options = {s: variants.of("hw1", s, ["attention"])["attention"] for s in ("ada", "emmy", "sofya")}
    assert options["ada"]["options"] != options["emmy"]["options"]
    hers = code(made).replace('mine["attention"]', repr(options["ada"]))
    assert grading.grade(made, grading.Submission("ada", hers)).points == sum(t.points for t in made.tests)
    copied = grading.grade(made, grading.Submission("emmy", hers))
    assert not {o.test: o.passed for o in copied.outcomes}["attention_output"]


def test_the_shapes_of_an_example_differ_between_students():
    shapes = set()
    for student in ("ada", "emmy", "sofya", "maryam"):
        mine = variants.of("hw1", student, ["attention"])["attention"]
        args, _, y = variants.example("attention", mine)
        q, k, v, o = (variants.moved(mine["axes"], name, a, -1) for name, a in [*[*args.items()][:3], ("y", y)])
        assert (q.shape[-1], k.shape[-2], v.shape[-1]) == (k.shape[-1], v.shape[-2], o.shape[-1])
        shapes.add(q.shape)
    assert len(shapes) > 1


def test_every_operator_has_an_example_in_every_variant(operator):
    name = operator.__name__.rpartition(".")[2]
    for student in ("ada", "emmy", "sofya"):
        _, _, y = variants.example(name, variants.of("hw1", student, [name])[name])
        assert y is not None


def test_a_variant_is_told_with_the_shapes_of_an_example():
    mine = variants.of("hw1", "ada", ["squeeze_excite"])["squeeze_excite"]
    told = dict(variants.told("squeeze_excite", mine))
    args, _, y = variants.example("squeeze_excite", mine)
    assert told["x"] == f"{args['x'].shape}, for example"
    assert told["y"] == f"{y.shape}, then"


def test_an_operator_that_calls_one_with_a_variant_of_its_own_is_refused():
    with pytest.raises(ValueError, match="--variants: attention calls softmax, which has a variant of its own"):
        sheet.of_operators("hw", ["softmax", "attention"], varied=True)
