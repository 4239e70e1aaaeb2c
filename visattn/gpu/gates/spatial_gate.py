"""CBAM's spatial gate on a GPU.  Start with spatial_gate_v1.py, which reads like the NumPy; spatial_gate.cu tells the
rest of the story.

    version 1   Numba: one thread a pixel, in two kernels: the pool; the convolution and the gate
    version 2   CUDA C++, three plain kernels: pool, convolution, gate
    version 3   warps share the channels of the pool; the convolution from shared memory, fused with the gate
    version 4   all in one kernel, which keeps channels of its tile in shared memory; where 3 moves fewer bytes, 3
"""

from visattn.gpu._device import Source, blocks, contiguous, empty, zeros
from visattn.gpu._twin import HALF, twin
from visattn.ops._windows import slide
from visattn.ops.gates.spatial_gate import Cache, Params, example, init
from visattn.ops.primitives import conv2d

__all__ = ["Cache", "Params", "backward", "example", "forward", "init"]

SHIPS = 4
TILE = 256                              # pixels that a block computes, one for each thread
WIDEST = 15                             # kernels beyond that are not staged in shared memory
SHARED = 63 << 10                       # bytes of a multiprocessor's shared memory: all cards since 2018 have them
cu = Source(__file__)


@twin(dtypes=HALF)
def forward(x, w, *, ties="first", version=SHIPS):
    """y: all channels of each pixel of x scaled by its gate; see visattn.ops.spatial_gate."""
    (N, C, H, W), (Kh, Kw) = x.shape, w.shape[2:]
    its, kernels, even = contiguous(x), contiguous(w), ties == "even"
    y, wins = empty(x.shape, x.dtype), empty(x.shape, bool)
    d, s = empty((N, 2, H, W), x.dtype), empty((N, 1, H, W), x.dtype)
    kernel, keep = defines(x, w)
    down, across = tiles(H, W)

    version = 2 if max(Kh, Kw) > WIDEST else version
    if version == 4 and fused_reads(C, H, W, Kh, Kw, keep) < staged_reads(C, H, W, Kh, Kw):
        cu("pool_convolve_and_scale", **kernel)(
            blocks(N * down * across, 1), TILE, its, kernels, wins, d, s, y, even, N, C, H, W, down, across,
            shared=keep * TILE * x.dtype.itemsize)
    elif version >= 3:
        cu("pool_shared", **kernel)(blocks(N * H * W, 32), 256, its, None if even else wins, d, N, C, H * W)
        cu("convolve_and_scale", **kernel)(
            blocks(N * down * across, 1), TILE, its, d, kernels, wins if even else None, s, y, N, C, H, W,
            down, across)
    else:
        cu("pool_pixel", **kernel)(blocks(N * H * W, 256), 256, its, wins, d, even, N, C, H * W)
        cu("convolve_pixel", **kernel)(blocks(N * H * W, 256), 256, d, kernels, s, N, H, W)
        cu("scale", **kernel)(blocks(N * C * H * W, 256), 256, its, s, y, N, C, H * W)
    return y, Cache(x, wins, conv2d.Cache(d, w, None, slide(d, (Kh, Kw), 1, (Kh // 2, Kw // 2)), 1), s)


@twin(dtypes=HALF)
def backward(dy, cache, *, version=SHIPS):
    """(dx, dw); see visattn.ops.spatial_gate."""
    x, wins, s = map(contiguous, (cache.x, cache.wins, cache.s))
    dy, d, w = map(contiguous, (dy, cache.conv.x, cache.conv.w))
    (N, C, H, W), (Kh, Kw) = x.shape, w.shape[2:]
    dx, dw = empty(x.shape, x.dtype), empty(w.shape, x.dtype)
    kernel, _ = defines(x, w)

    if version == 2 or max(Kh, Kw) > WIDEST:
        da = zeros((N, H + Kh - 1, W + Kw - 1), "float32")             # in a frame that stays 0
        cu("reduce_pixel", **kernel)(blocks(N * H * W, 256), 256, dy, x, s, da, N, C, H, W)
        cu("spread_pixel", **kernel)(blocks(N * H * W, 256), 256, dy, wins, s, da, w, dx, N, C, H, W)
        cu("weight_gradient", **kernel)(w.size, 256, da, d, dw, N, H, W)
    else:
        down, across = tiles(H, W)
        count = blocks(N * down * across, 1)
        da, parts = empty((N, H, W), "float32"), empty((count, w.size), "float32")
        cu("reduce_shared", **kernel)(blocks(N * H * W, 32), 256, dy, x, s, da, N, C, H * W)
        cu("spread_tile", **kernel)(
            count, TILE, dy, wins, s, da, d, w, dx, parts, N, C, H, W, down, across)
        cu("add_parts", **kernel)(w.size, 256, parts, dw, count)
    return dx, dw


def width(W):
    """Columns of a tile: a warp reads a row of 32 pixels at once, but a narrow image wants no halo."""
    return 32 if W > 16 else 16


def tiles(H, W):
    """(down, across): tiles that cover an image."""
    return -(-H // (TILE // width(W))), -(-W // width(W))


def seen(H, W, Kh, Kw):
    """Pixels that the tiles of an image look at, each with what surrounds it."""
    down, across = tiles(H, W)
    return (H + 2 * (Kh // 2) * (down - 1)) * (W + 2 * (Kw // 2) * (across - 1))


def fused_reads(C, H, W, Kh, Kw, keep):
    """Numbers of an image that version 4 reads."""
    return C * seen(H, W, Kh, Kw) + max(0, C - keep) * H * W


def staged_reads(C, H, W, Kh, Kw):
    """Numbers that version 3 reads."""
    return 2 * C * H * W + 2 * seen(H, W, Kh, Kw)


def defines(x, w):
    """(what the kernels are compiled for, KEEP): as many channels of a tile as fit into shared memory beside the maps
    and the weights."""
    wide, (Kh, Kw), real = width(x.shape[3]), w.shape[2:], x.dtype.itemsize
    beside = 4 * (2 * (TILE // wide + Kh - 1) * (wide + Kw - 1) + 2 * Kh * Kw)
    keep = max(0, SHARED - beside) // (32 * TILE) * (32 // real)             # 8 KiB at a time
    return {"Real": x.dtype, "ABOVE": Kh // 2, "BESIDE": Kw // 2, "WIDE": wide, "KEEP": keep}, keep
