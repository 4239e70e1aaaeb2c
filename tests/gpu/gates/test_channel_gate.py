"""CBAM's channel gate: what is true of its kernels in particular."""

import numpy as np
import parity
import pytest

from visattn import gpu, ops

TIES = ("first", "even")


def example(rng, N, C, M, H, W):
    return rng.normal(size=(N, C, H, W)), rng.normal(size=(M, C)), rng.normal(size=(C, M))


def agree(args, ties, **how):
    """Agreement, and the same pixels win."""
    y, cache, grads = parity.agree("channel_gate", args, {"ties": ties}, version=2, **how)
    rounded = np.asarray(args[0]).astype(cache.x.dtype).astype(np.float64)         # which may tie what did not
    _, pool = ops.global_max_pool2d.forward(rounded, ties=ties)
    np.testing.assert_array_equal(cache.pool.wins, pool.wins)
    np.testing.assert_array_equal(cache.pool.y, cache.z[:, 1])
    return y, cache, grads


# One pixel, one channel; planes of a warp, odd and in packs; of a block, odd and in packs; more channels, more hidden
# units than a warp has lanes.
@pytest.mark.parametrize("sizes", [(3, 1, 1, 1, 1), (2, 5, 3, 7, 7), (3, 40, 9, 4, 6), (2, 3, 1, 35, 31),
                                   (1, 3, 2, 36, 40), (2, 7, 70, 1, 9)], ids=str)
@pytest.mark.parametrize("ties", TIES)
def test_planes_of_any_size(rng, sizes, ties):
    agree(example(rng, *sizes), ties)


@pytest.mark.parametrize("turn", [1, 5])
@pytest.mark.parametrize("ties", TIES)
def test_in_any_order_of_threads(rng, ties, turn):
    agree(example(rng, 3, 40, 9, 4, 6), ties, turn=turn)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("sizes", [(3, 5, 2, 7, 7), (1, 3, 2, 48, 48)], ids=str)
@pytest.mark.parametrize("ties", TIES)
def test_half_precision(rng, sizes, ties, dtype):
    agree(example(rng, *sizes), ties, dtype=dtype)


# The largest pixel of a plane is there several times: in one pack, in several of one lane, in several lanes and warps.
@pytest.mark.parametrize("pixels", [(3, 3), (4, 6), (31, 35), (36, 40)], ids=str)
@pytest.mark.parametrize("turn", [0, 1])
@pytest.mark.parametrize("ties", TIES)
def test_ties(rng, ties, pixels, turn):
    x, w1, w2 = example(rng, 2, 6, 3, *pixels)
    x = rng.integers(-3, 3, x.shape).astype(float)
    x[0, 0] = 0                                                     # as after a ReLU
    x[0, 1, -1, -1] = 5                                             # the last pixel alone
    x[0, 2, 0, 0] = x[0, 2, -1, -1] = 5
    agree((x, w1, w2), ties, turn=turn)


@pytest.mark.parametrize("pixels", [(4, 6), (31, 35)], ids=str)
@pytest.mark.parametrize("ties", TIES)
def test_nan_is_the_largest_and_stays_in_its_image(rng, ties, pixels):
    x, w1, w2 = (a.astype(np.float32) for a in example(rng, 3, 4, 3, *pixels))
    x[1, 0, 1, 2] = x[1, 0, 2, 1] = np.nan
    x[1, 0, 0, 0] = np.inf
    x[1, 1] = np.nan
    with gpu.use("host"):
        y, cache = gpu.channel_gate.forward(x, w1, w2, ties=ties)
        dx, _, _ = gpu.channel_gate.backward(np.ones_like(x), cache)
    _, pool = ops.global_max_pool2d.forward(x, ties=ties)
    np.testing.assert_array_equal(cache.pool.wins, pool.wins)
    for a in (y, dx, cache.h, cache.s):
        np.testing.assert_array_equal(np.isnan(a).reshape(3, -1).any(1), [False, True, False])
    assert np.isnan(y[1]).all()


@pytest.mark.parametrize("pixels", [(4, 6), (31, 35)], ids=str)
@pytest.mark.parametrize("ties", TIES)
def test_minus_infinity_can_be_the_largest(rng, ties, pixels):
    x, w1, w2 = (a.astype(np.float32) for a in example(rng, 2, 3, 2, *pixels))
    x[0, 1] = -np.inf
    with gpu.use("host"):
        _, cache = gpu.channel_gate.forward(x, w1, w2, ties=ties)
    _, pool = ops.global_max_pool2d.forward(x, ties=ties)
    np.testing.assert_array_equal(cache.pool.wins, pool.wins)
    assert cache.z[0, 1, 1] == -np.inf


@pytest.mark.parametrize("ties", TIES)
def test_no_images(rng, ties):
    _, _, (_, dw1, dw2) = agree(example(rng, 0, 5, 3, 4, 6), ties)
    assert not dw1.any()
    assert not dw2.any()


def test_hidden_units_at_zero_pass_no_gradient(rng):
    x, w1, w2 = example(rng, 2, 5, 3, 4, 6)
    w1[1] = 0
    _, cache, (_, dw1, _) = agree((x, w1, w2), "first")
    assert not cache.h[:, :, 1].any()
    assert not dw1[1].any()


def test_strided_arrays(rng):
    x, w1, w2 = (a.astype(np.float32) for a in example(rng, 2, 5, 3, 4, 6))
    last = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)         # channels last in memory
    weights = (np.repeat(w1, 2, axis=1)[:, ::2], np.ascontiguousarray(w2.T).T)
    with gpu.use("host"):
        y, cache = gpu.channel_gate.forward(last, *weights)
        again, whole = gpu.channel_gate.forward(x, w1, w2)
        np.testing.assert_array_equal(y, again)
        for a, b in zip(gpu.channel_gate.backward(last, cache), gpu.channel_gate.backward(x, whole), strict=True):
            np.testing.assert_array_equal(a, b)


def test_backward_reads_the_winners_of_any_cache(rng):
    """Also of the reference's: what forward kept is all that backward knows."""
    x, w1, w2 = (a.astype(np.float32) for a in example(rng, 2, 5, 3, 4, 6))
    x = np.round(x)
    for ties in TIES:
        _, cache = ops.channel_gate.forward(x, w1, w2, ties=ties)
        with gpu.use("host"):
            theirs = gpu.channel_gate.backward(x, cache)
        for a, b in zip(theirs, ops.channel_gate.backward(x, cache), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
