// Sums of 32 warps go where there is room for those of one.
//: caught bounds
//: launch grid 1 block 64 n 64
extern "C" __global__ void __launch_bounds__(64) shared_past_the_end(const float* x, float* y, int n) {
    __shared__ float part[2], other[2];
    float* its = part;
    if (threadIdx.x < 2) other[threadIdx.x] = 0.f;
    __syncthreads();
#ifdef FAULT
    if (threadIdx.x % 16 == 0) its[threadIdx.x / 16] = x[threadIdx.x];
#else
    if (threadIdx.x % 32 == 0) its[threadIdx.x / 32] = x[threadIdx.x];
#endif
    __syncthreads();
    y[threadIdx.x] = its[threadIdx.x / 32] + other[threadIdx.x / 32];
}
