// Both branches have a barrier, and they are not the same one.
//: caught barrier
//: launch grid 1 block 64 n 64
extern "C" __global__ void __launch_bounds__(64) two_barriers(const float* x, float* y, int n) {
    __shared__ float part[64];
#ifdef FAULT
    if (threadIdx.x < 32) {
        part[threadIdx.x] = x[threadIdx.x];
        __syncthreads();
    } else {
        part[threadIdx.x] = 0.f;
        __syncthreads();
    }
#else
    part[threadIdx.x] = threadIdx.x < 32 ? x[threadIdx.x] : 0.f;
    __syncthreads();
#endif
    y[threadIdx.x] = part[threadIdx.x] + part[0];
}
