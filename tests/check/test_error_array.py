"""Arrays with errors: each rule against the errors that rounding really makes, and what cannot be decided."""

import numpy as np
import pytest

from visattn.check.error_rules import Bounded
from visattn.check.precision import PRECISIONS

F32 = PRECISIONS["float32"]
RULES = {
    "add": lambda a, b: a + b, "subtract": lambda a, b: a - b, "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / (b * b + 1), "exp": lambda a, b: np.exp(a), "tanh": lambda a, b: np.tanh(a * b),
    "log": lambda a, b: np.log(a * a + b * b + 1), "sqrt": lambda a, b: np.sqrt(a * a + b * b),
    "power": lambda a, b: (a * a + 1) ** -1.5, "sum": lambda a, b: (a * b).sum(-1), "mean": lambda a, b: a.mean(0) - b,
    "max": lambda a, b: (a * b).max(-1), "min": lambda a, b: (a * b).min(-1),
    "maximum": lambda a, b: np.maximum(a * b, b), "minimum": lambda a, b: np.minimum(a, a * b),
    "matmul": lambda a, b: a @ b.T, "clip": lambda a, b: (a * b).clip(-1, 1),
    "einsum": lambda a, b: np.einsum("ij,kj->ik", a, b), "einsum_1": lambda a, b: np.einsum("ij->j", a * b),
    "where": lambda a, b: np.where(a * b > 0.1, a * b, -b),
    "abs": lambda a, b: abs(a * b), "cumsum": lambda a, b: (a * b).cumsum(1),
    "concatenate": lambda a, b: np.concatenate([a * b, b]), "stack": lambda a, b: np.stack([a, a * b]),
    "pad": lambda a, b: np.pad(a * b, ((1, 1), (0, 2))), "take": lambda a, b: (a * b).take([2, 0], axis=0),
    "copysign": lambda a, b: np.copysign(a * a, b), "tensordot": lambda a, b: np.tensordot(a, b, ((1,), (1,))),
    "expm1": lambda a, b: np.expm1(a * b), "log1p": lambda a, b: np.log1p(a * a * b * b),
    "sin": lambda a, b: np.sin(a * b),
    "in place": lambda a, b: _in_place(a, b),
}


def _in_place(a, b):
    y = np.zeros_like(a)
    y += a
    y *= b
    np.exp(y, out=y)
    y[0] = a[1] * b[1]
    view = y.reshape(-1)[::2]
    view -= 1
    return y


@pytest.mark.parametrize("rule", RULES)
def test_what_float32_gives_is_within_the_bound_and_the_bound_is_not_loose(rule):
    closest = 0.0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        a, b = (rng.normal(size=(5, 7)).astype(np.float32) for _ in range(2))
        exact = RULES[rule](a.astype(float), b.astype(float))
        with_errors = RULES[rule](Bounded(a.astype(float), precision=F32), Bounded(b.astype(float), precision=F32))
        got = RULES[rule](a, b)
        np.testing.assert_array_equal(with_errors.value, exact)
        off = np.abs(got - exact)
        assert (off <= with_errors.error).all()
        closest = max(closest, float((off[off > 0] / with_errors.error[off > 0]).max(initial=0)))
    assert closest > 0.005


def test_zero_is_exact():
    x = Bounded(np.array([0.0, 1.0]), precision=F32)
    assert (x * 0.5).error[0] == 0
    assert (x * 0.5).error[1] > 0


def test_a_comparison_closer_than_the_errors_is_undecided():
    x = Bounded(np.array([1.0, 1.0, 3.0]), np.array([0.5, 0.0, 0.5]), precision=F32)
    below = x < 1.2
    np.testing.assert_array_equal(below.value, [True, True, False])
    np.testing.assert_array_equal(below.error, [1, 0, 0])
    chosen = np.where(below, 10.0, x)
    assert chosen.error[0] >= 9                     # it may be 10, it may be 1
    assert chosen.error[1] == 0


def test_what_is_decided_is_an_ordinary_array():
    x = Bounded(np.array([1.0, -1.0]), np.array([0.5, 0.5]), precision=F32)
    assert type(x > 0) is np.ndarray


def test_the_largest_of_near_ones_is_undecided():
    x = Bounded(np.array([[1.0, 1.01, 0.0]]), np.array([[0.1, 0.1, 0.1]]), precision=F32)
    assert np.isinf(x.argmax(1).error).all()
    clear = Bounded(np.array([[1.0, 5.0, 0.0]]), np.array([[0.1, 0.1, 0.1]]), precision=F32)
    assert clear.argmax(1) == [1]


def undecided():
    """Indices 0 or 1, 1, and 2 or 3: floors of numbers of which two are near an integer."""
    place = Bounded(np.array([0.9, 1.5, 3.1]), np.array([0.2, 0.2, 0.2]), precision=F32)
    return np.floor(place).astype(np.int64)


def test_the_bound_of_what_is_read_at_an_undecided_place_allows_whatever_may_be_read():
    table = Bounded(np.array([5.0, 7.0, 4.0, 1.0, 100.0]), np.array([0.5, 0, 0, 0, 0]), precision=F32)
    read = table.take(undecided())
    np.testing.assert_array_equal(read.value, [5, 7, 1])
    assert (read.error >= [2, 0, 3]).all()
    assert read.error[1] == 0
    wide = Bounded(np.stack([table.value, -table.value], -1), precision=F32).take(undecided(), axis=0)
    assert (wide.error >= [[2, 2], [0, 0], [3, 3]]).all()
    assert (wide.error[1] == 0).all()


def test_what_is_added_at_an_undecided_place_may_be_anywhere_in_its_reach_and_nowhere_else():
    """Each way that the places may be decided stays within the bound; where nothing reaches, zero is exact."""
    i, what = undecided(), np.array([2.0, -3.0, 5.0])
    sums = np.zeros_like(Bounded(np.zeros(6), precision=F32))
    np.add.at(sums, i, Bounded(what, precision=F32))
    for first in (0, 1):
        for last in (2, 3):
            one_way = np.zeros(6)
            np.add.at(one_way, [first, 1, last], what)
            assert (np.abs(one_way - sums.value) <= sums.error).all()
    assert (sums.error[5:] == 0).all()
    rows = np.zeros_like(Bounded(np.zeros((6, 2)), precision=F32))
    np.add.at(rows, i, Bounded(np.stack([what, what], -1), precision=F32))
    np.testing.assert_array_equal(rows.error, np.stack([sums.error] * 2, -1))


def test_an_index_of_which_nothing_is_known_reaches_everything():
    i = Bounded(np.array([1]), np.array([np.inf]), precision=F32)
    sums = np.zeros_like(Bounded(np.zeros(4), precision=F32))
    np.add.at(sums, i, Bounded(np.array([2.0]), precision=F32))
    assert (sums.error >= 2).all()
    assert Bounded(np.array([0.0, 1.0, 0.0, 9.0]), precision=F32).take(i).error >= 8


def test_arithmetic_of_indices_is_exact():
    i = undecided()
    np.testing.assert_array_equal((i * 1000 + 3).error, 1000 * i.error)


def test_beside_what_is_not_a_number_the_other_is_sure():
    a = Bounded(np.array([np.nan, 1.0]), np.array([np.inf, 0.1]), precision=F32)
    np.testing.assert_array_equal(np.fmin(a, 4).error, [0, 0.1])
    np.testing.assert_array_equal(np.fmax(np.fmin(a, 4), -1).value, [4, 1])


def test_beyond_the_largest_number_nothing_is_known():
    x = Bounded(np.array([60000.0]), precision=PRECISIONS["float16"])
    assert np.isinf((x * 2.0).error).all()
    assert np.isfinite((x * 0.25).error).all()


def test_a_call_without_a_rule_is_refused_by_name():
    with pytest.raises(TypeError, match=r"no rule of error for np\.arctan2"):
        np.arctan2(Bounded(np.ones(2), precision=F32), 1.0)
    with pytest.raises(TypeError, match=r"no rule of error for np\.median"):
        np.median(Bounded(np.ones(2), precision=F32))


def test_a_unit_may_cut_its_operands_instead_of_rounding_them():
    """Then all products are too small, and their sum by as much: of many terms alike, more than chance would give."""
    def cut(a):
        return (a.astype(np.float32).view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)

    rng = np.random.default_rng(0)
    a, b = (rng.uniform(1, 1.01, size=shape).astype(np.float32) for shape in ((1, 64), (64, 1)))
    y = Bounded(a.astype(float), precision=PRECISIONS["tf32"]) @ Bounded(b.astype(float), precision=PRECISIONS["tf32"])
    off = np.abs((cut(a) @ cut(b)).astype(float) - y.value)
    assert 0.3 * y.error < off < y.error
