// A shuffle stands between the write and the read; lanes meet in it, but memory is not ordered by it.
//: caught race
//: launch grid 3 block 64 n 150
extern "C" __global__ void __launch_bounds__(64) shuffle_is_no_fence(const float* x, float* y, int n) {
    __shared__ float held[64];
    const int own = blockIdx.x * 64 + threadIdx.x;
    float mine = own < n ? x[own] : 0.f;
    held[threadIdx.x] = mine;
    float largest = fmaxf(mine, __shfl_xor_sync(0xffffffffu, mine, 1));
#ifndef FAULT
    __syncwarp();
#endif
    if (own < n) y[own] = largest + held[threadIdx.x ^ 1];
}
