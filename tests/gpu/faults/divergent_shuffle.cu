// Lanes without a number stay away from a shuffle that counts on all.
//: caught warp
//: launch grid 1 block 32 n 20
extern "C" __global__ void __launch_bounds__(32) divergent_shuffle(const float* x, float* y, int n) {
#ifdef FAULT
    if (threadIdx.x < n) {
        float mine = x[threadIdx.x];
        y[threadIdx.x] = mine + __shfl_xor_sync(0xffffffffu, mine, 1);
    }
#else
    float mine = threadIdx.x < n ? x[threadIdx.x] : 0.f;
    mine += __shfl_xor_sync(0xffffffffu, mine, 1);
    if (threadIdx.x < n) y[threadIdx.x] = mine;
#endif
}
