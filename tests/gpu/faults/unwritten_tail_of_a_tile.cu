// The last tile is filled only as far as there are numbers, and read to its end.
//: caught unwritten
//: launch grid 1 block 64 n 150
extern "C" __global__ void __launch_bounds__(64) unwritten_tail_of_a_tile(const float* x, float* y, int n) {
    __shared__ float tile[64];
    float sum = 0.f;
    const int last = n / 64 * 64;
#ifdef FAULT
    if (last + threadIdx.x < n) tile[threadIdx.x] = x[last + threadIdx.x];
#else
    tile[threadIdx.x] = last + threadIdx.x < n ? x[last + threadIdx.x] : 0.f;
#endif
    __syncthreads();
    for (int i = 0; i < 64; ++i) sum += tile[i];
    for (int i = threadIdx.x; i < n; i += 64) y[i] = sum;
}
