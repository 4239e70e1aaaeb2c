"""The spatial gate on a GPU: sizes below, at and above a tile, kernels of any odd size, ties, NaN, half precision."""

import ml_dtypes
import numpy as np
import parity
import pytest

from visattn import gpu, ops
from visattn.gpu import _device
from visattn.gpu.gates import spatial_gate

CUDA = range(2, spatial_gate.SHIPS + 1)


def draw(shape=(2, 3, 5, 7), kernel=(3, 5), seed=5):
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape), rng.normal(size=(1, 2, *kernel))


def tied(shape, seed=5):
    """After a ReLU: ties of zeros, some of them between all channels."""
    x, w = draw(shape, seed=seed)
    x = np.maximum(np.round(2 * x) / 2, 0)
    x[0, :, 0, 0] = 0
    return x, w


def same_choices(args, options, cache):
    """The winners and the geometry, which are no floating-point numbers, are those of the reference."""
    _, expected = ops.spatial_gate.forward(*args, **options)
    np.testing.assert_array_equal(cache.wins, expected.wins)
    assert cache.conv[2:] == expected.conv[2:]


@pytest.mark.parametrize("version", CUDA)
@pytest.mark.parametrize("ties", ["first", "even"])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 1, 17, 33), (3, 9, 16, 16), (1, 40, 35, 18), (2, 70, 1, 37)])
def test_sizes_below_at_and_above_a_tile(shape, ties, version):
    args = draw(shape)
    _, cache, _ = parity.agree("spatial_gate", args, {"ties": ties}, version=version, turn=7)
    same_choices([a.astype(np.float32) for a in args], {"ties": ties}, cache)


@pytest.mark.parametrize("version", CUDA)
@pytest.mark.parametrize(("dtype", "kind"), [("float16", np.float16), ("bfloat16", ml_dtypes.bfloat16)])
def test_half_precision(dtype, kind, version):
    args = draw((2, 9, 19, 21))
    for ties in ("first", "even"):
        y, cache, grads = parity.agree("spatial_gate", args, {"ties": ties}, version=version, dtype=dtype, turn=1)
        assert {a.dtype for a in (y, cache.conv.x, cache.s, *grads)} == {np.dtype(kind)}
        same_choices([a.astype(kind).astype(float) for a in args], {"ties": ties}, cache)


@pytest.mark.parametrize("version", CUDA)
def test_the_kernel_of_the_paper_also_where_it_is_larger_than_the_image(version):
    for shape in [(1, 5, 33, 17), (2, 2, 3, 2)]:
        parity.agree("spatial_gate", draw(shape, (7, 7)), version=version, turn=3)


@pytest.mark.parametrize("version", CUDA)
def test_a_kernel_too_large_for_shared_memory_takes_the_plain_kernels(version):
    tall = spatial_gate.WIDEST + 2
    with launches() as seen:
        parity.agree("spatial_gate", draw((1, 2, 5, 4), (tall, 1)), version=version)
    assert {launch.kernel for launch in seen} >= {"convolve_pixel", "weight_gradient"}


@pytest.mark.parametrize("version", CUDA)
@pytest.mark.parametrize("ties", ["first", "even"])
def test_ties_go_where_the_option_says(ties, version):
    args = tied((2, 21, 6, 19))
    _, cache, (dx, _) = parity.agree("spatial_gate", args, {"ties": ties}, version=version, turn=2)
    same_choices(args, {"ties": ties}, cache)
    assert cache.wins[0, :, 0, 0].sum() == (1 if ties == "first" else 21)
    assert np.isfinite(dx).all()


@pytest.mark.parametrize("version", CUDA)
@pytest.mark.parametrize("ties", ["first", "even"])
def test_nan_and_infinity_are_chosen_as_numpy_chooses_them(ties, version):
    x, w = (a.astype(np.float32) for a in draw((2, 19, 18, 5)))
    x[0, 9, 1, 2] = x[0, 4, 1, 2] = np.nan
    x[1, 7:9, 17, 4] = np.nan
    x[0, :, 6, 1] = -np.inf
    with parity.running("host"), np.errstate(invalid="ignore"):
        y, cache = gpu.spatial_gate.forward(x, w, ties=ties, version=version)
        expected, kept = ops.spatial_gate.forward(x, w, ties=ties)
    np.testing.assert_array_equal(cache.wins, kept.wins)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))
    np.testing.assert_array_equal(np.isnan(cache.conv.x), np.isnan(kept.conv.x))
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("version", CUDA)
def test_more_channels_than_a_tile_keeps(version):
    """Beyond KEEP channels version 4 reads x again, beyond 512 the backward reads `wins` again."""
    for ties in ("first", "even"):
        _, cache, _ = parity.agree("spatial_gate", tied((1, 550, 2, 9)), {"ties": ties}, version=version)
        same_choices(tied((1, 550, 2, 9)), {"ties": ties}, cache)


@pytest.mark.parametrize("version", CUDA)
def test_an_empty_batch_has_a_gradient_of_the_weights(version):
    x, w = (a.astype(np.float32) for a in draw((0, 3, 4, 5)))
    with parity.running("host"):
        y, cache = gpu.spatial_gate.forward(x, w, version=version)
        dx, dw = gpu.spatial_gate.backward(y, cache, version=version)
    assert y.shape == dx.shape == cache.wins.shape == x.shape
    np.testing.assert_array_equal(dw, np.zeros_like(w))


@pytest.mark.parametrize("version", CUDA)
def test_views_are_read_right_and_stay_in_the_cache(version):
    x, w = (a.astype(np.float32) for a in draw((2, 5, 18, 7)))
    turned, kernel = x.swapaxes(2, 3)[:, ::-1], w[..., ::-1]
    dy = np.flip(turned, 0)
    with parity.running("host"):
        y, cache = gpu.spatial_gate.forward(turned, kernel, version=version)
        grads = gpu.spatial_gate.backward(dy, cache, version=version)
        straight, kept = gpu.spatial_gate.forward(turned.copy("C"), kernel.copy("C"), version=version)
        others = gpu.spatial_gate.backward(dy.copy("C"), kept, version=version)
    assert cache.x is turned
    assert cache.conv.w is kernel
    for a, b in zip((y, *grads), (straight, *others)):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("version", CUDA)
def test_every_order_of_threads_gives_the_same_bits(version):
    x, w = (a.astype(np.float32) for a in draw((3, 11, 20, 19)))
    runs = []
    for turn in (0, 1, 5):
        with parity.running("host", turn):
            y, cache = gpu.spatial_gate.forward(x, w, version=version)
            runs.append((y, *gpu.spatial_gate.backward(x, cache, version=version)))
    for run in runs[1:]:
        for a, b in zip(runs[0], run):
            np.testing.assert_array_equal(a, b)


def test_blocks_go_round_again_where_the_grid_is_small(monkeypatch):
    monkeypatch.setattr(spatial_gate, "blocks", lambda count, each: min(-(-count // each), 2))
    for version in CUDA:
        parity.agree("spatial_gate", draw((3, 5, 21, 33)), version=version, turn=4)


@pytest.mark.parametrize(("shape", "kernel"), [
    ((1, 60, 14, 14), "pool_convolve_and_scale"), ((1, 64, 56, 56), "pool_convolve_and_scale"),
    ((1, 256, 56, 56), "convolve_and_scale"), ((1, 512, 7, 7), "pool_convolve_and_scale")])
def test_what_ships_moves_the_fewer_bytes(shape, kernel, monkeypatch):
    launched = []
    monkeypatch.setattr(_device.Kernel, "__call__", lambda self, *args, **options: launched.append(self.name))
    x, w = np.zeros(shape, np.float32), np.zeros((1, 2, 7, 7), np.float32)
    with gpu.use("host"):
        gpu.spatial_gate.forward(x, w)
    assert launched[-1] == kernel


@pytest.mark.parametrize("ties", ["first", "even"])
def test_the_numba_kernels_in_the_simulator(ties):
    args = tied((1, 3, 3, 4))
    _, cache, _ = parity.agree("spatial_gate", args, {"ties": ties}, version=1, place="simulator")
    same_choices(args, {"ties": ties}, cache)


def test_the_numba_kernels_on_odd_shapes_and_on_nothing():
    parity.agree("spatial_gate", draw((2, 2, 1, 5), (1, 3)), version=1, place="simulator")
    x, w = (a.astype(np.float32) for a in draw((0, 3, 4, 5)))
    with parity.running("simulator"):
        y, cache = gpu.spatial_gate.forward(x, w)
        assert not gpu.spatial_gate.backward(y, cache)[1].any()


class launches:
    """The launches within a block."""

    def __enter__(self):
        self.seen = []
        self.token = _device.watching.set(self.seen)
        return self.seen

    def __exit__(self, *error):
        _device.watching.reset(self.token)
