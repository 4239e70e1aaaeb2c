// Each block writes a row of 64 and one number of the next block's.
//: caught race
//: launch grid 3 block 64 n 192
extern "C" __global__ void __launch_bounds__(64) blocks_overlap(const float* x, float* y, int n) {
#ifdef FAULT
    const int row = 65;
#else
    const int row = 64;
#endif
    for (int i = threadIdx.x; i < row; i += 64) {
        int own = blockIdx.x * 64 + i;
        if (own < n) y[own] = x[own];
    }
}
