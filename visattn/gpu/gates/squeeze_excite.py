"""Squeeze-and-excitation on a GPU.  squeeze_excite_v1.py reads like the NumPy; squeeze_excite.cu tells the rest.

    version 1   Numba: one block a channel of an image for the passes over pixels, one block an image between them
    version 2   CUDA C++: a kernel for each line of the reference
    version 3   16 bytes a load where planes allow it, a warp for a small plane; the scaling pass computes the gates
"""

import numpy as np

from visattn.gpu._device import Source, blocks, contiguous, empty, here
from visattn.gpu._twin import HALF, twin
from visattn.ops.gates.squeeze_excite import Cache, Params, example, init

__all__ = ["Cache", "Params", "backward", "example", "forward", "init"]

SHIPS = 3
cu = Source(__file__)


@twin(dtypes=HALF)
def forward(x, w1, w2, *, version=SHIPS):
    """y (N, C, H, W): each channel scaled by its gate; see visattn.ops.squeeze_excite."""
    x, w1, w2 = map(contiguous, (x, w1, w2))
    (N, C, H, W), M = x.shape, len(w1)
    z, s, y = empty((N, C), x.dtype), empty((N, C), x.dtype), empty(x.shape, x.dtype)
    by_plane(cu, "squeeze_excite_squeeze", x, z, plain=version == 2)
    h = hidden(z, w1)
    if version == 2:
        cu("squeeze_excite_gates", Real=x.dtype)(blocks(N * C, 8), 256, h, w2, s, N, C, M)
        cu("squeeze_excite_scale", Real=x.dtype)(blocks(N * C, 1), 256, x, s, y, N * C, H * W)
    else:
        by_plane(cu, "squeeze_excite_gate_and_scale", x, h, w2, s, y, sizes=(C, M))
    return y, Cache(x, w1, w2, z, h, s)


@twin(dtypes=HALF)
def backward(dy, cache, *, version=SHIPS):
    """dx, dW₁, dW₂; see visattn.ops.squeeze_excite."""
    dy, x, w1, w2, z, h, s = map(contiguous, (dy, *cache))
    db, dx = empty(s.shape, "float32"), empty(x.shape, x.dtype)
    by_plane(cu, "squeeze_excite_gate_gradient", dy, x, s, db, plain=version == 2)
    dz, dw1, dw2 = through_the_matrices(db, w1, w2, z, h)
    by_plane(cu, "squeeze_excite_scale_gradient", dy, s, dz, dx, plain=version == 2)
    return dx, dw1, dw2


def hidden(z, w1):
    """h = δ(z W₁ᵀ) for every row of z: a warp for each number."""
    (rows, C), M = z.shape, len(w1)
    h = empty((rows, M), z.dtype)
    cu("squeeze_excite_hidden", Real=z.dtype)(blocks(rows * M, 8), 256, z, w1, h, rows, M, C)
    return h


def through_the_matrices(db, w1, w2, z, h):
    """(dz, dW₁, dW₂) from db, the gradient of h W₂ᵀ.  What is no answer stays float32."""
    da = product(db, w2, h)
    return product(da, w1), product(da, z, transposed=True), product(db, h, transposed=True)


def product(a, b, h=None, *, transposed=False):
    """a b, float32, and of it what stands where h > 0; or aᵀ b, in b's precision."""
    (inner, rows), columns = a.shape if transposed else a.shape[::-1], b.shape[1]
    made = empty((rows, columns), b.dtype if transposed else np.dtype("float32"))
    kernel = cu("squeeze_excite_product", Real=b.dtype, Result=made.dtype)
    kernel(blocks(rows * -(-columns // 32), 1), 256, a, b, h, made, rows, inner, columns, transposed)
    return made


def by_plane(source, name, *arrays, sizes=(), plain=False):
    """The kernel over the planes of the first array: a warp or a block for each, by their size; plain is a block, and
    a number for each load."""
    N, C, H, W = arrays[0].shape
    pixels = H * W
    pack = 1 if plain else packed([a for a in arrays if a is not None and a.ndim == 4], pixels)
    lanes = 256 if plain or pixels > 256 * pack else 32             # up to eight loads for each lane of a warp
    kernel = source(name, Real=arrays[0].dtype, LANES=lanes, PACK=pack)
    kernel(blocks(N * C, 256 // lanes), 256, *arrays, N * C, pixels, *sizes)


def packed(arrays, pixels):
    """How many pixels one load can take: 16 bytes of them, where planes are a whole number of such and lie so."""
    pack = 16 // max(a.dtype.itemsize for a in arrays)
    return 1 if pixels % pack or any(address(a) % 16 for a in arrays) else pack


def address(x):
    return x.data.ptr if here() == "cuda" else x.ctypes.data
