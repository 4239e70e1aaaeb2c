// A sum in shared memory begins with what was there.
//: caught unwritten
//: launch grid 1 block 64 n 64
extern "C" __global__ void __launch_bounds__(64) shared_sum_not_cleared(const float* x, float* y, int n) {
    __shared__ float sum;
#ifndef FAULT
    if (threadIdx.x == 0) sum = 0.f;
    __syncthreads();
#endif
    atomicAdd(&sum, x[threadIdx.x]);
    __syncthreads();
    y[threadIdx.x] = sum;
}
