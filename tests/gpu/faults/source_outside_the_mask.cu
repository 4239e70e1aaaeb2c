// A lane asks one that takes no part in the shuffle.
//: caught warp
//: launch grid 1 block 32 n 32
extern "C" __global__ void __launch_bounds__(32) source_outside_the_mask(const float* x, float* y, int n) {
    const unsigned mask = threadIdx.x < 16 ? 0x0000ffffu : 0xffff0000u;
#ifdef FAULT
    y[threadIdx.x] = x[threadIdx.x] + __shfl_xor_sync(mask, x[threadIdx.x], 16);
#else
    y[threadIdx.x] = x[threadIdx.x] + __shfl_xor_sync(mask, x[threadIdx.x], 8);
#endif
}
