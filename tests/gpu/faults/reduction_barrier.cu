// A tree in shared memory: the barrier stands before the loop and not in it.
//: caught race
//: launch grid 2 block 128 n 200
extern "C" __global__ void __launch_bounds__(128) reduction_barrier(const float* x, float* y, int n) {
    __shared__ float part[128];
    const int own = blockIdx.x * 128 + threadIdx.x;
    part[threadIdx.x] = own < n ? x[own] : 0.f;
    __syncthreads();
    for (int half = 64; half > 0; half /= 2) {
        if (threadIdx.x < half) part[threadIdx.x] += part[threadIdx.x + half];
#ifndef FAULT
        __syncthreads();
#endif
    }
    __syncthreads();
    if (own < n) y[own] = part[0];
}
