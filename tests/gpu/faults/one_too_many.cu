// A loop ends at ≤ instead of <.
//: caught bounds
//: launch grid 1 block 32 n 32
extern "C" __global__ void __launch_bounds__(32) one_too_many(const float* x, float* y, int n) {
    float sum = 0.f;
#ifdef FAULT
    for (int i = 0; i <= n; ++i) sum += x[i];
#else
    for (int i = 0; i < n; ++i) sum += x[i];
#endif
    y[threadIdx.x] = sum;
}
