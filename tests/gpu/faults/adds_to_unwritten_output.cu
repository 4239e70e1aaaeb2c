// The output is taken for zeros.
//: caught unwritten
//: launch grid 3 block 64 n 150
extern "C" __global__ void __launch_bounds__(64) adds_to_unwritten_output(const float* x, float* y, int n) {
    const int own = blockIdx.x * 64 + threadIdx.x;
#ifdef FAULT
    if (own < n) y[own] += x[own];
#else
    if (own < n) y[own] = x[own];
#endif
}
