"""Cases are integers, say what they catch, hold what the precision holds, and stay off kinks."""

import numpy as np
import pytest

from visattn import ops, tree
from visattn.check.cases import Integers, cases, name_of, nearest, smooth
from visattn.check.precision import PRECISIONS, precision

OPERATORS = dir(ops)
FIRST = [0.574981689453125, -1.0124053955078125, 0.204864501953125, -0.153839111328125]


def test_numbers_are_the_same_for_ever():
    """The first numbers of a case, as they were when this was written."""
    x, = cases(ops.softmax, "float32", names=["plain_0"])[0].args
    assert x.ravel()[:4].tolist() == FIRST


def test_splitmix64_is_the_published_one():
    """Sebastiano Vigna's splitmix64.c gives these from the state 1234567."""
    rng = Integers(0)
    rng.state = 1234567
    assert rng.bits(3).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_normal_numbers_have_mean_0_and_variance_1():
    x = Integers(3).normal(size=20000)
    assert abs(x.mean()) < 0.03
    assert abs(x.var() - 1) < 0.03
    assert np.abs(x).max() < 6


def test_integers_permutations_and_choices_are_in_range():
    rng = Integers(5)
    assert set(rng.integers(2, 5, size=200).tolist()) == {2, 3, 4}
    assert sorted(rng.permutation(9).tolist()) == list(range(9))
    assert len(set(rng.choice(7, size=5, replace=False).tolist())) == 5
    assert 0 <= rng.random() < 1
    assert (rng.uniform([0, 10], [1, 11], size=(4, 2))[:, 1] >= 10).all()


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("p", PRECISIONS)
def test_every_number_is_one_that_the_precision_holds(name, p):
    for case in cases(getattr(ops, name), p):
        floats = [a for t in (case.args, case.dy, *filter(tree.is_leaf, case.options.values())) for a in tree.leaves(t)]
        for a in floats:
            if a.dtype.kind == "f":
                assert a.dtype == float
                np.testing.assert_array_equal(nearest(a, precision(p)), a, err_msg=case.name)


@pytest.mark.parametrize("name", OPERATORS)
def test_every_case_says_what_it_catches_and_can_be_computed(name):
    op = getattr(ops, name)
    made = cases(op, "float32")
    assert len({case.name for case in made}) == len(made) >= 8
    for case in made:
        assert case.catches, case.name
        with np.errstate(all="ignore"):
            _, cache = op.forward(*case.args, **case.options)
            op.backward(case.dy, cache)


@pytest.mark.parametrize("name", OPERATORS)
def test_general_cases_are_off_kinks_and_ties(name):
    op = getattr(ops, name)
    for case in cases(op, "float32", names=["plain_0", "plain_1", "offset"]):
        assert smooth(op, case.args, case.options, case.dy, Integers(99)), case.name


def test_a_kink_is_seen_as_one():
    x = np.array([[0.0, 1e-9, 1.0]])
    assert not smooth(ops.relu, (x,), {}, np.ones_like(x), Integers(1))


def test_the_nearest_bfloat16_is_nearest_and_even():
    p = precision("bfloat16")
    assert nearest(np.array([1 + 2.0**-9]), p) == 1.0
    assert nearest(np.array([1 + 3 * 2.0**-9]), p) == 1 + 2.0**-7 * 1
    assert nearest(np.array([1 + 2.0**-8 + 2.0**-20]), p) == 1 + 2.0**-7
    assert nearest(np.array([1 + 2.0**-8]), p) == 1.0
    assert nearest(np.array([-3.14159]), p) == -3.140625


def test_an_unknown_case_is_refused_with_those_there_are():
    with pytest.raises(LookupError, match=r"softmax has no case 'plain_9'; it has plain_0, plain_1"):
        cases(ops.softmax, "float32", names=["plain_9"])


def test_another_seed_is_another_case():
    one, two = (cases(ops.linear, "float32", seed=s, names=["plain_0"])[0] for s in (0, 1))
    assert not np.array_equal(one.args[0], two.args[0])
    assert name_of(ops.linear) == "linear"
