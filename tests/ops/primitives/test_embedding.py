"""What is true of the embedding in particular."""

import numpy as np
import pytest

from visattn import gradcheck
from visattn.check.definitions.primitives import embedding as definition
from visattn.ops import embedding

W = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])


def test_by_hand():
    y, cache = embedding.forward(W, ids=np.array([2, 0, 2]))
    assert y.tolist() == [[5, 6], [1, 2], [5, 6]]
    dw, = embedding.backward(np.array([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0]]), cache)
    assert dw.tolist() == [[2, 20], [0, 0], [5, 50]]


def test_a_row_read_many_times_gets_every_gradient():
    """dw[ids] += dy would keep the last one."""
    _, cache = embedding.forward(W, ids=np.ones((5, 7), int))
    assert embedding.backward(np.ones((5, 7, 2)), cache)[0].tolist() == [[0, 0], [35, 35], [0, 0]]


def test_is_the_product_with_one_hot_rows(rng):
    ids = rng.integers(3, size=(4, 5))
    np.testing.assert_array_equal(embedding.forward(W, ids=ids)[0], np.eye(3)[ids] @ W)


@pytest.mark.parametrize("shape", [(), (4,), (2, 3, 1)])
@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8])
def test_ids_of_any_shape_and_kind(rng, shape, dtype):
    ids = np.asarray(rng.integers(3, size=shape), dtype)
    np.testing.assert_array_equal(embedding.forward(W, ids=ids)[0], definition.forward(W, ids=ids))
    gradcheck.check(embedding, (W,), {"ids": ids}, rng)


def test_no_words_no_gradient():
    y, cache = embedding.forward(W, ids=np.zeros((0, 4), int))
    assert y.shape == (0, 4, 2)
    assert not embedding.backward(y, cache)[0].any()


@pytest.mark.parametrize(("ids", "value"), [([0, 3], 3), ([-1], -1)])
def test_refuses_a_number_without_a_row(ids, value):
    with pytest.raises(ValueError, match=rf"ids must be at least 0 and below the number of rows, 3; got \[{value}\]"):
        embedding.forward(W, ids=np.array(ids))


def test_refuses_ids_that_are_not_integers():
    with pytest.raises(TypeError, match="ids must be an integer array"):
        embedding.forward(W, ids=np.array([0.0]))


def test_starts_standard_normal(rng):
    w, = embedding.init(rng, 300, 200)
    assert abs(w.mean()) < 0.02
    assert abs(w.std() - 1) < 0.02
