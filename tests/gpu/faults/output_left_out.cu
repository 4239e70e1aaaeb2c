// The number of blocks is rounded down, and nobody writes the end of the output.
//: caught unwritten
//: launch grid 2 block 64 n 150
extern "C" __global__ void __launch_bounds__(64) output_left_out(const float* x, float* y, int n) {
    const int own = blockIdx.x * 64 + threadIdx.x;
#ifdef FAULT
    if (own < n) y[own] = x[own];
#else
    for (int i = own; i < n; i += gridDim.x * 64) y[i] = x[i];
#endif
}
