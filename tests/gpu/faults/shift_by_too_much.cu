// A mask of as many bits as there are lanes, all 32 of them.
//: caught overflow
//: launch grid 1 block 32 n 32
extern "C" __global__ void __launch_bounds__(32) shift_by_too_much(const float* x, float* y, int n) {
#ifdef FAULT
    const unsigned below = (1u << (threadIdx.x + 1)) - 1;
#else
    const unsigned below = 0xffffffffu >> (31 - threadIdx.x);
#endif
    y[threadIdx.x] = x[threadIdx.x] + __popc(below);
}
