// The last block writes more numbers than there are.
//: caught bounds
//: launch grid 3 block 64 n 150
extern "C" __global__ void __launch_bounds__(64) write_past_the_end(const float* x, float* y, int n) {
    const int own = blockIdx.x * 64 + threadIdx.x;
    float mine = own < n ? x[own] : 0.f;
#ifndef FAULT
    if (own < n)
#endif
        y[own] = mine;
}
