// Threads go round a loop with a barrier differently often.
//: caught barrier
//: launch grid 1 block 64 n 150
extern "C" __global__ void __launch_bounds__(64) barrier_in_a_loop(const float* x, float* y, int n) {
    __shared__ float part[64];
    float sum = 0.f;
#ifdef FAULT
    for (int i = threadIdx.x; i < n; i += 64) {
        part[threadIdx.x] = x[i];
#else
    for (int i = threadIdx.x; i < (n + 63) / 64 * 64; i += 64) {
        part[threadIdx.x] = i < n ? x[i] : 0.f;
#endif
        __syncthreads();
        sum += part[63 - threadIdx.x];
        __syncthreads();
    }
    for (int i = threadIdx.x; i < n; i += 64) y[i] = sum;
}
