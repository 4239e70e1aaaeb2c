"""Attention as Numba CUDA kernels: what one thread does, in Python.

Three kernels, one for each line of the NumPy: a thread computes one score, a thread one row of the softmax, a thread
one number of the output.  Between them the map lies in global memory.  Backward has the same three shapes.
"""

import math

import numpy as np
from numba import cuda, float32

from visattn.gpu._device import contiguous, empty, ones, zeros
from visattn.gpu._numba import THREADS, exp
from visattn.ops._broadcast import unbroadcast
from visattn.ops.pairs.attention import Cache, _allowed

INFINITY = np.float32(np.inf)
ZERO, ONE = np.float32(0), np.float32(1)


@cuda.jit
def score(q, k, scale, softcap, bias, u, a):
    """One thread, one score; softcap 0 is none."""
    i = cuda.grid(1)
    if i < a.size:
        _, T, S = a.shape
        b, t, s = i // (T * S), i // S % T, i % S
        #= a = (scale * q) @ k.swapaxes(-1, -2)                        # (*B, T, S)
        sum = float32(0)
        for d in range(q.shape[2]):
            sum += scale * q[b, t, d] * k[b, s, d]
        if softcap > ZERO:
            #= u = np.tanh(a / softcap)                                # (*B, T, S)
            u[b, t, s] = math.tanh(sum / softcap)
            #= a = softcap * u
            sum = softcap * u[b, t, s]
        a[b, t, s] = sum + bias[b, t, s]


@cuda.jit
def softmax_row(p, allowed):
    """One thread, one row: scores become weights."""
    i = cuda.grid(1)
    B, T, S = p.shape
    if i < B * T:
        b, t = i // T, i % T
        #= p, _ = softmax.forward(a if bias is None else a + bias, mask=allowed) if a.shape[-1] else (a, None)
        largest = -INFINITY
        for s in range(S):
            if allowed[b, t, s]:
                largest = max(largest, p[b, t, s])
        total = float32(0)
        for s in range(S):
            if allowed[b, t, s]:
                total += exp(p[b, t, s] - largest)
        for s in range(S):
            p[b, t, s] = exp(p[b, t, s] - largest) / total if allowed[b, t, s] else ZERO


@cuda.jit
def weigh(p, v, allowed, scale, o):
    """One thread, one number of the output: the values of one column under the weights of one row."""
    i = cuda.grid(1)
    if i < o.size:
        _, T, E = o.shape
        b, t, e = i // (T * E), i // E % T, i % E
        #= o = weigh(p, v, allowed)                                    # (*B, T, E)            (1)
        sum = float32(0)
        for s in range(p.shape[2]):
            if allowed[b, t, s]:                    # what is not allowed may be NaN
                sum += p[b, t, s] * v[b, s, e]
        o[b, t, e] = scale * sum


@cuda.jit
def weigh_turned(p, x, allowed, scale, y):
    """The same with rows and columns of the map exchanged: a thread goes down a column of it."""
    i = cuda.grid(1)
    if i < y.size:
        _, S, E = y.shape
        b, s, e = i // (S * E), i // E % S, i % E
        #= dv = weigh(p.swapaxes(-1, -2), do, turned)                  # (*B, S, E)
        #= dk = scale * weigh(da.swapaxes(-1, -2), q, turned)          # (*B, S, D)
        sum = float32(0)
        for t in range(p.shape[1]):
            if allowed[b, t, s]:
                sum += p[b, t, s] * x[b, t, e]
        y[b, s, e] = scale * sum


@cuda.jit
def softmax_backward_row(da, p, allowed):
    """One thread, one row: dp becomes da."""
    i = cuda.grid(1)
    B, T, S = p.shape
    if i < B * T:
        b, t = i // T, i % T
        #= da, = softmax.backward(dp, softmax.Cache(p, mask, -1))
        mean = float32(0)
        for s in range(S):
            if allowed[b, t, s]:
                mean += da[b, t, s] * p[b, t, s]
        for s in range(S):
            da[b, t, s] = (da[b, t, s] - mean) * p[b, t, s] if allowed[b, t, s] else ZERO


def forward(q, k, v, bias=None, *, mask=None, causal=None, scale=None, softcap=None):
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    p = empty((*q.shape[:-1], k.shape[-2]), q.dtype)
    u = None if softcap is None else empty(p.shape, p.dtype)
    allowed = _allowed(mask, bias, causal, p)
    everywhere = repeated(ones((), bool) if allowed is None else allowed, p)
    added = repeated(zeros((), p.dtype) if bias is None else bias, p)
    run(score, p.size, three(q), three(k), np.float32(scale), np.float32(softcap or 0), added,
        three(p if u is None else u), three(p))
    run(softmax_row, p.size and p.size // p.shape[-1], three(p), everywhere)
    o = empty((*q.shape[:-1], v.shape[-1]), v.dtype)
    run(weigh, o.size, three(p), three(v), everywhere, ONE, three(o))
    return o, Cache(q, k, v, bias, u, p, allowed, scale)


def backward(do, cache):
    q, k, v, bias, u, p, mask, scale = cache
    allowed = repeated(ones((), bool) if mask is None else mask, p)
    dq, dk, dv, da = (empty(x.shape, x.dtype) for x in (q, k, v, p))
    run(weigh_turned, dv.size, three(p), three(do), allowed, ONE, three(dv))
    run(score, da.size, three(do), three(v), ONE, ZERO, repeated(zeros((), p.dtype), p), three(da), three(da))
    run(softmax_backward_row, p.size and p.size // p.shape[-1], three(da), three(p), allowed)
    dbias = () if bias is None else (unbroadcast(da, bias.shape),)
    if u is not None:
        da = da * (1 - u**2)
    run(weigh, dq.size, three(da), three(k), allowed, np.float32(scale), three(dq))
    run(weigh_turned, dk.size, three(da), three(q), allowed, np.float32(scale), three(dk))
    return dq, dk, dv, *dbias


def run(kernel, count, *args):
    """`kernel` with a thread for each of `count`."""
    if count:
        kernel[-(-count // THREADS), THREADS](*args)


def three(x):
    """x with one leading axis."""
    return contiguous(x).reshape(-1, *x.shape[-2:]) if x.size else x.reshape(0, *x.shape[-2:])


def repeated(x, p):
    """x as large as the map, (B, T, S)."""
    return three(np.broadcast_to(x, p.shape).copy())
