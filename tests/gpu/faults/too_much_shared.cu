// A block has no more than 48 KiB for its variables.
//: caught shared
//: launch grid 1 block 64 n 64
extern "C" __global__ void __launch_bounds__(64) too_much_shared(const float* x, float* y, int n) {
#ifdef FAULT
    __shared__ float tile[2][64 * 128];
#else
    __shared__ float tile[1][64 * 128];
#endif
    tile[0][threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] = tile[0][63 - threadIdx.x];
}
