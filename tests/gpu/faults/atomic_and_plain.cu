// One thread sets to 0 what the others add to, in the same launch.
//: caught race
//: launch grid 4 block 64 n 200 y zeros
extern "C" __global__ void __launch_bounds__(64) atomic_and_plain(const float* x, float* y, int n) {
#ifdef FAULT
    if (blockIdx.x == 0 && threadIdx.x == 0) y[0] = 0.f;
#endif
    const int own = blockIdx.x * 64 + threadIdx.x;
    if (own < n) atomicAdd(y, x[own]);
}
