// The offset of a row is computed in 32 bits: row 40,000 of 60,000 numbers is beyond them.
//: caught overflow
//: launch grid 1 block 32 n 32
extern "C" __global__ void __launch_bounds__(32) index_overflow(const float* x, float* y, int n) {
    const int row = threadIdx.x * 2000, columns = n * 1875;
#ifdef FAULT
    const int offset = row * columns;
#else
    const long offset = (long)row * columns;
#endif
    y[threadIdx.x] = x[offset % n];
}
