// Threads without a number leave before the barrier.
//: caught barrier
//: launch grid 3 block 64 n 150
extern "C" __global__ void __launch_bounds__(64) early_return(const float* x, float* y, int n) {
    __shared__ float part[64];
    const int own = blockIdx.x * 64 + threadIdx.x;
#ifdef FAULT
    if (own >= n) return;
    part[threadIdx.x] = x[own];
#else
    part[threadIdx.x] = own < n ? x[own] : 0.f;
#endif
    __syncthreads();
    if (own < n) y[own] = part[threadIdx.x] + part[0];
}
