"""Squeeze-and-excitation: what is true of its kernels in particular."""

import numpy as np
import parity
import pytest

from visattn import gpu
from visattn.gpu import _device

VERSIONS = (2, 3)


def example(rng, N, C, M, H, W):
    return rng.normal(size=(N, C, H, W)), rng.normal(size=(M, C)), rng.normal(size=(C, M))


# One pixel, one channel; planes of a warp, odd and in packs; of a block, odd and in packs; more channels, more hidden
# units than a warp has lanes.
@pytest.mark.parametrize("sizes", [(3, 1, 1, 1, 1), (2, 5, 3, 7, 7), (3, 40, 9, 4, 6), (2, 3, 1, 35, 31),
                                   (1, 3, 2, 36, 40), (2, 7, 70, 1, 9)], ids=str)
@pytest.mark.parametrize("version", VERSIONS)
def test_planes_of_any_size(rng, sizes, version):
    parity.agree("squeeze_excite", example(rng, *sizes), version=version)


@pytest.mark.parametrize("turn", [1, 5])
@pytest.mark.parametrize("version", VERSIONS)
def test_in_any_order_of_threads(rng, version, turn):
    parity.agree("squeeze_excite", example(rng, 3, 40, 9, 4, 6), version=version, turn=turn)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("sizes", [(3, 5, 2, 7, 7), (1, 3, 2, 48, 48)], ids=str)
@pytest.mark.parametrize("version", VERSIONS)
def test_half_precision(rng, sizes, version, dtype):
    parity.agree("squeeze_excite", example(rng, *sizes), version=version, dtype=dtype)


@pytest.mark.parametrize("version", VERSIONS)
def test_no_images(rng, version):
    _, _, (_, dw1, dw2) = parity.agree("squeeze_excite", example(rng, 0, 5, 3, 4, 6), version=version)
    assert not dw1.any()
    assert not dw2.any()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_hidden_unit_at_zero_passes_no_gradient(rng, version):
    x, w1, w2 = example(rng, 2, 5, 3, 4, 6)
    w1[1] = 0
    _, cache, (_, dw1, _) = parity.agree("squeeze_excite", (x, w1, w2), version=version)
    assert not cache.h[:, 1].any()
    assert not dw1[1].any()


@pytest.mark.parametrize("version", VERSIONS)
def test_large_gates_do_not_overflow(rng, version):
    x, w1, w2 = example(rng, 2, 5, 3, 4, 6)
    parity.agree("squeeze_excite", (x, 1e3 * w1, w2), version=version)


@pytest.mark.parametrize("version", VERSIONS)
def test_nan_stays_in_its_image(rng, version):
    x, w1, w2 = (a.astype(np.float32) for a in example(rng, 3, 5, 3, 4, 6))
    x[1, 2, 3, 4] = np.nan
    with gpu.use("host"):
        y, cache = gpu.squeeze_excite.forward(x, w1, w2, version=version)
        dx, _, _ = gpu.squeeze_excite.backward(np.ones_like(x), cache, version=version)
    for a in (y, dx, cache.h, cache.s):
        flat = np.isnan(a).reshape(3, -1)
        np.testing.assert_array_equal(flat.all(1), [False, True, False])
        np.testing.assert_array_equal(flat.any(1), [False, True, False])


@pytest.mark.parametrize("version", VERSIONS)
def test_sums_over_pixels_do_not_overflow_in_half_precision(version):
    """Σ dy x is far above 65,504; what comes of it is not."""
    x = np.full((1, 2, 32, 32), 16, np.float16)
    w = np.full((1, 2), 2 ** -10, np.float16)
    with gpu.use("host"):
        _, cache = gpu.squeeze_excite.forward(x, w, w.T, version=version)
        dx, dw1, dw2 = gpu.squeeze_excite.backward(x, cache, version=version)
    s = np.float32(cache.s[0, 0])
    db = 16 * 16 * 1024 * s * (1 - s)
    np.testing.assert_allclose(dw2, db * np.float32(cache.h[0, 0]), rtol=2e-3)
    np.testing.assert_allclose(dw1, 2 * db * 2 ** -10 * 16, rtol=2e-3)
    np.testing.assert_allclose(dx, s * 16 + 2 * db * 2 ** -20 / 1024, rtol=2e-3)


@pytest.mark.parametrize("version", VERSIONS)
def test_strided_arrays(rng, version):
    x, w1, w2 = (a.astype(np.float32) for a in example(rng, 2, 5, 3, 4, 6))
    last = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)         # channels last in memory
    weights = (np.repeat(w1, 2, axis=1)[:, ::2], np.ascontiguousarray(w2.T).T)
    with gpu.use("host"):
        y, cache = gpu.squeeze_excite.forward(last, *weights, version=version)
        again, whole = gpu.squeeze_excite.forward(x, w1, w2, version=version)
        np.testing.assert_array_equal(y, again)
        for a, b in zip(gpu.squeeze_excite.backward(last, cache, version=version),
                        gpu.squeeze_excite.backward(x, whole, version=version), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("offset", "width", "pack"), [(0, 6, 4), (1, 6, 1), (4, 6, 4), (0, 5, 1)])
def test_loads_are_as_wide_as_planes_lie(rng, offset, width, pack):
    x, w1, w2 = (a.astype(np.float32) for a in example(rng, 2, 5, 3, 2 if width == 6 else 3, width))
    room = np.zeros(x.size + 8, np.float32)
    start = -room.ctypes.data % 16 // 4 + offset                    # in numbers, from where 16 bytes begin
    its = room[start:start + x.size].reshape(x.shape)
    its[...] = x
    token = _device.watching.set([])
    try:
        with parity.running("host", checked=True):
            y, _ = gpu.squeeze_excite.forward(its, w1, w2, version=3)
        launched = _device.watching.get()
    finally:
        _device.watching.reset(token)
    assert [one.defines["PACK"] for one in launched if "PACK" in one.defines] == [pack, pack]
    with gpu.use("host"):
        again, _ = gpu.squeeze_excite.forward(x, w1, w2, version=2)
    np.testing.assert_allclose(y, again, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("sizes", [(2, 5, 3, 3, 3), (0, 3, 2, 2, 2), (1, 1, 1, 1, 1), (1, 9, 10, 2, 3)], ids=str)
def test_version_1_in_the_simulator(rng, sizes):
    parity.agree("squeeze_excite", example(rng, *sizes), version=1, place="simulator")
