// The lanes of one shuffle do not agree who takes part.
//: caught warp
//: launch grid 1 block 32 n 32
extern "C" __global__ void __launch_bounds__(32) differing_masks(const float* x, float* y, int n) {
#ifdef FAULT
    const unsigned mask = threadIdx.x < 8 ? 0xffffffffu : 0xffffff00u;
#else
    const unsigned mask = threadIdx.x < 8 ? 0x000000ffu : 0xffffff00u;
#endif
    y[threadIdx.x] = x[threadIdx.x] + __shfl_xor_sync(mask, x[threadIdx.x], 1);
}
