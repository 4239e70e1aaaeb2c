// Four numbers at a time from a place that is no multiple of four.
//: caught address
//: launch grid 1 block 16 n 68
extern "C" __global__ void __launch_bounds__(16) misaligned_vector(const float* x, float* y, int n) {
#ifdef FAULT
    const int skip = 1;
#else
    const int skip = 4;
#endif
    float4 four = reinterpret_cast<const float4*>(x + skip)[threadIdx.x];
    reinterpret_cast<float4*>(y)[threadIdx.x] = four;
    if (threadIdx.x < 4) y[64 + threadIdx.x] = 0.f;
}
