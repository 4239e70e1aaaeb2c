// Four numbers at a time, and the length is no multiple of four.
//: caught bounds
//: launch grid 1 block 32 n 101
extern "C" __global__ void __launch_bounds__(32) vector_past_the_end(const float* x, float* y, int n) {
    for (int i = threadIdx.x * 4; i < n; i += 128) {
#ifndef FAULT
        if (i + 4 > n) {
            for (int j = i; j < n; ++j) y[j] = x[j];
            continue;
        }
#endif
        *reinterpret_cast<float4*>(y + i) = *reinterpret_cast<const float4*>(x + i);
    }
}
