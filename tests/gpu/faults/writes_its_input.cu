// Scratch is kept in an input that is const.
//: caught const
//: launch grid 3 block 64 n 150
extern "C" __global__ void __launch_bounds__(64) writes_its_input(const float* x, float* y, int n) {
    const int own = blockIdx.x * 64 + threadIdx.x;
    if (own >= n) return;
#ifdef FAULT
    const_cast<float*>(x)[own] *= 2.f;
    y[own] = x[own];
#else
    y[own] = x[own] * 2.f;
#endif
}
