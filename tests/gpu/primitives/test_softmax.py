"""Softmax: what is true of its kernels in particular."""

import numpy as np
import parity
import pytest

from visattn import gpu

VERSIONS = (2, 3)


def masked(rng, shape, axis=-1):
    """Scores and a mask with rows in which nothing takes part, one element does, or all do."""
    mask = rng.random(shape) < 0.7
    rows = np.moveaxis(mask, axis, -1)
    rows[0] = False
    rows[1] = False
    rows[1, ..., -1] = True
    rows[2] = True
    return (rng.normal(0, 3, shape),), {"mask": mask, "axis": axis}


# One element; a warp's row; the longest that a warp keeps; a block's; too long for registers.
@pytest.mark.parametrize("columns", [1, 33, 1024, 1025, 5000, 20000])
@pytest.mark.parametrize("version", VERSIONS)
def test_rows_of_any_length(rng, columns, version):
    parity.agree("softmax", (rng.normal(0, 3, (11, columns)),), version=version)
    if columns > 1:
        parity.agree("softmax", *masked(rng, (5, columns)), version=version)


@pytest.mark.parametrize("turn", [0, 1, 5])
@pytest.mark.parametrize("version", VERSIONS)
def test_many_rows_in_any_order_of_threads(rng, version, turn):
    parity.agree("softmax", *masked(rng, (7, 43, 33)), version=version, turn=turn)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("columns", [33, 5000])
@pytest.mark.parametrize("version", VERSIONS)
def test_half_precision(rng, version, columns, dtype):
    parity.agree("softmax", *masked(rng, (5, columns)), version=version, dtype=dtype)


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
@pytest.mark.parametrize("version", VERSIONS)
def test_along_any_axis(rng, version, axis):
    parity.agree("softmax", *masked(rng, (4, 5, 9), axis), version=version)


@pytest.mark.parametrize("shape", [(9,), (5, 9), (4, 5, 9), (4, 1, 9), (4, 5, 1), ()], ids=str)
@pytest.mark.parametrize("version", VERSIONS)
def test_masks_are_broadcast(rng, version, shape):
    mask = np.asarray(rng.random(shape) < 0.6)
    parity.agree("softmax", (rng.normal(size=(4, 5, 9)),), {"mask": mask}, version=version)


@pytest.mark.parametrize("shape", [(0, 33), (2, 0, 3), (33,)], ids=str)
@pytest.mark.parametrize("version", VERSIONS)
def test_no_rows_and_one(rng, version, shape):
    parity.agree("softmax", (rng.normal(size=shape),), version=version)


@pytest.mark.parametrize("columns", [33, 1025, 20000])
@pytest.mark.parametrize("version", VERSIONS)
def test_nan_under_the_mask_does_not_leak(rng, version, columns):
    (x,), options = masked(rng, (5, columns))
    x, mask = x.astype(np.float32), options["mask"]
    dp = rng.normal(size=x.shape).astype(np.float32)
    answers = []
    for behind in (np.float32(0), np.float32(np.nan), np.float32(np.inf)):
        with gpu.use("host"):
            p, cache = gpu.softmax.forward(np.where(mask, x, behind), mask=mask, version=version)
            dx, = gpu.softmax.backward(np.where(mask, dp, behind), cache, version=version)
        answers.append(np.stack([p, dx]))
        assert not p[~mask].any()
        assert not dx[~mask].any()
        assert not p[0].any()                                       # nothing takes part there
    np.testing.assert_array_equal(answers[1], answers[0])
    np.testing.assert_array_equal(answers[2], answers[0])


@pytest.mark.parametrize("version", VERSIONS)
def test_large_scores_do_not_overflow(rng, version):
    parity.agree("softmax", (rng.normal(0, 3, (5, 33)) + np.array([[0], [80], [-80], [3e4], [-3e4]]),),
                 version=version)


@pytest.mark.parametrize("version", VERSIONS)
def test_nan_stays_in_its_row(rng, version):
    x = rng.normal(size=(9, 33)).astype(np.float32)
    x[4, 7] = np.nan
    with gpu.use("host"):
        p, cache = gpu.softmax.forward(x, version=version)
        dx, = gpu.softmax.backward(np.ones_like(x), cache, version=version)
    for a in (p, dx):
        np.testing.assert_array_equal(np.isnan(a).all(1), np.arange(9) == 4)
        np.testing.assert_array_equal(np.isnan(a).any(1), np.arange(9) == 4)


@pytest.mark.parametrize("version", VERSIONS)
def test_strided_arrays(rng, version):
    (x,), options = masked(rng, (6, 33))
    wide = np.zeros((33, 12), np.float32)
    wide[:, ::2] = x.T
    mask = np.repeat(options["mask"], 2, axis=1)[:, ::2]
    with gpu.use("host"):
        p, cache = gpu.softmax.forward(wide[:, ::2].T, mask=mask, version=version)
        again, whole = gpu.softmax.forward(x.astype(np.float32), mask=options["mask"], version=version)
        np.testing.assert_array_equal(p, again)
        np.testing.assert_array_equal(gpu.softmax.backward(wide[:, ::2].T, cache, version=version)[0],
                                      gpu.softmax.backward(x.astype(np.float32), whole, version=version)[0])


@pytest.mark.parametrize(("shape", "axis"), [((4, 5), -1), ((3, 2, 4), 1), ((3, 1), -1), ((4, 9), 0)], ids=str)
def test_version_1_in_the_simulator(rng, shape, axis):
    parity.agree("softmax", *masked(rng, shape, axis), version=1, place="simulator")
    parity.agree("softmax", (rng.normal(size=shape),), {"axis": axis}, version=1, place="simulator")


def test_version_1_of_no_rows(rng):
    parity.agree("softmax", (rng.normal(size=(0, 3)),), version=1, place="simulator")
