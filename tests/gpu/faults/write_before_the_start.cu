// Everything moves one place down, and the first falls off.
//: caught bounds
//: launch grid 3 block 64 n 150
extern "C" __global__ void __launch_bounds__(64) write_before_the_start(const float* x, float* y, int n) {
    const int own = blockIdx.x * 64 + threadIdx.x;
#ifdef FAULT
    if (own < n) y[own - 1] = x[own];
#else
    if (own > 0 && own < n) y[own - 1] = x[own];
#endif
    if (own == n - 1) y[own] = 0.f;
}
