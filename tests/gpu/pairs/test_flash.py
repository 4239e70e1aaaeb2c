"""FlashAttention's kernels: every size, option and precision against the reference, in both builds."""

import numpy as np
import parity
import pytest

from visattn import gpu
from visattn.gpu import _device
from visattn.gpu.pairs import flash

VERSIONS = [2, 3]                           # of float32; in half precision, where 4 differs from 3, all
HALF = list(range(2, flash.SHIPS + 1))
SIZES = {                                   # batch, query heads, key heads, queries, keys, columns of q and k, of v
    "one of each": ((), 1, 1, 1, 1, 1, 1),
    "odd": ((2,), 6, 3, 7, 11, 5, 3),
    "a token over a tile": ((), 2, 1, 65, 33, 33, 17),
    "above a tile": ((2, 1), 2, 2, 70, 131, 20, 36),
    "one query": ((2,), 4, 2, 1, 150, 32, 32),
    "one key": ((2,), 2, 1, 40, 1, 8, 9),
    "no key": ((2,), 2, 1, 5, 0, 8, 9),
    "no query": ((2,), 2, 1, 0, 5, 8, 9),
    "no batch": ((0,), 2, 1, 4, 5, 8, 9),
}
WIDTHS = [(40, 64), (96, 100), (33, 256), (256, 1)]         # of q and k, and of v


def arrays(batch, Gq, G, T, S, D, E, bias=None, seed=0):
    rng = np.random.default_rng(seed)
    sizes = (*batch, Gq, T, D), (*batch, G, S, D), (*batch, G, S, E)
    given = tuple(rng.normal(size=size) for size in sizes)
    return given if bias is None else (*given, rng.normal(size=bias))


def sparse(shape, seed=1):
    return np.random.default_rng(seed).random(shape) < 0.6


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("size", SIZES)
def test_any_size(size, version):
    parity.agree("flash", arrays(*SIZES[size]), version=version, turn=len(size))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("D", "E"), WIDTHS)
def test_any_width_of_head(D, E, version):
    parity.agree("flash", arrays((), 1, 1, 3, 4, D, E), version=version)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("causal", ["top_left", "bottom_right"])
@pytest.mark.parametrize(("T", "S"), [(9, 9), (70, 37), (37, 70), (7, 90)])
def test_causal_both_ways(T, S, causal, version):
    """And the gradient of a bias is 0 above the diagonal, there where no tile comes by, too."""
    parity.agree("flash", arrays((), 2, 1, T, S, 6, 5, bias=(2, T, S)), {"causal": causal}, version=version)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("shape", [(2, 4, 9, 11), (4, 9, 11), (1, 4, 1, 11), (2, 1, 9, 1), (1, 1, 1), (2, 1, 9, 11)])
def test_a_mask_or_bias_of_any_shape_that_fits(shape, version):
    """One number may serve all queries, all keys, all heads or the whole batch; some queries are left without a key."""
    args = arrays((2,), 4, 2, 9, 11, 6, 5, bias=shape)
    mask = sparse(shape)
    parity.agree("flash", args, {"mask": mask, "causal": "bottom_right", "scale": 0.3}, version=version, turn=5)


@pytest.mark.parametrize("size", [size for size in SIZES if size != "above a tile"])
def test_any_size_on_tensor_cores(size):
    parity.agree("flash", arrays(*SIZES[size]), version=4, dtype="bfloat16", turn=len(size))


@pytest.mark.parametrize("causal", ["top_left", "bottom_right"])
@pytest.mark.parametrize(("T", "S"), [(70, 37), (37, 130)])
def test_causal_on_tensor_cores(T, S, causal):
    options = {"causal": causal, "mask": sparse((1, 1, S))}
    parity.agree("flash", arrays((), 2, 1, T, S, 30, 16), options, version=4, dtype="bfloat16")


@pytest.mark.parametrize(("D", "E"), [(96, 100), (256, 129)])
def test_wide_heads_on_tensor_cores(D, E):
    parity.agree("flash", arrays((), 1, 1, 3, 40, D, E), version=4, dtype="bfloat16")


@pytest.mark.parametrize(("version", "dtype"), [(3, "float32"), (4, "float16")])
@pytest.mark.parametrize("options", [{}, {"causal": "top_left"}, {"causal": "bottom_right"}])
def test_few_queries_share_out_the_keys(options, version, dtype, monkeypatch):
    """And some shares hold no key that a query sees."""
    monkeypatch.setattr(flash, "share_out", lambda blocks, S: (64, 4))
    args = arrays((2,), 2, 1, 67, 250, 20, 30)
    mask = sparse((2, 1, 67, 250))
    mask[0, :, 3], mask[1, :, 5, :100] = False, False       # no key at all, and none in the first share
    launches = []
    token = _device.watching.set(launches)
    try:
        parity.agree("flash", args, {"mask": mask, **options}, version=version, dtype=dtype)
    finally:
        _device.watching.reset(token)
    assert "flash_merge" in {launch.kernel for launch in launches}


def test_how_keys_are_shared_out(monkeypatch):
    monkeypatch.setattr(flash, "multiprocessors", lambda: 100)
    assert flash.share_out(blocks=400, S=10_000) == (10_048, 1)             # there is work for all
    assert flash.share_out(blocks=8, S=10_000) == (448, 23)
    assert flash.share_out(blocks=1, S=300) == (320, 1)
    assert flash.share_out(blocks=0, S=0)[1] == 1


@pytest.mark.parametrize("version", VERSIONS)
def test_several_leading_axes(version):
    args = arrays((2, 3), 2, 1, 5, 6, 4, 3, bias=(3, 2, 5, 6))
    parity.agree("flash", args, {"mask": sparse((2, 1, 1, 5, 6))}, version=version)


@pytest.mark.parametrize("version", HALF)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(dtype, version):
    args = arrays((2,), 4, 2, 35, 70, 20, 30, bias=(4, 35, 70))
    options = {"mask": sparse((1, 35, 70)), "causal": "bottom_right"}
    parity.agree("flash", args, options, version=version, dtype=dtype)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")       # of the reference
@pytest.mark.parametrize(("version", "dtype"), [(2, "float32"), (3, "float32"), (4, "float16"), (4, "bfloat16")])
def test_nan_under_a_mask_leaks_nowhere(version, dtype):
    """Some keys, values and queries are NaN or infinite and each is seen by a few only: those few are NaN."""
    q, k, v = arrays((), 2, 1, 40, 70, 6, 5)
    mask = np.ones((1, 40, 70), bool)
    k[:, 3], v[:, 65], v[:, 4, 2] = np.nan, np.nan, np.inf
    mask[..., 3], mask[..., 65], mask[..., 4] = False, False, False
    mask[:, :2, 65], mask[:, 5, 4] = True, True
    mask[:, 39], q[:, 39] = False, np.nan                   # a query that sees nothing
    (o, lse), _, (dq, dk, dv) = parity.agree("flash", (q, k, v), {"mask": mask}, version=version, dtype=dtype)
    assert np.isnan(np.asarray(o[:, :2], float)).all()
    rest = np.delete(np.asarray(o, float), [0, 1, 5], axis=-2)
    assert np.isfinite(rest).all()
    assert all((a == 0).all() for a in (o[:, 39], dq[:, 39], dk[:, 3], dv[:, 3]))
    assert (lse[:, 39] == -np.inf).all()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_bias_of_minus_infinity_masks(version):
    args = arrays((), 2, 2, 6, 40, 4, 3, bias=(2, 6, 40))
    args[3][~sparse((2, 6, 40))] = -np.inf
    args[3][1, 2] = -np.inf
    args[1][:, 7], args[3][:, :, 7] = np.nan, -np.inf
    _, _, grads = parity.agree("flash", args, version=version)
    assert all(np.isfinite(g).all() for g in grads)
    assert (grads[3][args[3] == -np.inf] == 0).all()


@pytest.mark.parametrize("version", VERSIONS)
def test_nan_that_is_seen_goes_through(version):
    q, k, v = (a.astype("f4") for a in arrays((), 1, 1, 3, 40, 4, 3))
    k[0, 35, 1] = np.nan
    with parity.running("host"):
        (o, lse), _ = gpu.flash.forward(q, k, v, version=version)
    assert np.isnan(o).all()
    assert np.isnan(lse).all()


@pytest.mark.parametrize(("version", "dtype"), [(3, "float32"), (4, "float16")])
def test_a_real_size(version, dtype):
    parity.agree("flash", arrays((), 2, 1, 256, 256, 64, 64), {"causal": "top_left"}, version=version, dtype=dtype)


@pytest.mark.parametrize("version", VERSIONS)
def test_large_scores_and_any_layout(version):
    q, k, v = arrays((2,), 2, 1, 9, 40, 8, 8)
    q, k, v = 30 * np.moveaxis(q, 1, 2).copy(), k[..., ::-1], np.asfortranarray(v)
    parity.agree("flash", (np.moveaxis(q, 2, 1), k, v), version=version)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_same_bits_in_any_order_of_threads(version):
    args = [a.astype("f4") for a in arrays((), 2, 1, 70, 70, 8, 8)]
    found = []
    for turn in (0, 1, 9):
        with parity.running("host", turn):
            y, cache = gpu.flash.forward(*args, version=version)
            found.append([*y, *gpu.flash.backward(y, cache, version=version)])
    for other in found[1:]:
        assert all((a == b).all() for a, b in zip(found[0], other))


TINY = {
    "grouped": (arrays((2,), 2, 1, 3, 4, 3, 2, bias=(1, 2, 3, 4)), {"mask": sparse((2, 1, 3, 4))}),
    "top left": (arrays((), 1, 1, 5, 3, 2, 3), {"causal": "top_left"}),
    "bottom right": (arrays((), 2, 1, 5, 3, 2, 3), {"causal": "bottom_right", "scale": 0.4}),
    "no key": (arrays((), 1, 1, 2, 0, 2, 3), {}),
    "no query": (arrays((), 1, 1, 0, 2, 2, 3), {}),
    "no batch": (arrays((0,), 1, 1, 2, 2, 2, 3), {}),
    "one of each": (arrays((), 1, 1, 1, 1, 1, 1), {}),
}


@pytest.mark.parametrize("case", TINY)
def test_version_1_in_the_simulator(case):
    args, options = TINY[case]
    parity.agree("flash", args, options, version=1, place="simulator")


@pytest.mark.filterwarnings("ignore::RuntimeWarning")       # of the reference
def test_version_1_lets_no_nan_leak():
    q, k, v = arrays((), 1, 1, 3, 4, 2, 2)
    mask = np.ones((1, 3, 4), bool)
    mask[..., 1], k[:, 1], v[:, 1], mask[:, 2] = False, np.nan, np.inf, False
    _, _, grads = parity.agree("flash", (q, k, v), {"mask": mask}, version=1, place="simulator")
    assert all(np.isfinite(g).all() for g in grads)


def test_wider_heads_are_refused_with_the_way_out():
    args = arrays((), 1, 1, 2, 2, 257, 4)
    with parity.running("host"), pytest.raises(ValueError, match=r"at most 256 columns.*version=0"):
        gpu.flash.forward(*(a.astype("f4") for a in args))
