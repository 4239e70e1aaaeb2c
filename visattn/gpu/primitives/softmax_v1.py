"""Softmax as a Numba CUDA kernel: what one thread does, in Python.

One block computes one row, and its threads share the work: thread t takes elements t, t + THREADS, …  What they find
they put into shared memory, where half of them add the other half's to their own, then a quarter, and so on.

Reads x three times (largest, sum, weights), as version 2 does.
"""

import numpy as np
from numba import cuda, float32

from visattn.gpu._device import contiguous, empty, ones
from visattn.gpu._numba import THREADS, block_max, block_sum, exp
from visattn.ops.primitives.softmax import Cache

INFINITY = np.float32(np.inf)


@cuda.jit
def softmax_row(x, mask, p):
    part = cuda.shared.array(THREADS, float32)
    row, t, columns = cuda.blockIdx.x, cuda.threadIdx.x, x.shape[1]

    #= p -= np.where(some, p.max(axis, keepdims=True), 0)
    largest = -INFINITY
    for s in range(t, columns, THREADS):
        if mask[row, s]:
            largest = max(largest, x[row, s])
    largest = block_max(part, largest)

    #= p /= np.where(some, p.sum(axis, keepdims=True), 1)
    total = float32(0)
    for s in range(t, columns, THREADS):
        if mask[row, s]:
            total += exp(x[row, s] - largest)
    total = block_sum(part, total)
    for s in range(t, columns, THREADS):
        p[row, s] = exp(x[row, s] - largest) / total if mask[row, s] else float32(0)


@cuda.jit
def softmax_backward_row(dp, p, mask, dx):
    part = cuda.shared.array(THREADS, float32)
    row, t, columns = cuda.blockIdx.x, cuda.threadIdx.x, p.shape[1]

    #= mean = np.einsum("...s,...s->...", np.moveaxis(dp, axis, -1), np.moveaxis(p, axis, -1))      # Σ_s dp_s p_s
    mean = float32(0)
    for s in range(t, columns, THREADS):
        if mask[row, s]:
            mean += dp[row, s] * p[row, s]
    mean = block_sum(part, mean)

    #= dx *= p
    for s in range(t, columns, THREADS):
        dx[row, s] = (dp[row, s] - mean) * p[row, s] if mask[row, s] else float32(0)


def forward(x, *, axis=-1, mask=None):
    mask = None if mask is None else np.broadcast_to(mask, x.shape)
    its, allowed = rows_of(x, axis), rows_of(mask, axis)
    p = empty(its.shape, x.dtype)
    if len(p):
        softmax_row[len(p), THREADS](its, ones(p.shape, bool) if mask is None else allowed, p)
    p = back(p, x, axis)
    return p, Cache(p, mask, axis)


def backward(dp, cache):
    p, mask, axis = cache
    its = rows_of(dp, axis)
    dx = empty(its.shape, p.dtype)
    if len(dx):
        allowed = ones(dx.shape, bool) if mask is None else rows_of(mask, axis)
        softmax_backward_row[len(dx), THREADS](its, rows_of(p, axis), allowed, dx)
    return (back(dx, p, axis),)


def rows_of(x, axis):
    """x as a matrix whose rows run along `axis`."""
    return None if x is None else contiguous(np.moveaxis(x, axis, -1).reshape(-1, x.shape[axis]))


def back(rows, like, axis):
    shape = np.moveaxis(like, axis, -1).shape
    return np.moveaxis(rows.reshape(shape), -1, axis)
