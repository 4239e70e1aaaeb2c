// The launch gives room for one row where the kernel keeps two.
//: caught bounds
//: launch grid 1 block 64 n 64 shared 256
extern "C" __global__ void __launch_bounds__(64) dynamic_shared(const float* x, float* y, int n) {
    extern __shared__ float rows[];
#ifdef FAULT
    rows[threadIdx.x + 64] = x[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] = rows[127 - threadIdx.x];
#else
    rows[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] = rows[63 - threadIdx.x];
#endif
}
