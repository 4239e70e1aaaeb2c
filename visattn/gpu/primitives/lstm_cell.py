"""One step of a long short-term memory on a GPU; lstm_cell.cu tells the story.

    version 2   two products by cuBLAS, and one kernel for all that follows them; backward one kernel, then products
    version 3   products and gates in one kernel, for few sequences; for many, where cuBLAS is ahead, as 2

There is no Numba kernel.  bfloat16 is not taken, as CuPy has no product of it.
"""

from visattn.gpu._device import Source, blocks, contiguous, empty
from visattn.gpu._twin import twin
from visattn.ops.primitives import linear
from visattn.ops.primitives.lstm_cell import Cache, Params, example, init

__all__ = ["Cache", "Params", "backward", "example", "forward", "init"]

SHIPS = 3
FEW = {"float32": 64, "float16": 16}            # sequences, up to which the products are our own
cu = Source(__file__)


@twin(dtypes=("float32", "float16"))
def forward(x, h, c, wx, wh, bx, bh, *, version=SHIPS):
    """(h′, c′): the next hidden state and the next memory; see visattn.ops.lstm_cell."""
    (N, D), E = x.shape, h.shape[1]
    h1, c1, i, f, g, o, r = made = tuple(empty((N, E), x.dtype) for _ in range(7))
    memory, biases = contiguous(c), (contiguous(bx), contiguous(bh))
    if version == 3 and FEW[str(x.dtype)] >= N:
        rows = rows_of(N)
        cu("lstm_step", Real=x.dtype, PER=rows // 16)(
            (-(-E // 8), -(-N // rows)), 128, contiguous(x), contiguous(h), memory, contiguous(wx),
            contiguous(wh), *biases, *made, N, D, E)
    else:
        zx, zh = contiguous(x @ wx.T), contiguous(h @ wh.T)
        cu("lstm_gates", Real=x.dtype)(blocks(N * E, 256), 256, zx, zh, *biases, memory, *made, N, E)
    return (h1, c1), Cache(linear.Cache(x, wx, bx), linear.Cache(h, wh, bh), c, i, f, g, o, r)


@twin(dtypes=("float32", "float16"))
def backward(dy, cache, *, version=SHIPS):
    """(dx, dh, dc, dwx, dwh, dbx, dbh); see visattn.ops.lstm_cell."""
    (x, wx, _), (h, wh, _) = cache[:2]
    N, E = h.shape
    dz, dc = empty((N, 4 * E), h.dtype), empty((N, E), h.dtype)
    cu("lstm_gates_backward", Real=h.dtype)(blocks(N * E, 256), 256, *map(contiguous, (*dy, *cache[2:])), dz, dc, N, E)
    db = dz.sum(0)                                      # of both biases
    return dz @ wx, dz @ wh, dc, dz.T @ x, dz.T @ h, db, db.copy()


def rows_of(N):
    """Sequences of a block: the least that holds them all, as each row of blocks reads the weights again."""
    return 16 if N <= 16 else 32 if N <= 32 else 64
