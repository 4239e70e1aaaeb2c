"""A step of a long short-term memory on a GPU: sizes below, at and above a tile, both ways to multiply."""

import numpy as np
import parity
import pytest

from visattn import gpu, ops
from visattn.gpu import _device
from visattn.gpu.primitives import lstm_cell

CUDA = range(2, lstm_cell.SHIPS + 1)


def draw(N, D, E, seed=3):
    """Weights small enough that no gate is shut; larger ones are a test of their own."""
    rng = np.random.default_rng(seed)
    x, h, c, wx, wh, bx, bh = (rng.normal(size=shape) for shape in (
        (N, D), (N, E), (N, E), (4 * E, D), (4 * E, E), (4 * E,), (4 * E,)))
    return x, h, c, wx / D ** 0.5, wh / E ** 0.5, bx, bh


def kernels_of(call):
    """The names of the kernels that a call launched."""
    seen = []
    token = _device.watching.set(seen)
    try:
        call()
    finally:
        _device.watching.reset(token)
    return [launch.kernel for launch in seen]


@pytest.mark.parametrize("version", CUDA)
@pytest.mark.parametrize(("N", "D", "E"), [
    (1, 1, 1), (1, 7, 5), (2, 33, 8), (16, 32, 16), (17, 31, 9), (32, 5, 24), (33, 70, 19), (64, 64, 40)])
def test_sizes_below_at_and_above_a_tile(N, D, E, version):
    parity.agree("lstm_cell", draw(N, D, E), version=version, turn=7)


@pytest.mark.parametrize("version", CUDA)
@pytest.mark.parametrize("N", [1, 16, 19])
def test_half_precision(N, version):
    (h1, c1), cache, grads = parity.agree("lstm_cell", draw(N, 37, 11), version=version, dtype="float16", turn=1)
    assert {a.dtype for a in (h1, c1, cache.i, cache.r, *grads)} == {np.dtype("float16")}


@pytest.mark.parametrize("per", [1, 2, 4])
def test_any_number_of_sequences_with_any_number_a_thread(per, monkeypatch):
    """The kernel does not depend on the launcher's choice: blocks follow one another along the batch, too."""
    monkeypatch.setattr(lstm_cell, "rows_of", lambda N: 16 * per)
    monkeypatch.setitem(lstm_cell.FEW, "float32", 1000)
    assert "lstm_step" in kernels_of(lambda: parity.agree("lstm_cell", draw(131, 9, 13), version=3, turn=5))


def test_many_sequences_are_left_to_the_library():
    few, many = (tuple(a.astype(np.float32) for a in draw(N, 3, 5)) for N in (64, 65))
    with gpu.use("host"):
        assert kernels_of(lambda: gpu.lstm_cell.forward(*few)) == ["lstm_step"]
        assert kernels_of(lambda: gpu.lstm_cell.forward(*many)) == ["lstm_gates"]
        assert kernels_of(lambda: gpu.lstm_cell.forward(*few, version=2)) == ["lstm_gates"]
    half = tuple(a.astype(np.float16) for a in draw(17, 3, 5))
    with gpu.use("host"):
        assert kernels_of(lambda: gpu.lstm_cell.forward(*half)) == ["lstm_gates"]
    parity.agree("lstm_cell", draw(300, 3, 5), version=3)


@pytest.mark.parametrize("version", CUDA)
def test_gates_that_are_shut_or_wide_open(version):
    """z up to ±200: the exponential overflows for neither sign, and gates are 0 and 1."""
    x, h, c, wx, wh, bx, bh = draw(5, 4, 6)
    bx[:6], bx[6:12], bx[12:18], bx[18:] = 200, -200, 40, -40
    _, cache, grads = parity.agree("lstm_cell", (x, h, c, wx, wh, bx, bh), version=version)
    assert (cache.i == 1).all()
    assert (cache.f < 1e-30).all()
    assert all(np.isfinite(g).all() for g in grads)


@pytest.mark.parametrize("version", CUDA)
def test_a_sequence_of_nan_stays_alone(version):
    args = [a.astype(np.float32) for a in draw(21, 6, 10)]
    args[0][4] = np.nan
    with parity.running("host"):
        (h1, c1), _ = gpu.lstm_cell.forward(*args, version=version)
    assert np.isnan(h1[4]).all()
    assert np.isfinite(np.delete(h1, 4, 0)).all()
    assert np.isfinite(np.delete(c1, 4, 0)).all()


@pytest.mark.parametrize("version", CUDA)
def test_an_empty_batch_has_gradients_of_zero(version):
    args = [a.astype(np.float32) for a in draw(0, 3, 5)]
    with parity.running("host"):
        y, cache = gpu.lstm_cell.forward(*args, version=version)
        grads = gpu.lstm_cell.backward(y, cache, version=version)
    assert y[0].shape == y[1].shape == (0, 5)
    for g, a in zip(grads, args):
        np.testing.assert_array_equal(g, np.zeros_like(a))


@pytest.mark.parametrize("version", CUDA)
def test_views_are_read_right_and_stay_in_the_cache(version):
    x, h, c, wx, wh, bx, bh = (a.astype(np.float32) for a in draw(6, 8, 5))
    views = (x[::-1], h[:, ::-1], np.asfortranarray(c), np.asfortranarray(wx), wh[:, ::-1], bx[::-1], bh[::-1])
    dy = (h[::-1], np.asfortranarray(c))
    with parity.running("host"):
        y, cache = gpu.lstm_cell.forward(*views, version=version)
        grads = gpu.lstm_cell.backward(dy, cache, version=version)
    assert cache.x.x is views[0]
    assert cache.h.w is views[4]
    assert cache.c is views[2]
    expected, kept = ops.lstm_cell.forward(*views)
    for a, b in zip((*y, *grads), (*expected, *ops.lstm_cell.backward(dy, kept))):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


def test_the_gradients_of_the_two_biases_do_not_share_memory():
    args = [a.astype(np.float32) for a in draw(4, 3, 5)]
    with parity.running("host"):
        y, cache = gpu.lstm_cell.forward(*args)
        *_, dbx, dbh = gpu.lstm_cell.backward(y, cache)
    np.testing.assert_array_equal(dbx, dbh)
    assert not np.shares_memory(dbx, dbh)


@pytest.mark.parametrize("version", CUDA)
def test_every_order_of_threads_gives_the_same_bits(version):
    args = [a.astype(np.float32) for a in draw(35, 40, 17)]
    runs = []
    for turn in (0, 1, 5):
        with parity.running("host", turn):
            y, cache = gpu.lstm_cell.forward(*args, version=version)
            runs.append((*y, *gpu.lstm_cell.backward(y, cache, version=version)))
    for run in runs[1:]:
        for a, b in zip(runs[0], run):
            np.testing.assert_array_equal(a, b)
