// Every block goes over x in tiles; a fast thread writes the next tile while a slow one still reads this.
//: caught race
//: launch grid 3 block 64 n 150
extern "C" __global__ void __launch_bounds__(64) tile_first_barrier(const float* x, float* y, int n) {
    __shared__ float tile[64];
    float sum = 0.f;
    for (int first = 0; first < n; first += 64) {
#ifndef FAULT
        __syncthreads();
#endif
        tile[threadIdx.x] = first + threadIdx.x < n ? x[first + threadIdx.x] : 0.f;
        __syncthreads();
        for (int i = 0; i < 64; ++i) sum += tile[i] * (i + threadIdx.x);
    }
    int own = blockIdx.x * 64 + threadIdx.x;
    if (own < n) y[own] = sum;
}
