"""What the Numba kernels (version 1) share; in Numba's simulator every CUDA thread is a Python thread."""

import math

from numba import config, cuda

THREADS = 8 if config.ENABLE_CUDASIM else 128       # of a block: a power of two
exp = math.exp


@cuda.jit(device=True)
def block_sum(part, value):
    """The sum of `value` over the threads of the block, for all of them; `part` is shared, THREADS long."""
    t = cuda.threadIdx.x
    cuda.syncthreads()                              # whoever still reads `part` from before
    part[t] = value
    cuda.syncthreads()
    half = THREADS // 2
    while half > 0:
        if t < half:
            part[t] += part[t + half]
        cuda.syncthreads()
        half //= 2
    return part[0]


@cuda.jit(device=True)
def block_max(part, value):
    """The largest `value` over the threads of the block, for all of them."""
    t = cuda.threadIdx.x
    cuda.syncthreads()
    part[t] = value
    cuda.syncthreads()
    half = THREADS // 2
    while half > 0:
        if t < half:
            part[t] = max(part[t], part[t + half])
        cuda.syncthreads()
        half //= 2
    return part[0]
