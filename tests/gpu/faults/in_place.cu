// Every block reads the first number, which the last block then replaces in place.
//: caught race
//: launch grid 3 block 64 n 192 y zeros
extern "C" __global__ void __launch_bounds__(64) in_place(const float* x, float* y, int n) {
    const int own = blockIdx.x * 64 + threadIdx.x;
    float first = y[0];
    __syncthreads();
#ifdef FAULT
    if (own == n - 1) y[0] = x[0];
#endif
    if (own > 0 && own < n) y[own] = x[own] - first;
}
