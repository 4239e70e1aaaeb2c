"""Layer normalisation on a GPU.  layernorm_v1.py reads like the NumPy; layernorm.cu tells the rest of the story.

    version 1   Numba: one block a row, means through shared memory; one thread a column for dg and db
    version 2   CUDA C++: warp shuffles, each pass reads the row again; dg and db with atomics
    version 3   the row stays in registers: read once; dg and db in the same pass as dx, in a fixed order of additions;
                rows too long for that (8,192 forward, 4,096 backward) go the way of 2, without atomics
"""

from visattn.gpu._device import Source, blocks, contiguous, empty, zeros
from visattn.gpu._twin import HALF, twin
from visattn.gpu.primitives.softmax import power_of_two
from visattn.ops.primitives.layernorm import Cache, Params, example, init

__all__ = ["Cache", "Params", "backward", "example", "forward", "init"]

SHIPS = 3
cu = Source(__file__)


@twin(dtypes=HALF)
def forward(x, g, b, *, eps=1e-5, version=SHIPS):
    """y: each token normalised, scaled and shifted; see visattn.ops.layernorm."""
    x, g, b = map(contiguous, (x, g, b))
    y, n, rstd = empty(x.shape, x.dtype), empty(x.shape, x.dtype), empty((*x.shape[:-1], 1), x.dtype)
    rows, columns = rstd.size, x.shape[-1]
    lanes = 32 if columns <= 1024 else 256
    keep = power_of_two(columns / lanes)
    if version == 3 and keep <= 32:
        kernel, together = cu("layernorm_kept", Real=x.dtype, LANES=lanes, KEEP=keep), 256 // lanes
    else:
        kernel, together = cu("layernorm_reread", Real=x.dtype), 1
    kernel(blocks(rows, together), 256, x, g, b, y, n, rstd, rows, columns, float(eps))
    return y, Cache(n, rstd, g)


@twin(dtypes=HALF)
def backward(dy, cache, *, version=SHIPS):
    """dx = r (dn - mean dn - n mean(dn ⊙ n)), dg = Σ dy ⊙ n, db = Σ dy; see visattn.ops.layernorm."""
    dy, n, rstd, g = map(contiguous, (dy, *cache))
    dx, rows, columns = empty(dy.shape, dy.dtype), rstd.size, len(g)
    shares = min(-(-rows // 32), 512)                               # of the rows: 32 or more in each
    lanes = 32 if columns <= 256 else 256
    hold = power_of_two(columns / lanes)
    if version == 3 and hold <= 16:
        sums = empty((2, shares, columns), "float32")
        kernel = cu("layernorm_backward_kept", Real=dy.dtype, LANES=lanes, HOLD=hold)
        kernel(shares, 256, dy, n, rstd, g, dx, sums, rows, columns)
        return dx, *add(sums, dy.dtype)
    cu("layernorm_backward_reread", Real=dy.dtype)(blocks(rows, 1), 256, dy, n, rstd, g, dx, rows, columns)
    grid = (blocks(columns, 256), shares)
    if version == 3:
        sums = empty((2, shares, columns), "float32")
        cu("layernorm_weights_shares", Real=dy.dtype)(grid, 256, dy, n, sums, rows, columns)
        return dx, *add(sums, dy.dtype)
    dg, db = zeros(columns, "float32"), zeros(columns, "float32")
    cu("layernorm_weights_atomic", Real=dy.dtype)(grid, 256, dy, n, dg, db, rows, columns)
    return dx, dg.astype(dy.dtype, copy=False), db.astype(dy.dtype, copy=False)


def add(sums, dtype):
    """(dg, db): the shares' sums (2, shares, columns) added up."""
    _, shares, columns = sums.shape
    dg, db = empty(columns, dtype), empty(columns, dtype)
    cu("layernorm_add_shares", Real=dtype)((blocks(columns, 32), 2), 256, sums, dg, db, shares, columns)
    return dg, db
