"""Layer normalisation as Numba CUDA kernels: what one thread does, in Python.

One block computes one row, and its threads share the work: thread t takes features t, t + THREADS, …  Means are taken
over the block through shared memory, see `block_sum`.  dg and db are sums over the rows: there one thread has one
column and walks down it, beside its neighbours.

Reads x three times (mean, variance, answer), as version 2 does.
"""

import math

import numpy as np
from numba import cuda, float32

from visattn.gpu._device import contiguous, empty
from visattn.gpu._numba import THREADS, block_sum
from visattn.ops.primitives.layernorm import Cache


@cuda.jit
def layernorm_row(x, g, b, eps, y, n, rstd):
    part = cuda.shared.array(THREADS, float32)
    row, t, columns = cuda.blockIdx.x, cuda.threadIdx.x, x.shape[1]

    #= c = x - x.mean(-1, keepdims=True)                           # (*B, D)
    total = float32(0)
    for d in range(t, columns, THREADS):
        total += x[row, d]
    mean = block_sum(part, total) / float32(columns)

    #= rstd = 1 / np.sqrt((c * c).mean(-1, keepdims=True) + eps)   # (*B, 1)
    total = float32(0)
    for d in range(t, columns, THREADS):
        c = x[row, d] - mean
        total += c * c
    r = float32(1) / math.sqrt(block_sum(part, total) / float32(columns) + eps)
    if t == 0:
        rstd[row] = r

    #= n = c * rstd                                                # (*B, D)
    #= y = g * n + b                                               # (*B, D)
    for d in range(t, columns, THREADS):
        normal = (x[row, d] - mean) * r
        n[row, d] = normal
        y[row, d] = g[d] * normal + b[d]


@cuda.jit
def layernorm_backward_row(dy, n, rstd, g, dx):
    part = cuda.shared.array(THREADS, float32)
    row, t, columns = cuda.blockIdx.x, cuda.threadIdx.x, n.shape[1]

    #= dn = g * dy                                                 # (*B, D)
    along_one, along_n = float32(0), float32(0)
    for d in range(t, columns, THREADS):
        dn = g[d] * dy[row, d]
        along_one += dn
        along_n += dn * n[row, d]
    along_one = block_sum(part, along_one) / float32(columns)
    along_n = block_sum(part, along_n) / float32(columns)

    #= dx = rstd * (dn - dn.mean(-1, keepdims=True) - n * (dn * n).mean(-1, keepdims=True))
    for d in range(t, columns, THREADS):
        dx[row, d] = rstd[row] * (g[d] * dy[row, d] - along_one - n[row, d] * along_n)


@cuda.jit
def layernorm_weights_column(dy, n, dg, db):
    column = cuda.grid(1)
    if column < n.shape[1]:
        #= dg = (dy * n).reshape(-1, len(g)).sum(0)                    # (D,)
        #= db = dy.reshape(-1, len(g)).sum(0)                          # (D,)
        sum_g, sum_b = float32(0), float32(0)
        for row in range(n.shape[0]):
            sum_g += dy[row, column] * n[row, column]
            sum_b += dy[row, column]
        dg[column] = sum_g
        db[column] = sum_b


def forward(x, g, b, *, eps=1e-5):
    its = rows_of(x)
    y, n, rstd = empty(its.shape, x.dtype), empty(its.shape, x.dtype), empty(len(its), x.dtype)
    if len(its):
        layernorm_row[len(its), THREADS](its, contiguous(g), contiguous(b), np.float32(eps), y, n, rstd)
    return y.reshape(x.shape), Cache(n.reshape(x.shape), rstd.reshape(*x.shape[:-1], 1), g)


def backward(dy, cache):
    n, rstd, g = cache
    its, normal, columns = rows_of(dy), rows_of(n), len(g)
    dx, dg, db = empty(its.shape, dy.dtype), empty(columns, dy.dtype), empty(columns, dy.dtype)
    if len(its):
        layernorm_backward_row[len(its), THREADS](its, normal, rstd.reshape(-1), contiguous(g), dx)
    if columns:
        layernorm_weights_column[-(-columns // THREADS), THREADS](its, normal, dg, db)
    return dx.reshape(dy.shape), dg, db


def rows_of(x):
    """x as a matrix of tokens × features."""
    return contiguous(x.reshape(math.prod(x.shape[:-1]), x.shape[-1]))
