// A row of shared memory is overrun into the next, which the array as a whole allows.
//: caught bounds
//: launch grid 1 block 64 n 64
extern "C" __global__ void __launch_bounds__(64) shared_row(const float* x, float* y, int n) {
    __shared__ float tile[8][8];
    const int row = threadIdx.x / 8, column = threadIdx.x % 8;
#ifdef FAULT
    tile[row][column + 1] = x[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] = tile[row][column + 1];
#else
    tile[row][column] = x[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] = tile[row][column];
#endif
}
