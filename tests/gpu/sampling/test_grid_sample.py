"""Grid sampling: all rungs, all modes and paddings; the pixels that are read are the reference's own."""

import numpy as np
import parity
import pytest

from visattn import gpu, ops
from visattn.gpu import _device, _kernels

MODES = [(mode, padding, align) for mode in ("bilinear", "nearest") for padding in ("zeros", "border", "reflection")
         for align in (False, True)]
SIZES = {                                               # N, C, H, W, Ho, Wo
    "all differ": (2, 3, 4, 6, 5, 7),
    "beyond a strip": (2, 35, 5, 9, 7, 11),
    "one of each": (1, 1, 1, 1, 1, 1),
    "one row": (3, 2, 1, 5, 4, 1),
    "one column": (1, 33, 6, 1, 3, 5),
    "magnified": (1, 2, 2, 3, 17, 19),
    "no image": (0, 2, 3, 4, 5, 6),
}


def arrays(rng, size, reach=1.2):
    N, C, H, W, Ho, Wo = SIZES[size]
    return rng.normal(size=(N, C, H, W)), rng.uniform(-reach, reach, size=(N, Ho, Wo, 2))


def options(mode, padding, align):
    return {"mode": mode, "padding": padding, "align_corners": align}


@pytest.mark.parametrize("chosen", MODES)
@pytest.mark.parametrize("version", [2, 3])
def test_agrees(chosen, version, rng):
    for turn, size in enumerate(SIZES):
        # one pixel wide, "align_corners" puts every point upon it: beyond, there is a kink
        if "one" not in size or not chosen[2]:
            parity.agree("grid_sample", arrays(rng, size), options(*chosen), version=version, turn=turn)


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("version", [2, 3])
def test_far_outside(padding, version, rng):
    args = arrays(rng, "all differ", reach=9)
    parity.agree("grid_sample", args, options("bilinear", padding, False), version=version)


def upon_pixels(H, W, align):
    """Every point upon a pixel, as far as float32 can say, and half-way between two; the outermost lie outside."""
    def axis(n):
        u = np.arange(-2, 2 * n + 2) / 2
        return ((u * 2 / max(n - 1, 1)) if align else (2 * u + 1) / n) - 1

    return np.stack(np.meshgrid(axis(W), axis(H)), axis=-1)[None].astype(np.float32)


def held_to_float32(args, chosen, version, rng, place="host"):
    """The reference in float32, exactly: the pixels, their weights, the derivatives of where a point is."""
    x, grid = (a.astype(np.float32) for a in args)
    y, cache = ops.grid_sample.forward(x, grid, **options(*chosen))
    dy = rng.normal(size=y.shape).astype(np.float32)
    dx, dgrid = ops.grid_sample.backward(dy, cache)
    with gpu.use(place):
        mine, kept = gpu.grid_sample.forward(x, grid, **options(*chosen), version=version)
        grads = gpu.grid_sample.backward(dy, kept, version=version)
    for name in cache._fields:
        np.testing.assert_array_equal(getattr(kept, name), getattr(cache, name), err_msg=name)
    for name, a, b in zip(("y", "dx", "dgrid"), (mine, *grads), (y, dx, dgrid)):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * max(1, abs(np.nan_to_num(b)).max()), err_msg=name)
    return kept, grads


@pytest.mark.parametrize("chosen", MODES)
@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(("H", "W"), [(5, 7), (3, 10)])
def test_at_the_kinks_as_the_reference(chosen, version, H, W, rng):
    held_to_float32((rng.normal(size=(1, 2, H, W)), upon_pixels(H, W, chosen[2])), chosen, version, rng)


@pytest.mark.parametrize("chosen", MODES)
@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.filterwarnings("ignore:invalid value")                     # NumPy's opinion of ∞ - ∞
def test_nan_and_infinity_in_the_grid(chosen, version, rng):
    x, grid = arrays(rng, "all differ")
    grid[0, 1, 2, 0], grid[1, 3, 4, 1], grid[1, 0, 0] = np.nan, np.nan, np.nan
    grid[0, 4, 4, 0], grid[0, 4, 5, 1] = 1e30, -1e30
    _, (dx, _) = held_to_float32((x, grid), chosen, version, rng)
    assert np.isfinite(dx).all()


@pytest.mark.parametrize("version", [2, 3])
def test_nan_in_a_pixel_stays_with_its_points(version, rng):
    x, grid = arrays(rng, "all differ")
    x[1, :, 2, 3] = np.nan
    held_to_float32((x, grid), ("bilinear", "zeros", False), version, rng)


def test_version_3_gives_the_same_bits_in_any_order(rng):
    """Hundreds of points upon a few pixels: their sum depends on the order, and here the order is fixed."""
    x, grid = (a.astype(np.float32) for a in arrays(rng, "magnified"))
    found = {}
    for version in (2, 3):
        for turn in (0, 1, 9):
            with parity.running("host", turn):
                y, cache = gpu.grid_sample.forward(x, grid, align_corners=False, version=version)
                found[version, turn] = gpu.grid_sample.backward(np.sqrt(np.abs(y)), cache, version=version)
    for turn in (1, 9):
        for a, b in zip(found[3, 0], found[3, turn]):
            np.testing.assert_array_equal(a, b)
    assert (found[2, 0][0] != found[2, 1][0]).any()


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("version", [2, 3])
def test_breaks_no_rule(version, mode, rng):
    args = arrays(rng, "all differ", reach=3)
    parity.agree("grid_sample", args, options(mode, "zeros", True), version=version, checked=True)


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_version_3_moves_what_it_says_where_every_tap_is_inside(mode, rng):
    x, grid = (a.astype(np.float32) for a in arrays(rng, "beyond a strip", reach=0.75))
    found = []
    token = _device.watching.set(found)
    try:
        with parity.running("host", checked=True):
            y, cache = gpu.grid_sample.forward(x, grid, **options(mode, "zeros", False))
            gpu.grid_sample.backward(y, cache)
    finally:
        _device.watching.reset(token)
    for launch in found:
        says = _kernels.read(launch.source)[launch.kernel].bytes(launch)
        assert abs(launch.counted.reads / says.reads - 1) < 0.01, launch.kernel
        assert launch.counted.writes == says.writes, launch.kernel


@pytest.mark.parametrize("version", [2, 3])
def test_any_strides(version, rng):
    x, grid = (a.astype(np.float32) for a in arrays(rng, "all differ"))
    dy = rng.normal(size=(2, 3, 5, 7)).astype(np.float32)
    turned = [np.ascontiguousarray(a.swapaxes(1, 2)).swapaxes(1, 2) for a in (x, grid, dy)]
    results = []
    for a, g, d in ((x, grid, dy), turned):
        with gpu.use("host"):
            y, cache = gpu.grid_sample.forward(a, g, align_corners=True, version=version)
            results.append((y, *gpu.grid_sample.backward(d, cache, version=version)))
    for a, b in zip(*results):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("chosen", MODES)
def test_version_1_in_the_simulator(chosen, rng):
    x, grid = rng.normal(size=(2, 2, 3, 4)), rng.uniform(-1.4, 1.4, size=(2, 2, 3, 2))
    parity.agree("grid_sample", (x, grid), options(*chosen), version=1, place="simulator")


@pytest.mark.filterwarnings("ignore:invalid value")
def test_version_1_with_nan_and_at_kinks(rng):
    grid = upon_pixels(2, 3, True)[:, 2:5, 1:7].copy()
    grid[0, 1, 1, 0] = np.nan
    for mode, padding in (("bilinear", "zeros"), ("bilinear", "reflection"), ("nearest", "border")):
        held_to_float32((rng.normal(size=(1, 1, 2, 3)), grid), (mode, padding, True), 1, rng, "simulator")
