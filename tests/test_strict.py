"""Every operator and model runs on CuPy as it stands: tested on the strict double, without a device."""

import cupy_api
import numpy as np
import pytest
import strict
from strict import StrictArray, get, put

from visattn import tree


def test_runs_on_the_strict_double(op, rng):
    args, options = op.example(rng)
    y, cache = op.forward(*args, **options)
    dy = tree.map(lambda a: np.asarray(np.cos(a)), y)
    grads = op.backward(dy, cache)

    theirs = {name: put(value) if tree.is_leaf(value) else value for name, value in options.items()}
    y2, cache2 = op.forward(*put(tuple(args)), **theirs)
    grads2 = op.backward(put(dy), cache2)
    for a, b in zip(tree.leaves((y, grads)), tree.leaves(get((y2, grads2))), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-12, atol=1e-12)


REFUSED = {
    "a NumPy array beside a CuPy array": lambda x: x + np.ones(3),
    "a NumPy array as index": lambda x: x[np.array([0, 1])],
    "asarray": lambda x: np.asarray(x),
    "maximum.reduce": lambda x: np.maximum.reduce(x),
    "as_strided": lambda x: np.lib.stride_tricks.as_strided(x, (2,), (8,)),
    "block": lambda x: np.block([[x]]),
    "sum with where": lambda x: np.sum(x, where=x > 0),
    "var with mean": lambda x: np.var(x, mean=x),
    "a mixed concatenation": lambda x: np.concatenate([x, np.ones(3)]),
    "a ufunc with where": lambda x: np.exp(x, where=x > 0),
}


@pytest.mark.parametrize("call", REFUSED.values(), ids=REFUSED)
def test_the_double_refuses(call):
    with pytest.raises(TypeError):
        call(StrictArray(np.ones(3)))


def test_the_double_computes():
    x = StrictArray(np.arange(6.0).reshape(2, 3))
    assert get(np.einsum("ij->i", x)).tolist() == [3, 12]
    assert get(np.where(x > 2, x, 0)).sum() == 12
    assert get(np.zeros(2, like=x)).tolist() == [0, 0]
    np.add.at(x, (StrictArray(np.array([0, 0])), StrictArray(np.array([1, 1]))), 1.0)
    assert get(x)[0, 1] == 3


@pytest.mark.peers
def test_what_we_know_of_cupy_is_so():
    cupy = pytest.importorskip("cupy", reason="pip install cupy-cuda13x")
    if cupy.__version__ != strict.API["version"]:
        pytest.skip(f"the file describes CuPy {strict.API['version']}, installed is {cupy.__version__}")
    assert cupy_api.read(cupy, np)["methods"] == strict.API["methods"]
    assert cupy_api.read(cupy, np)["functions"].items() >= strict.API["functions"].items()
