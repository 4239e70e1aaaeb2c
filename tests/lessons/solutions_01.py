"""Exercises of lesson 1, solved; and for each the mistakes that its judge must not let through."""

import numpy as np

from visattn.ops import attention


def mean_backward(do, cache):
    p, v = cache
    return do @ v.T, p.T @ do


def mean_backward_untransposed(do, cache):
    p, v = cache
    return do @ v.T, np.linalg.pinv(p) @ do


def log_softmax_backward(dy, y):
    return (dy - np.exp(y) * dy.sum(axis=-1, keepdims=True),)


def log_softmax_backward_as_softmax(dy, y):
    p = np.exp(y)
    return (p * (dy - (dy * p).sum(axis=-1, keepdims=True)),)


def unit_backward(dy, cache):
    y, length = cache
    return ((dy - y * (y * dy).sum(axis=-1, keepdims=True)) / length,)


def unit_backward_length_held_fixed(dy, cache):
    _, length = cache
    return (dy / length,)


def self_backward(do, cache):
    dq, dk, dv = attention.backward(do, cache)
    return (dq + dk + dv,)


def self_backward_values_alone(do, cache):
    return (attention.backward(do, cache)[2],)


def tempered_backward(do, cache):
    q, tau, inner = cache
    dr, dk, dv = attention.backward(do, inner)
    return np.exp(tau) * dr, dk, dv, (dr * np.exp(tau) * q).sum()


def tempered_backward_without_the_outer_factor(do, cache):
    q, _, inner = cache
    dr, dk, dv = attention.backward(do, inner)
    return dr, dk, dv, (dr * q).sum()


def distance_backward(da, cache):
    q, k = cache
    dq = da @ k - q * da.sum(axis=1, keepdims=True)
    dk = da.T @ q - k * da.sum(axis=0)[:, None]
    return dq, dk


def distance_backward_as_a_product(da, cache):
    q, k = cache
    return da @ k, da.T @ q


def way_out_forward(x):
    top = np.maximum(x.max(axis=-1, keepdims=True), 0)
    e = np.exp(x - top)
    p = e / (np.exp(-top) + e.sum(axis=-1, keepdims=True))
    return p, p


def way_out_forward_shifted_without_the_one(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    p = e / (1 + e.sum(axis=-1, keepdims=True))
    return p, p


def way_out_backward(dp, p):
    return (p * (dp - (dp * p).sum(axis=-1, keepdims=True)),)


def way_out_backward_renormalised(dp, p):
    mean = (dp * p).sum(axis=-1, keepdims=True) / p.sum(axis=-1, keepdims=True)
    return (p * (dp - mean),)
