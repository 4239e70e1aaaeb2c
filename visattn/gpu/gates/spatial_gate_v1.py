"""CBAM's spatial gate as Numba CUDA kernels: what one thread does, in Python.

Each thread computes one pixel of one image.  The gate of a pixel needs the two maps of those around it, which other
threads make, in other blocks as well: no thread can wait for them, and only the end of a kernel says that all are done.
So the pool is one kernel, and the convolution with the gate another; backward the same way, and a third for dw, whose
threads have a weight each.

Reads x twice, and its maps once for each of the 7 × 7 taps, as version 2 does.
"""

from numba import cuda, float32

from visattn.gpu._device import contiguous, empty
from visattn.gpu._numba import THREADS, exp
from visattn.ops._windows import slide
from visattn.ops.gates.spatial_gate import Cache
from visattn.ops.primitives import conv2d


@cuda.jit
def pool(x, even, wins, d):
    N, C, H, W = x.shape
    pixel = cuda.grid(1)
    if pixel < N * H * W:
        n, i, j = pixel // (H * W), pixel // W % H, pixel % W

        #= maxima, wins = largest(x, 1, ties)
        most, which = x[n, 0, i, j], 0
        for c in range(1, C):
            value = x[n, c, i, j]
            if value > most or (value != value and most == most):           # a NaN is larger than any number
                most, which = value, c
        for c in range(C):
            value = x[n, c, i, j]
            wins[n, c, i, j] = (value == most or value != value) if even else c == which

        #= d = np.stack([x.mean(axis=1), maxima], axis=1)              # (N, 2, H, W)
        total = float32(0)
        for c in range(C):
            total += x[n, c, i, j]
        d[n, 0, i, j] = total / float32(C)
        d[n, 1, i, j] = most


@cuda.jit
def convolve_and_scale(x, d, w, s, y):
    N, C, H, W = x.shape
    Kh, Kw = w.shape[2], w.shape[3]
    pixel = cuda.grid(1)
    if pixel < N * H * W:
        n, i, j = pixel // (H * W), pixel // W % H, pixel % W

        #= a, conv = conv2d.forward(d, w, padding=(Kh // 2, Kw // 2))  # (N, 1, H, W)
        a = float32(0)
        for k in range(Kh):
            for l in range(Kw):
                r, q = i + k - Kh // 2, j + l - Kw // 2
                if 0 <= r < H and 0 <= q < W:
                    a += w[0, 0, k, l] * d[n, 0, r, q] + w[0, 1, k, l] * d[n, 1, r, q]

        #= s, _ = sigmoid.forward(a)                                   # (N, 1, H, W)      (3)
        e = exp(-abs(a))
        gate = (float32(1) if a >= float32(0) else e) / (float32(1) + e)
        s[n, 0, i, j] = gate

        #= y = s * x                                                   # (N, C, H, W)
        for c in range(C):
            y[n, c, i, j] = gate * x[n, c, i, j]


@cuda.jit
def reduce_channels(dy, x, s, da):
    N, C, H, W = x.shape
    pixel = cuda.grid(1)
    if pixel < N * H * W:
        n, i, j = pixel // (H * W), pixel // W % H, pixel % W

        #= ds = (dy * x).sum(axis=1, keepdims=True)                    # (N, 1, H, W)
        ds = float32(0)
        for c in range(C):
            ds += dy[n, c, i, j] * x[n, c, i, j]

        #= da = ds * s * (1 - s)
        gate = s[n, 0, i, j]
        da[n, 0, i, j] = ds * gate * (float32(1) - gate)


@cuda.jit
def spread(dy, wins, s, da, w, dx):
    N, C, H, W = dy.shape
    Kh, Kw = w.shape[2], w.shape[3]
    pixel = cuda.grid(1)
    if pixel < N * H * W:
        n, i, j = pixel // (H * W), pixel // W % H, pixel % W

        #= dd, dw = conv2d.backward(da, conv)                          # (N, 2, H, W)
        mean, most = float32(0), float32(0)
        for k in range(Kh):
            for l in range(Kw):
                r, q = i - k + Kh // 2, j - l + Kw // 2                 # which pixel saw this one through the tap
                if 0 <= r < H and 0 <= q < W:
                    mean += w[0, 0, k, l] * da[n, 0, r, q]
                    most += w[0, 1, k, l] * da[n, 0, r, q]

        #= dx = s * dy + dd[:, :1] / x.shape[1] + share(dd[:, 1], wins, axis=1)
        winners = 0
        for c in range(C):
            winners += 1 if wins[n, c, i, j] else 0
        for c in range(C):
            share = most / float32(winners) if wins[n, c, i, j] else float32(0)
            dx[n, c, i, j] = s[n, 0, i, j] * dy[n, c, i, j] + mean / float32(C) + share


@cuda.jit
def weight_gradient(da, d, dw):
    N, H, W = d.shape[0], d.shape[2], d.shape[3]
    Kh, Kw = dw.shape[2], dw.shape[3]
    weight = cuda.grid(1)
    if weight < 2 * Kh * Kw:
        m, k, l = weight // (Kh * Kw), weight // Kw % Kh, weight % Kw

        #= dd, dw = conv2d.backward(da, conv)                          # (N, 2, H, W)
        total = float32(0)
        for n in range(N):
            for i in range(H):
                for j in range(W):
                    r, q = i + k - Kh // 2, j + l - Kw // 2
                    if 0 <= r < H and 0 <= q < W:
                        total += da[n, 0, i, j] * d[n, m, r, q]
        dw[0, m, k, l] = total


def forward(x, w, *, ties="first"):
    (N, _, H, W), (Kh, Kw) = x.shape, w.shape[2:]
    its, kernels = contiguous(x), contiguous(w)
    y, wins = empty(x.shape, x.dtype), empty(x.shape, bool)
    d, s = empty((N, 2, H, W), x.dtype), empty((N, 1, H, W), x.dtype)
    if grid := -(-N * H * W // THREADS):
        pool[grid, THREADS](its, ties == "even", wins, d)
        convolve_and_scale[grid, THREADS](its, d, kernels, s, y)
    return y, Cache(x, wins, conv2d.Cache(d, w, None, slide(d, (Kh, Kw), 1, (Kh // 2, Kw // 2)), 1), s)


def backward(dy, cache):
    x, wins, s = map(contiguous, (cache.x, cache.wins, cache.s))
    dy, d, w = map(contiguous, (dy, cache.conv.x, cache.conv.w))
    da, dx, dw = empty(s.shape, x.dtype), empty(x.shape, x.dtype), empty(w.shape, x.dtype)
    if grid := -(-s.size // THREADS):
        reduce_channels[grid, THREADS](dy, x, s, da)
        spread[grid, THREADS](dy, wins, s, da, w, dx)
    weight_gradient[-(-w.size // THREADS), THREADS](da, d, dw)
    return dx, dw
