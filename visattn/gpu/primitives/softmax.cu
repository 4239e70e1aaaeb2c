// Softmax over the rows of a matrix, `rows` × `columns`:  p_s = e^{x_s} / Σ_t e^{x_t}.
//
//   version 2   one block a row; each pass (largest, sum, weights) reads the row again from global memory
//   version 3   one warp a row, or one block where it is long; the row stays in registers between the passes:
//               read once, written once
//
// A few operations for each number moved: memory is the limit, and the floor is one read and one write.
#include "common.cuh"

//: compile Real=float LANES=32 KEEP=8
//: compile Real=float LANES=256 KEEP=32
//: compile Real=__half LANES=32 KEEP=8
//: compile Real=__half LANES=256 KEEP=32
//: compile Real=__nv_bfloat16 LANES=32 KEEP=8
//: compile Real=__nv_bfloat16 LANES=256 KEEP=32
#ifndef LANES
#define LANES 32                                      // threads for one row: a warp, or a block of 256
#define KEEP 8                                        // numbers that each of them keeps
#endif

// What takes no part is -∞.
__device__ inline float score(const Real* x, const bool* mask, int s) {
    return mask == nullptr || mask[s] ? load(x[s]) : MINUS_INFINITY;
}
__device__ inline float row_max(float x, float* part) { return LANES == 32 ? warp_max(x) : block_max(x, part); }
__device__ inline float row_sum(float x, float* part) { return LANES == 32 ? warp_sum(x) : block_sum(x, part); }

//= p -= np.where(some, p.max(axis, keepdims=True), 0)
//= p /= np.where(some, p.sum(axis, keepdims=True), 1)
//: threads 256
//: reads at most rows * columns * 3 * (real + (mask is not None))
//: writes rows * columns * real
extern "C" __global__ void __launch_bounds__(256) softmax_reread(
    const Real* __restrict__ x, const bool* __restrict__ mask, Real* __restrict__ p, int rows, int columns) {
    __shared__ float part[8];
    for (long row = blockIdx.x; row < rows; row += gridDim.x) {
        const Real* its = x + row * columns;
        const bool* allowed = mask == nullptr ? nullptr : mask + row * columns;
        float largest = MINUS_INFINITY, sum = 0.f;
        for (int s = threadIdx.x; s < columns; s += 256) largest = fmaxf(largest, score(its, allowed, s));
        largest = block_max(largest, part);
        if (largest == MINUS_INFINITY) largest = 0.f;                       // nothing takes part: every weight is 0
        for (int s = threadIdx.x; s < columns; s += 256) sum += expf(score(its, allowed, s) - largest);
        sum = block_sum(sum, part);
        for (int s = threadIdx.x; s < columns; s += 256) {
            float e = expf(score(its, allowed, s) - largest);
            store(p + row * columns + s, sum == 0.f ? 0.f : e / sum);
        }
    }
}

//= p -= np.where(some, p.max(axis, keepdims=True), 0)
//= p /= np.where(some, p.sum(axis, keepdims=True), 1)
//: threads 256
//: reads at most rows * columns * (real + (mask is not None))
//: writes rows * columns * real
extern "C" __global__ void __launch_bounds__(256) softmax_kept(
    const Real* __restrict__ x, const bool* __restrict__ mask, Real* __restrict__ p, int rows, int columns) {
    __shared__ float part[8];
    const int lane = threadIdx.x % LANES, together = 256 / LANES;           // rows of one block
    for (long first = (long)blockIdx.x * together; first < rows; first += (long)gridDim.x * together) {
        const long row = first + threadIdx.x / LANES;
        const int there = row < rows ? columns : 0;                         // a warp without a row keeps in step
        const Real* its = x + row * columns;
        const bool* allowed = mask == nullptr ? nullptr : mask + row * columns;
        float kept[KEEP], largest = MINUS_INFINITY, sum = 0.f;
#pragma unroll
        for (int i = 0; i < KEEP; ++i) {
            int s = i * LANES + lane;
            kept[i] = s < there ? score(its, allowed, s) : MINUS_INFINITY;
            largest = fmaxf(largest, kept[i]);
        }
        largest = row_max(largest, part);
        if (largest == MINUS_INFINITY) largest = 0.f;
#pragma unroll
        for (int i = 0; i < KEEP; ++i) sum += kept[i] = expf(kept[i] - largest);
        sum = row_sum(sum, part);
#pragma unroll
        for (int i = 0; i < KEEP; ++i) {
            int s = i * LANES + lane;
            if (s < there) store(p + row * columns + s, sum == 0.f ? 0.f : kept[i] / sum);
        }
    }
}

//= mean = np.einsum("...s,...s->...", np.moveaxis(dp, axis, -1), np.moveaxis(p, axis, -1))      # Σ_s dp_s p_s
//= dx *= p
//: threads 256
//: reads at most rows * columns * 2 * (2 * real + (mask is not None))
//: writes rows * columns * real
extern "C" __global__ void __launch_bounds__(256) softmax_backward_reread(
    const Real* __restrict__ dp, const Real* __restrict__ p, const bool* __restrict__ mask, Real* __restrict__ dx,
    int rows, int columns) {
    __shared__ float part[8];
    for (long row = blockIdx.x; row < rows; row += gridDim.x) {
        float mean = 0.f;
        for (int s = threadIdx.x; s < columns; s += 256) {
            long i = row * columns + s;
            mean += mask == nullptr || mask[i] ? load(dp[i]) * load(p[i]) : 0.f;
        }
        mean = block_sum(mean, part);
        for (int s = threadIdx.x; s < columns; s += 256) {
            long i = row * columns + s;
            store(dx + i, mask == nullptr || mask[i] ? (load(dp[i]) - mean) * load(p[i]) : 0.f);
        }
    }
}

//= mean = np.einsum("...s,...s->...", np.moveaxis(dp, axis, -1), np.moveaxis(p, axis, -1))      # Σ_s dp_s p_s
//= dx *= p
//: threads 256
//: reads at most rows * columns * (2 * real + (mask is not None))
//: writes rows * columns * real
extern "C" __global__ void __launch_bounds__(256) softmax_backward_kept(
    const Real* __restrict__ dp, const Real* __restrict__ p, const bool* __restrict__ mask, Real* __restrict__ dx,
    int rows, int columns) {
    __shared__ float part[8];
    const int lane = threadIdx.x % LANES, together = 256 / LANES;
    for (long first = (long)blockIdx.x * together; first < rows; first += (long)gridDim.x * together) {
        const long row = first + threadIdx.x / LANES;
        const int there = row < rows ? columns : 0;
        float weights[KEEP], gradients[KEEP], mean = 0.f;
#pragma unroll
        for (int i = 0; i < KEEP; ++i) {
            int s = i * LANES + lane;
            bool takes_part = s < there && (mask == nullptr || mask[row * columns + s]);
            weights[i] = takes_part ? load(p[row * columns + s]) : 0.f;
            gradients[i] = takes_part ? load(dp[row * columns + s]) : 0.f;
            mean += gradients[i] * weights[i];
        }
        mean = row_sum(mean, part);
#pragma unroll
        for (int i = 0; i < KEEP; ++i) {
            int s = i * LANES + lane;
            if (s < there) store(dx + row * columns + s, (gradients[i] - mean) * weights[i]);
        }
    }
}
