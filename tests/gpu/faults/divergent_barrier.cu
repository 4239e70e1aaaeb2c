// Only some threads of the block come by the barrier.
//: caught barrier
//: launch grid 1 block 64 n 64
extern "C" __global__ void __launch_bounds__(64) divergent_barrier(const float* x, float* y, int n) {
    __shared__ float part[64];
    part[threadIdx.x] = x[threadIdx.x];
#ifdef FAULT
    if (threadIdx.x < 32) __syncthreads();
#else
    __syncthreads();
#endif
    y[threadIdx.x] = part[threadIdx.x];
}
