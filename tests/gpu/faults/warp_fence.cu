// The lanes of a warp turn their numbers round through shared memory and trust that they run in step.
//: caught race
//: launch grid 3 block 64 n 150
extern "C" __global__ void __launch_bounds__(64) warp_fence(const float* x, float* y, int n) {
    __shared__ float held[64];
    const int own = blockIdx.x * 64 + threadIdx.x;
    held[threadIdx.x] = own < n ? x[own] : 0.f;
#ifndef FAULT
    __syncwarp();
#endif
    float turned = held[threadIdx.x ^ 31];
    if (own < n) y[own] = turned;
}
