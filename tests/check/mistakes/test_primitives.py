"""What is listed with the primitives."""

import listed
import numpy as np
import pytest

from visattn import ops, tree
from visattn.check import cases, changes, tolerance
from visattn.check.compare import compare


@pytest.mark.parametrize("name", ["conv2d", "depthwise", "average_pool2d", "max_pool2d"])
@pytest.mark.parametrize("option", ["stride", "padding"])
def test_exchanged_pairs_are_seen_even_where_the_shape_is_right(name, option):
    module = getattr(ops, name)
    change, = (c for c in changes.own(module.__name__) if c.name == f"{option}_swapped")
    key = f"{option}_unseen_in_the_shape", "y0"
    right, wrong = listed.results(module)[key], listed.results(module, change)[key]
    assert right.shape == wrong.shape
    assert listed.distance(right, wrong) > listed.MOVED


def test_what_is_said_of_the_rows_of_a_gradient_is_true():
    """Softmax, its logarithm weighted, and cross-entropy: rows of dx sum to 0, and a forgotten term shows there."""
    for name, change in (("softmax", "no_row_sum"), ("softmax", "plain_mean"), ("softmax", "plus"),
                         ("cross_entropy", "truth_not_subtracted"), ("layernorm", "statistics_as_constants")):
        module = getattr(ops, name)
        wrong, = (c for c in changes.own(module.__name__) if c.name == change)
        assert np.abs(listed.results(module)["plain_0", "d0"].sum(-1)).max() < 1e-12
        assert np.abs(listed.results(module, wrong)["plain_0", "d0"].sum(-1)).max() > 1e-3


@pytest.mark.parametrize(("precision", "overflows"), [("float64", 1), ("float32", 1), ("float16", 1)])
def test_the_cases_of_too_large_numbers_overflow_in_their_precision(precision, overflows):
    for module, name in ((ops.softmax, "just_too_large"), (ops.sigmoid, "too_large"), (ops.log_softmax, "too_large")):
        case, = cases.cases(module, precision, names=[name])
        with np.errstate(over="ignore"):
            assert np.isinf(np.exp(case.args[0].astype(precision))).any()


@pytest.mark.parametrize("name", ["layernorm", "batchnorm"])
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_a_variance_in_one_pass_is_far_outside_of_what_arithmetic_costs(name, precision):
    module = getattr(ops, name)
    change, = (c for c in changes.own(module.__name__) if c.name == "one_pass_variance")
    case, = cases.cases(module, precision, names=["large_mean"])
    within = tolerance.bounds(module, case.args, case.options, None, precision).y[0]
    with np.errstate(all="ignore"):
        y, _ = changes.changed(module, change).forward(*tree.cast(case.args, precision), **case.options)
    assert compare(y, within).worst > 4
    assert compare(module.forward(*tree.cast(case.args, precision), **case.options)[0], within).worst < 1
