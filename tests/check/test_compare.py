"""Error over bound, element by element, also where something is infinite or not a number."""

import math
from itertools import product

import numpy as np
import pytest

from visattn.check.compare import compare
from visattn.check.tolerance import Within

ANY = [0.0, -0.0, 1.0, -1.5, 1e300, math.inf, -math.inf, math.nan]


def ratio(got, value, bound):
    """By the definition, of one number."""
    if math.isinf(bound) or got == value or (math.isnan(got) and math.isnan(value)):
        return 0.0
    if not math.isfinite(got - value):
        return math.inf
    return abs(got - value) / bound if bound > 0 else math.inf


@pytest.mark.parametrize("bound", [0.0, 1e-3, 2.0, math.inf, math.nan])
def test_every_number_against_every_other(bound):
    for got, value in product(ANY, repeat=2):
        found = compare(np.array([got, 1.0]), Within(np.array([value, 1.0]), np.array([bound, 1.0])))
        assert found.worst == ratio(got, value, bound), (got, value)
        assert found.ratio[1] == 0, (got, value)
        assert found.range == (math.isfinite(value) and not math.isfinite(got) and math.isfinite(bound))
        assert found.judged == (1.0 if math.isfinite(bound) else 0.5)


def test_the_worst_of_many_is_where_it_is():
    value = np.arange(6.0).reshape(2, 3)
    got = value + np.array([[0, 0.1, 0], [-0.3, 0, 0.2]])
    found = compare(got, Within(value, np.full((2, 3), 0.1)))
    np.testing.assert_allclose(found.ratio, [[0, 1, 0], [3, 0, 2]], atol=1e-12)
    assert found.worst == found.ratio[1, 0]


def test_of_nothing_nothing_is_off():
    none = np.zeros((0, 3))
    assert compare(none, Within(none, none))[1:] == (0.0, False, 1.0)
