"""Images read at points."""

import jax.numpy as jnp
import torch

from implementations import NotTaken


def torch_grid_sample(x, grid, *, mode="bilinear", padding="zeros", align_corners):
    return torch.nn.functional.grid_sample(x, grid, mode, padding, align_corners)


def bilinear(x, grid, padding, align_corners, from_the_middle):
    """Four pixels gathered, those outside times 0."""
    N, _, H, W = x.shape

    def place(g, n):
        if from_the_middle:
            return g * ((n - 1) / 2) + (n - 1) / 2 if align_corners else g * (n / 2) + (n - 1) / 2
        return (g + 1) / 2 * (n - 1) if align_corners else ((g + 1) * n - 1) / 2

    u, v = place(grid[..., 0], W), place(grid[..., 1], H)
    if padding == "border":
        u, v = jnp.clip(u, 0, W - 1), jnp.clip(v, 0, H - 1)
    elif padding != "zeros":
        raise NotTaken("reflection")
    left, top = jnp.floor(u), jnp.floor(v)
    y = 0
    rows = jnp.arange(N)[:, None, None]
    for dm in (0, 1):
        for dn in (0, 1):
            m, n = left + dm, top + dn
            weight = (u - left if dm else 1 - (u - left)) * (v - top if dn else 1 - (v - top))
            inside = (m >= 0) & (m < W) & (n >= 0) & (n < H)
            at = rows, jnp.clip(n, 0, H - 1).astype(int), jnp.clip(m, 0, W - 1).astype(int)
            pixel = x.transpose(0, 2, 3, 1)[at]                                 # (N, Ho, Wo, C)
            y = y + pixel * (weight * inside)[..., None]
    return y.transpose(0, 3, 1, 2)


def torch_gathered(x, grid, *, mode="bilinear", padding="zeros", align_corners):
    if mode != "bilinear" or padding == "reflection":
        raise NotTaken("nearest, reflection")
    (N, C, H, W), y = x.shape, 0
    u, v = ((grid[..., i] + 1) / 2 * (n - 1) if align_corners else ((grid[..., i] + 1) * n - 1) / 2
            for i, n in ((0, W), (1, H)))
    if padding == "border":
        u, v = u.clamp(0, W - 1), v.clamp(0, H - 1)
    left, top = u.floor(), v.floor()
    for dm in (0, 1):
        for dn in (0, 1):
            m, n = left + dm, top + dn
            weight = (u - left if dm else left + 1 - u) * (v - top if dn else top + 1 - v)
            inside = (m >= 0) & (m < W) & (n >= 0) & (n < H)
            at = n.clamp(0, H - 1).long() * W + m.clamp(0, W - 1).long()
            pixel = x.flatten(2).gather(2, at.flatten(1)[:, None].expand(N, C, -1)).unflatten(2, at.shape[1:])
            y = y + pixel * (weight * inside)[:, None]
    return y


def torch_rows_then_columns(x, grid, *, mode="bilinear", padding="zeros", align_corners):
    """Interpolated along x in two rows, then along y; zeros from a frame."""
    if mode != "bilinear" or padding != "zeros":
        raise NotTaken("nearest, border, reflection")
    N, _, H, W = x.shape
    framed = torch.nn.functional.pad(x, (1, 1, 1, 1)).permute(0, 2, 3, 1)
    u, v = (grid[..., i] * ((n - 1) / 2 if align_corners else n / 2) + (n - 1) / 2 for i, n in ((0, W), (1, H)))
    left, top = u.floor(), v.floor()
    s, t, rows = (u - left)[..., None], (v - top)[..., None], torch.arange(N)[:, None, None]

    def pixel(n, m):
        return framed[rows, (n + 1).clamp(0, H + 1).long(), (m + 1).clamp(0, W + 1).long()]

    above, below = (pixel(n, left) * (1 - s) + pixel(n, left + 1) * s for n in (top, top + 1))
    return (above + (below - above) * t).permute(0, 3, 1, 2)


def jax_gathered(x, grid, *, mode="bilinear", padding="zeros", align_corners):
    if mode != "bilinear":
        raise NotTaken("nearest")
    return bilinear(x, grid, padding, align_corners, False)


def jax_from_the_middle(x, grid, *, mode="bilinear", padding="zeros", align_corners):
    if mode != "bilinear":
        raise NotTaken("nearest")
    return bilinear(x, grid, padding, align_corners, True)
