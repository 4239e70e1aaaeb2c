// What the kernels share: how a number is read and written, and what the threads of a warp or block do together.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#ifndef Real
#define Real float
#endif

#define MINUS_INFINITY __int_as_float(0xff800000)
#define ALL_LANES 0xffffffffu

// `Real` is what the arrays hold; every kernel computes in float.
__device__ inline float load(float x) { return x; }
__device__ inline float load(__half x) { return __half2float(x); }
__device__ inline float load(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ inline void store(float* to, float x) { *to = x; }
__device__ inline void store(__half* to, float x) { *to = __float2half(x); }
__device__ inline void store(__nv_bfloat16* to, float x) { *to = __float2bfloat16(x); }

// Every lane of the warp gets the sum, the largest: five exchanges with ever nearer neighbours.
__device__ inline float warp_sum(float x) {
    for (int by = 16; by > 0; by /= 2) x += __shfl_xor_sync(ALL_LANES, x, by);
    return x;
}
__device__ inline float warp_max(float x) {
    for (int by = 16; by > 0; by /= 2) x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, by));
    return x;
}

// Every thread of the block gets the sum, the largest.  `part` is shared memory, one float per warp; the number of
// threads is a multiple of 32.
__device__ inline float block_sum(float x, float* part) {
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    x = warp_sum(x);
    __syncthreads();                                  // whoever still reads `part` from before
    if (lane == 0) part[warp] = x;
    __syncthreads();
    return warp_sum(lane < warps ? part[lane] : 0.f);
}
__device__ inline float block_max(float x, float* part) {
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    x = warp_max(x);
    __syncthreads();
    if (lane == 0) part[warp] = x;
    __syncthreads();
    return warp_max(lane < warps ? part[lane] : MINUS_INFINITY);
}
