"""CBAM's channel gate on a GPU: channel_gate.cu tells the story, squeeze_excite.py the one before it.

    version 2   CUDA C++: mean and maximum in one pass; the scaling pass computes the gates and marks who wins
"""

from visattn.gpu._device import Source, contiguous, empty
from visattn.gpu._twin import HALF, twin
from visattn.gpu.gates.squeeze_excite import by_plane, hidden, through_the_matrices
from visattn.ops.gates.channel_gate import Cache, Params, example, init
from visattn.ops.primitives import global_max_pool2d

__all__ = ["Cache", "Params", "backward", "example", "forward", "init"]

SHIPS = 2
cu = Source(__file__)


@twin(dtypes=HALF)
def forward(x, w1, w2, *, ties="first", version=SHIPS):
    """y (N, C, H, W): each channel scaled by its gate; see visattn.ops.channel_gate."""
    x, w1, w2 = map(contiguous, (x, w1, w2))
    N, (M, C) = len(x), w1.shape
    z, s = empty((N, 2, C), x.dtype), empty((N, C), x.dtype)
    y, wins = empty(x.shape, x.dtype), empty(x.shape, bool)
    first = empty((N, C), "int32") if ties == "first" else None
    by_plane(cu, "channel_gate_pool", x, z, first, sizes=(C,))
    h = hidden(z.reshape(2 * N, C), w1).reshape(N, 2, M)
    by_plane(cu, "channel_gate_scale", x, z, first, h, w2, s, y, wins, sizes=(C, M))
    return y, Cache(x, w1, w2, z, h, s, global_max_pool2d.Cache(z[:, 1], wins))


@twin(dtypes=HALF)
def backward(dy, cache, *, version=SHIPS):
    """dx, dW₁, dW₂; see visattn.ops.channel_gate."""
    dy, x, w1, w2, z, h, s, wins = map(contiguous, (dy, *cache[:-1], cache.pool.wins))
    N, (M, C) = len(x), w1.shape
    db, winners, dx = empty((2 * N, C), "float32"), empty((N, C), "float32"), empty(x.shape, x.dtype)
    by_plane(cu, "channel_gate_gate_gradient", dy, x, wins, s, db, winners, sizes=(C,))
    # One MLP served both vectors, so its gradients add: they are 2 N rows.
    dz, dw1, dw2 = through_the_matrices(db, w1, w2, z.reshape(2 * N, C), h.reshape(2 * N, M))
    by_plane(cu, "channel_gate_scale_gradient", dy, wins, s, dz, winners, dx, sizes=(C,))
    return dx, dw1, dw2
