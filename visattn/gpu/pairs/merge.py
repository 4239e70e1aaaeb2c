"""Merge on a GPU: partial answers of flash joined by their log-sum-exp; merge.cu tells how.

    version 2   CUDA C++: one warp a query, its lanes along the parts and then along the columns
"""

from math import prod

from visattn.gpu._device import Source, blocks, contiguous, empty
from visattn.gpu._twin import HALF, twin
from visattn.ops.pairs.merge import Cache, example

__all__ = ["Cache", "backward", "example", "forward"]

SHIPS = 2
cu = Source(__file__)


@twin(dtypes=HALF)
def forward(o, lse, *, version=SHIPS):
    """(o, lse), (*B, T, E) and (*B, T): what attention to the keys of all K parts gives; see visattn.ops.merge."""
    *batch, K, T, E = o.shape
    kept, w = empty(o.shape, o.dtype), empty(lse.shape, lse.dtype)
    joined, joined_lse = empty((*batch, T, E), o.dtype), empty((*batch, T), lse.dtype)
    cu("merge", Real=o.dtype)(blocks(prod(batch) * T, 8), 256, contiguous(o), contiguous(lse), kept, w, joined,
                              joined_lse, prod(batch), K, T, E)
    return (joined, joined_lse), Cache(kept, w, joined)


@twin(dtypes=HALF)
def backward(dy, cache, *, version=SHIPS):
    """do, dlse; see visattn.ops.merge."""
    (dj, dlse), (o, w, joined) = dy, cache
    *batch, K, T, E = o.shape
    do, dlses = empty(o.shape, o.dtype), empty(w.shape, w.dtype)
    cu("merge_backward", Real=o.dtype)(blocks(prod(batch) * T, 8), 256, contiguous(dj), contiguous(dlse), contiguous(o),
                                       contiguous(w), contiguous(joined), do, dlses, prod(batch), K, T, E)
    return do, dlses
