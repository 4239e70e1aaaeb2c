"""Layer normalisation: what is true of its kernels in particular."""

import numpy as np
import parity
import pytest

from visattn import gpu

VERSIONS = (2, 3)


def example(rng, *shape, mean=0.0):
    return rng.normal(mean, 2, shape), rng.normal(size=shape[-1]), rng.normal(size=shape[-1])


# One feature; less than a warp; more than a warp keeps in backward; more than it keeps in forward; more than a block
# keeps in backward, and in forward.
@pytest.mark.parametrize("shape", [(5, 1), (3, 31), (1, 257), (13, 257), (3, 1025), (5, 4097), (2, 8200)], ids=str)
@pytest.mark.parametrize("version", VERSIONS)
def test_rows_of_any_length(rng, shape, version):
    parity.agree("layernorm", example(rng, *shape), version=version)


# Several shares of the rows in backward, the last rows fewer than a block has warps.
@pytest.mark.parametrize("turn", [0, 1, 5])
@pytest.mark.parametrize("version", VERSIONS)
def test_many_rows_in_any_order_of_threads(rng, version, turn):
    parity.agree("layernorm", example(rng, 7, 43, 31), version=version, turn=turn)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("version", VERSIONS)
def test_half_precision(rng, version, dtype):
    parity.agree("layernorm", example(rng, 37, 257), version=version, dtype=dtype)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_variance_survives_a_large_mean(rng, version):
    """The mean of x² minus the square of the mean would have lost every digit."""
    parity.agree("layernorm", example(rng, 3, 257, mean=3e4), version=version)


@pytest.mark.parametrize("eps", [0.0, 0.5])
@pytest.mark.parametrize("version", VERSIONS)
def test_eps(rng, version, eps):
    parity.agree("layernorm", example(rng, 3, 31), {"eps": eps}, version=version)


@pytest.mark.parametrize("version", VERSIONS)
def test_equal_features_are_no_division_by_zero(rng, version):
    x, g, b = example(rng, 3, 31)
    x[1] = 7
    y, _, _ = parity.agree("layernorm", (x, g, b), version=version)
    np.testing.assert_array_equal(y[1], b.astype(np.float32))


@pytest.mark.parametrize("shape", [(0, 31), (2, 0, 31), (31,)], ids=str)
@pytest.mark.parametrize("version", VERSIONS)
def test_no_rows_and_one(rng, version, shape):
    _, _, (_, dg, db) = parity.agree("layernorm", example(rng, *shape), version=version)
    if 0 in shape:
        assert not dg.any()
        assert not db.any()


@pytest.mark.parametrize("version", VERSIONS)
def test_nan_stays_in_its_row(rng, version):
    x, g, b = (a.astype(np.float32) for a in example(rng, 9, 31))
    x[4, 7] = np.nan
    with gpu.use("host"):
        y, cache = gpu.layernorm.forward(x, g, b, version=version)
        dx, _, _ = gpu.layernorm.backward(np.ones_like(x), cache, version=version)
    rows = np.arange(9) == 4
    for a in (y, cache.n, cache.rstd, dx):
        np.testing.assert_array_equal(np.isnan(a).all(1), rows)
        np.testing.assert_array_equal(np.isnan(a).any(1), rows)


@pytest.mark.parametrize("version", VERSIONS)
def test_strided_arrays(rng, version):
    x, g, b = (a.astype(np.float32) for a in example(rng, 9, 31))
    wide, its = np.zeros((31, 18), np.float32), (np.repeat(g, 3)[::3], np.repeat(b, 2)[::2])
    wide[:, ::2] = x.T
    with gpu.use("host"):
        y, cache = gpu.layernorm.forward(wide[:, ::2].T, *its, version=version)
        again, whole = gpu.layernorm.forward(x, g, b, version=version)
        np.testing.assert_array_equal(y, again)
        for a, b in zip(gpu.layernorm.backward(wide[:, ::2].T, cache, version=version),
                        gpu.layernorm.backward(x, whole, version=version), strict=True):
            np.testing.assert_array_equal(a, b)


# Rows that a warp holds, a block holds, and nobody.
@pytest.mark.parametrize(("rows", "columns"), [(700, 31), (170, 257), (100, 4097)])
def test_version_3_always_adds_in_the_same_order(rng, rows, columns):
    x = rng.normal(size=(rows, columns)).astype(np.float32)
    g, answers = np.ones(columns, np.float32), {}
    for version in VERSIONS:
        for turn in (0, 1, 5):
            with parity.running("host", turn=turn):
                _, cache = gpu.layernorm.forward(x, g, g)
                answers[version, turn] = np.concatenate(gpu.layernorm.backward(x, cache, version=version)[1:])
    assert all((answers[3, turn] == answers[3, 0]).all() for turn in (1, 5))
    assert any((answers[2, turn] != answers[2, 0]).any() for turn in (1, 5)), "atomics add as they come"


@pytest.mark.parametrize("shape", [(2, 3, 5), (1, 9), (5, 1), (0, 3), (3,)], ids=str)
def test_version_1_in_the_simulator(rng, shape):
    parity.agree("layernorm", example(rng, *shape), {"eps": 0.1}, version=1, place="simulator")
