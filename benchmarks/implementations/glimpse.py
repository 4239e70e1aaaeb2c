"""A retina."""

import torch

from implementations import grid_sample

F = torch.nn.functional


def retina(x, loc, size, patches, factor, read, pool):
    (N, C, H, W), coarse = x.shape, []
    for k in range(patches):
        n = size * factor**k
        zoom = torch.tensor([[n / W, 0], [0, n / H]], dtype=x.dtype).expand(N, 2, 2)
        grid = F.affine_grid(torch.cat([zoom, loc[:, :, None]], 2), (N, C, n, n), align_corners=False)
        coarse.append(pool(read(x, grid, align_corners=False), factor**k))
    return torch.stack(coarse, 1)


def torch_retina(x, loc, *, size, patches=1, factor=2):
    return retina(x, loc, size, patches, factor, F.grid_sample, F.avg_pool2d)


def offsets(n, N, dtype):
    return (torch.arange(n, dtype=dtype) + 0.5 - n / 2) * 2 / N


def torch_offsets(x, loc, *, size, patches=1, factor=2):
    """Places as sums of the location and offsets; blocks by a mean over axes."""
    (_, _, H, W), made = x.shape, []
    for s in (factor**k for k in range(patches)):
        dx, dy = offsets(size * s, W, x.dtype), offsets(size * s, H, x.dtype)
        grid = torch.stack(torch.broadcast_tensors(loc[:, 0, None, None] + dx, loc[:, 1, None, None] + dy[:, None]), -1)
        patch = grid_sample.torch_gathered(x, grid, align_corners=False)
        made.append(patch.unflatten(3, (size, s)).unflatten(2, (size, s)).mean((3, 5)))
    return torch.stack(made, 1)
