// The last tile is as long as the others, where the array ends before.
//: caught bounds
//: launch grid 1 block 64 n 150
extern "C" __global__ void __launch_bounds__(64) last_tile(const float* x, float* y, int n) {
    float sum = 0.f;
    for (int first = 0; first < n; first += 64) {
#ifdef FAULT
        const int past = first + 64;
#else
        const int past = min(first + 64, n);
#endif
        for (int i = first; i < past; ++i) sum += x[i];
    }
    for (int i = threadIdx.x; i < n; i += 64) y[i] = sum;
}
