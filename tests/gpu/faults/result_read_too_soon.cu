// The next round's reduction writes `largest` while threads still read this round's.
//: caught race
//: launch grid 1 block 64 n 64
extern "C" __global__ void __launch_bounds__(64) result_read_too_soon(const float* x, float* y, int n) {
    __shared__ float largest;
    float sum = 0.f;
    for (int round = 0; round < 3; ++round) {
        if (threadIdx.x == 0) largest = x[round];
        __syncthreads();
        sum += largest;
#ifndef FAULT
        __syncthreads();
#endif
    }
    y[threadIdx.x] = sum;
}
