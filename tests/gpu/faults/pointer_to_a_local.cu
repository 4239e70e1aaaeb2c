// A thread leaves the address of its own variable for another.
//: caught bounds
//: launch grid 1 block 64 n 64
extern "C" __global__ void __launch_bounds__(64) pointer_to_a_local(const float* x, float* y, int n) {
    __shared__ const float* left[64];
    float own[2] = {x[threadIdx.x], x[threadIdx.x]};
#ifdef FAULT
    left[threadIdx.x] = own;
#else
    left[threadIdx.x] = x + threadIdx.x;
#endif
    __syncthreads();
    y[threadIdx.x] = left[63 - threadIdx.x][0] + own[threadIdx.x % 2];
}
