"""Exercises of lesson 2, solved; and for each the mistakes that its judge must not let through."""

import numpy as np


def scale_backward(dy, cache):
    x, s = cache
    return s[:, :, None, None] * dy, (dy * x).sum(axis=(2, 3))


def scale_backward_mean_for_sum(dy, cache):
    x, s = cache
    return s[:, :, None, None] * dy, (dy * x).mean(axis=(2, 3))


def squeeze_backward(dz, shape):
    H, W = shape[2:]
    return (np.broadcast_to(dz[:, :, None, None], shape) / (H * W),)


def squeeze_backward_not_divided(dz, shape):
    return (np.broadcast_to(dz[:, :, None, None], shape),)


def hard_backward(ds, x):
    return (ds * (abs(x) < 3) / 6,)


def hard_backward_without_corners(ds, x):
    return (ds / 6,)


def top_backward(dm, cache):
    x, m = cache
    wins = x == m[:, None]
    return (wins * (dm / wins.sum(axis=1, dtype=dm.dtype))[:, None],)


def top_backward_to_each_in_full(dm, cache):
    x, m = cache
    return ((x == m[:, None]) * dm[:, None],)


def twice_backward(db, cache):
    z, z2, w1, w2, h, h2 = cache
    da, da2 = (db @ w2) * (h > 0), (db @ w2) * (h2 > 0)
    return da @ w1, da2 @ w1, da.T @ z + da2.T @ z2, db.T @ (h + h2)


def twice_backward_one_mask_for_both(db, cache):
    z, z2, w1, w2, h, h2 = cache
    da = (db @ w2) * (h > 0)
    return da @ w1, da @ w1, da.T @ (z + z2), db.T @ (h + h2)


def point_backward(dy, cache):
    x, w, s = cache
    da = (dy * x).sum(axis=1) * s * (1 - s)
    return s[:, None] * dy + w[:, None, None] * da[:, None], np.einsum("nhw,nchw->c", da, x)


def point_backward_gated_path_alone(dy, cache):
    x, _, s = cache
    da = (dy * x).sum(axis=1) * s * (1 - s)
    return s[:, None] * dy, np.einsum("nhw,nchw->c", da, x)


def pool_backward(dz, cache):
    x, w, p = cache
    dp = np.einsum("nc,nci->ni", dz, x)
    da = p * (dp - (p * dp).sum(axis=1, keepdims=True))
    dx = p[:, None] * dz[:, :, None] + da[:, None] * w[:, None]
    return dx, np.einsum("ni,nci->c", da, x)


def pool_backward_forgets_the_budget(dz, cache):
    x, w, p = cache
    da = p * np.einsum("nc,nci->ni", dz, x)
    dx = p[:, None] * dz[:, :, None] + da[:, None] * w[:, None]
    return dx, np.einsum("ni,nci->c", da, x)
