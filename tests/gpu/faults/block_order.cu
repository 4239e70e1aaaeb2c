// Each block goes on from where the block before it stopped, as if blocks ran in order.
//: caught race
//: launch grid 3 block 64 n 192
extern "C" __global__ void __launch_bounds__(64) block_order(const float* x, float* y, int n) {
    float before = 0.f;
#ifdef FAULT
    if (blockIdx.x > 0) before = y[blockIdx.x * 64 - 1];
#else
    for (int i = 0; i < blockIdx.x * 64; ++i) before += x[i];
#endif
    y[blockIdx.x * 64 + threadIdx.x] = before + x[blockIdx.x * 64 + threadIdx.x];
}
