// A lane shuffles with a mask that it is not in.
//: caught warp
//: launch grid 1 block 32 n 32
extern "C" __global__ void __launch_bounds__(32) lane_outside_its_mask(const float* x, float* y, int n) {
#ifdef FAULT
    const unsigned mask = 0x0000ffffu;
#else
    const unsigned mask = 0xffffffffu;
#endif
    y[threadIdx.x] = x[threadIdx.x] + __shfl_xor_sync(mask, x[threadIdx.x], 1);
}
