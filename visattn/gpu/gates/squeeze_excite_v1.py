"""Squeeze-and-excitation as Numba CUDA kernels: what one thread does, in Python.

Pixels are the work: one block has one channel of one image, and its threads take pixels t, t + THREADS, …, squeeze
them into a mean, and later scale them.  Between the two, one block an image multiplies by both matrices: a thread has
channels, or hidden units, of its own.
"""

import math

from numba import cuda, float32

from visattn.gpu._device import contiguous, empty
from visattn.gpu._numba import THREADS, block_sum, exp
from visattn.ops.gates.squeeze_excite import Cache


@cuda.jit
def squeeze(x, z):
    part = cuda.shared.array(THREADS, float32)
    n, c, t, pixels = cuda.blockIdx.x, cuda.blockIdx.y, cuda.threadIdx.x, x.shape[2]

    #= z = x.mean(axis=(2, 3))                         # (N, C)            (2)
    total = float32(0)
    for i in range(t, pixels, THREADS):
        total += x[n, c, i]
    total = block_sum(part, total)
    if t == 0:
        z[n, c] = total / float32(pixels)


@cuda.jit
def excite(z, w1, w2, h, s):
    n, t, channels, units = cuda.blockIdx.x, cuda.threadIdx.x, w1.shape[1], w1.shape[0]

    #= h = np.maximum(z @ w1.T, 0)                     # (N, M)
    for m in range(t, units, THREADS):
        a = float32(0)
        for c in range(channels):
            a += z[n, c] * w1[m, c]
        h[n, m] = float32(0) if a < float32(0) else a               # NaN stays NaN
    cuda.syncthreads()                                              # all of h is there

    #= s, _ = sigmoid.forward(h @ w2.T)                # (N, C)            (3)
    for c in range(t, channels, THREADS):
        b = float32(0)
        for m in range(units):
            b += h[n, m] * w2[c, m]
        e = exp(-abs(b))
        s[n, c] = (float32(1) if b >= float32(0) else e) / (float32(1) + e)


@cuda.jit
def scale(x, s, y):
    n, c = cuda.blockIdx.x, cuda.blockIdx.y

    #= y = s[:, :, None, None] * x                     # (N, C, H, W)      (4)
    for i in range(cuda.threadIdx.x, x.shape[2], THREADS):
        y[n, c, i] = s[n, c] * x[n, c, i]


@cuda.jit
def gate_gradient(dy, x, s, db):
    part = cuda.shared.array(THREADS, float32)
    n, c, t = cuda.blockIdx.x, cuda.blockIdx.y, cuda.threadIdx.x

    #= ds = (dy * x).sum(axis=(2, 3))                  # (N, C)
    ds = float32(0)
    for i in range(t, x.shape[2], THREADS):
        ds += dy[n, c, i] * x[n, c, i]
    ds = block_sum(part, ds)

    #= db = ds * s * (1 - s)                           # (N, C)
    if t == 0:
        db[n, c] = ds * s[n, c] * (float32(1) - s[n, c])


@cuda.jit
def squeeze_gradient(db, w1, w2, h, da, dz):
    n, t, channels, units = cuda.blockIdx.x, cuda.threadIdx.x, w1.shape[1], w1.shape[0]

    #= da = (db @ w2) * (h > 0)                        # (N, M)
    for m in range(t, units, THREADS):
        dh = float32(0)
        for c in range(channels):
            dh += db[n, c] * w2[c, m]
        da[n, m] = dh if h[n, m] > float32(0) else float32(0)
    cuda.syncthreads()

    #= dz = da @ w1                                    # (N, C)
    for c in range(t, channels, THREADS):
        one = float32(0)
        for m in range(units):
            one += da[n, m] * w1[m, c]
        dz[n, c] = one


@cuda.jit
def weight_gradients(db, da, z, h, dw1, dw2):
    i = cuda.grid(1)
    if i < dw1.size:
        m, c = i // z.shape[1], i % z.shape[1]                      # one thread for each weight and its mirror image
        #= dw2 = db.T @ h                                  # (C, M)
        #= dw1 = da.T @ z                                  # (M, C)
        one, two = float32(0), float32(0)
        for n in range(z.shape[0]):
            one += da[n, m] * z[n, c]
            two += db[n, c] * h[n, m]
        dw1[m, c] = one
        dw2[c, m] = two


@cuda.jit
def scale_gradient(dy, s, dz, dx):
    n, c, pixels = cuda.blockIdx.x, cuda.blockIdx.y, dy.shape[2]

    #= dx = s[:, :, None, None] * dy + dz[:, :, None, None] / HW
    for i in range(cuda.threadIdx.x, pixels, THREADS):
        dx[n, c, i] = s[n, c] * dy[n, c, i] + dz[n, c] / float32(pixels)


def forward(x, w1, w2):
    x, w1, w2 = map(contiguous, (x, w1, w2))
    (N, C, H, W), M = x.shape, len(w1)
    z, h, s = empty((N, C), x.dtype), empty((N, M), x.dtype), empty((N, C), x.dtype)
    y = empty((N, C, H * W), x.dtype)
    if N and C:
        its = x.reshape(N, C, H * W)
        squeeze[(N, C), THREADS](its, z)
        excite[N, THREADS](z, w1, w2, h, s)
        scale[(N, C), THREADS](its, s, y)
    return y.reshape(x.shape), Cache(x, w1, w2, z, h, s)


def backward(dy, cache):
    x, w1, w2, z, h, s = cache
    (N, C, H, W), M = x.shape, len(w1)
    db, da, dz = (empty(like.shape, x.dtype) for like in (s, h, z))
    dx, dw1, dw2 = empty((N, C, H * W), x.dtype), empty(w1.shape, x.dtype), empty(w2.shape, x.dtype)
    gradients = contiguous(dy).reshape(N, C, H * W)
    if N and C:
        gate_gradient[(N, C), THREADS](gradients, x.reshape(N, C, H * W), s, db)
        squeeze_gradient[N, THREADS](db, w1, w2, h, da, dz)
        scale_gradient[(N, C), THREADS](gradients, s, dz, dx)
    if M * C:
        weight_gradients[math.ceil(M * C / THREADS), THREADS](db, da, z, h, dw1, dw2)
    return dx.reshape(x.shape), dw1, dw2
