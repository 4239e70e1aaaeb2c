"""Every operator and every model, every law."""

import numpy as np
import pytest

from visattn import gradcheck, tree

SEEDS = range(3)


@pytest.mark.parametrize("seed", SEEDS)
def test_obeys_the_laws(op, seed):
    rng = np.random.default_rng(seed)
    args, options = op.example(rng)
    gradcheck.check(op, args, options, rng)


def test_example_moves_every_gradient(op, rng):
    """An example with a gate at zero, or one key, would make every law hold of nothing."""
    args, options = op.example(rng)
    *_, grads = gradcheck.call(op, args, options, rng)
    for path, g in tree.named_leaves(grads):
        assert np.abs(g).max() > 1e-6, f"the gradient of argument {path} is zero at the example"


def test_takes_read_only_and_strided_arrays(op, rng):
    """Nothing depends on how an array lies in memory."""
    args, options = op.example(rng)
    y, cache = op.forward(*args, **options)
    dy = tree.map(np.cos, y)
    grads = op.backward(dy, cache)

    strided = tree.freeze(tree.map(scattered, tuple(args)))
    y2, cache2 = op.forward(*strided, **options)
    grads2 = op.backward(tree.freeze(tree.map(scattered, dy)), cache2)
    for a, b in zip(tree.leaves((y, grads)), tree.leaves((y2, grads2)), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-12, atol=1e-12)


def scattered(a):
    """The same numbers, every other element of an array stored in Fortran's order and backwards."""
    a = np.asarray(a)
    if a.ndim == 0:
        return a
    wide = np.zeros(tuple(2 * n for n in a.shape), a.dtype, order="F")
    view = wide[tuple(slice(None, None, -2) for _ in a.shape)]
    view[...] = a
    return view


def test_nan_and_infinity_propagate(op, rng):
    """Whatever is not a number goes through and comes out, without an exception."""
    args, options = op.example(rng)
    for bad in (np.nan, np.inf, -np.inf):
        for i in range(len(args)):
            spoiled = tree.map(lambda a: a.copy(), tuple(args))
            for leaf in tree.leaves(spoiled[i]):
                leaf.flat[leaf.size // 2] = bad
            with np.errstate(all="ignore"):
                y, cache = op.forward(*spoiled, **options)
                op.backward(tree.map(np.ones_like, y), cache)
