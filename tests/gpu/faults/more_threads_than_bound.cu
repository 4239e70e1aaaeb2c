// The launch has more threads than the kernel was compiled for.
//: caught launch
//: launch grid 1 block 64 n 64
#ifdef FAULT
#define BOUND 32
#else
#define BOUND 64
#endif
extern "C" __global__ void __launch_bounds__(BOUND) more_threads_than_bound(const float* x, float* y, int n) {
    y[threadIdx.x] = x[threadIdx.x];
}
