// Each half of a warp fences for itself, then reads what the other half wrote.
//: caught race
//: launch grid 3 block 64 n 150
extern "C" __global__ void __launch_bounds__(64) fence_of_half_a_warp(const float* x, float* y, int n) {
    __shared__ float held[64];
    const int own = blockIdx.x * 64 + threadIdx.x;
    held[threadIdx.x] = own < n ? x[own] : 0.f;
#ifdef FAULT
    __syncwarp(threadIdx.x & 16 ? 0xffff0000u : 0x0000ffffu);
#else
    __syncwarp();
#endif
    if (own < n) y[own] = held[threadIdx.x ^ 16];
}
