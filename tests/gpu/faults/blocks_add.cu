// All blocks add to one number: what two of them read at once, one of them loses.
//: caught race
//: launch grid 4 block 64 n 200 y zeros
extern "C" __global__ void __launch_bounds__(64) blocks_add(const float* x, float* y, int n) {
    float sum = 0.f;
    for (int i = blockIdx.x * 64 + threadIdx.x; i < n; i += gridDim.x * 64) sum += x[i];
    for (int by = 16; by > 0; by /= 2) sum += __shfl_down_sync(0xffffffffu, sum, by);
#ifdef FAULT
    if (threadIdx.x == 0) y[0] += sum;
#else
    if (threadIdx.x % 32 == 0) atomicAdd(y, sum);
#endif
}
