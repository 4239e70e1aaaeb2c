// A difference with the neighbour on the left: the first has none.
//: caught bounds
//: launch grid 3 block 64 n 150
extern "C" __global__ void __launch_bounds__(64) read_before_the_start(const float* x, float* y, int n) {
    const int own = blockIdx.x * 64 + threadIdx.x;
#ifdef FAULT
    if (own < n) y[own] = x[own] - x[own - 1];
#else
    if (own < n) y[own] = own > 0 ? x[own] - x[own - 1] : x[own];
#endif
}
