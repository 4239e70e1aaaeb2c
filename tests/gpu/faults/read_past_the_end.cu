// The last block has more threads than there are numbers left, and they read.
//: caught bounds
//: launch grid 3 block 64 n 150
extern "C" __global__ void __launch_bounds__(64) read_past_the_end(const float* x, float* y, int n) {
    const int own = blockIdx.x * 64 + threadIdx.x;
#ifdef FAULT
    float mine = x[own];
#else
    float mine = own < n ? x[own] : 0.f;
#endif
    mine += __shfl_xor_sync(0xffffffffu, mine, 1);
    if (own < n) y[own] = mine;
}
