import numpy as np

from visattn.ops.primitives import global_average_pool2d


def test_by_hand():
    x = np.array([[[[1.0, 2, 3], [4, 5, 9]], [[0, 0, 0], [0, 0, 6]]]])
    y, cache = global_average_pool2d.forward(x)
    assert y.tolist() == [[4, 1]]
    dx, = global_average_pool2d.backward(np.array([[6.0, -12]]), cache)
    assert dx.tolist() == [[[[1] * 3] * 2, [[-2] * 3] * 2]]


def test_ignores_where_things_are(rng):
    x = rng.normal(size=(2, 3, 4, 5))
    moved = rng.permutation(x.reshape(2, 3, 20), axis=2).reshape(2, 3, 5, 4)
    np.testing.assert_allclose(global_average_pool2d.forward(moved)[0], global_average_pool2d.forward(x)[0], rtol=1e-12)


def test_gradient_may_be_written(rng):
    x = rng.normal(size=(2, 3, 4, 5))
    y, cache = global_average_pool2d.forward(x)
    dx, = global_average_pool2d.backward(y, cache)
    before = dx.copy()
    dx[0, 0, 0, 0] += 1                                         # one pixel, not all that share its number
    assert np.count_nonzero(dx != before) == 1


def test_empty_batch():
    y, cache = global_average_pool2d.forward(np.zeros((0, 3, 4, 5)))
    assert y.shape == (0, 3)
    assert global_average_pool2d.backward(y, cache)[0].shape == (0, 3, 4, 5)
