// Layer normalisation of the rows of a matrix, `rows` tokens × `columns` features:
//     n = (x - μ) r,  r = 1 / √(mean (x - μ)² + ε),  y = g n + b.
//
//   version 2   one block a row; each pass (mean, variance, answer) reads the row again from global memory.
//               Backward: one kernel for dx, one for dg and db, whose blocks each add up a share of the rows and then
//               add it to the total with atomics: in the order in which they come, so two runs differ in the last bits
//   version 3   one warp a row, or one block where it is long; the row stays in registers between the passes.
//               Backward: whoever has dy and n of a row in registers for dx adds them to sums of its columns as well,
//               so that both are read once.  Each block writes its sums; a second, small kernel adds the blocks'
//               sums, always in the same order
//
// A few operations for each number moved: memory is the limit.  The floor is x in, n and y out (the cache keeps n);
// backward, dy and n in, dx out.  g and b are read again for every row and counted so, but they come from a cache.
// Rows that are too long for registers go the way of version 2, without its atomics.
//
// The variance is the mean of (x - μ)², never mean x² - μ²: that is the difference of two large numbers, and where μ is
// large nothing is left of it.
#include "common.cuh"

//: compile Real=float LANES=32 KEEP=32 HOLD=8
//: compile Real=float LANES=256 KEEP=32 HOLD=16
//: compile Real=__half LANES=32 KEEP=32 HOLD=8
//: compile Real=__half LANES=256 KEEP=32 HOLD=16
//: compile Real=__nv_bfloat16 LANES=32 KEEP=32 HOLD=8
//: compile Real=__nv_bfloat16 LANES=256 KEEP=32 HOLD=16
#ifndef LANES
#define LANES 32                                      // threads for one row: a warp, or a block of 256
#endif
#ifndef KEEP
#define KEEP 8                                        // numbers of a row that each of them keeps, forward
#endif
#ifndef HOLD
#define HOLD 8                                        // and backward, where each column takes five registers
#endif

__device__ inline float row_sum(float x, float* part) { return LANES == 32 ? warp_sum(x) : block_sum(x, part); }

//= c = x - x.mean(-1, keepdims=True)                           # (*B, D)
//= rstd = 1 / np.sqrt((c * c).mean(-1, keepdims=True) + eps)   # (*B, 1)
//= n = c * rstd                                                # (*B, D)
//= y = g * n + b                                               # (*B, D)
//: threads 256
//: reads rows * columns * 5 * real
//: writes rows * (2 * columns + 1) * real
extern "C" __global__ void __launch_bounds__(256) layernorm_reread(
    const Real* __restrict__ x, const Real* __restrict__ g, const Real* __restrict__ b, Real* __restrict__ y,
    Real* __restrict__ n, Real* __restrict__ rstd, int rows, int columns, float eps) {
    __shared__ float part[8];
    for (long row = blockIdx.x; row < rows; row += gridDim.x) {
        const Real* its = x + row * columns;
        float sum = 0.f, squares = 0.f;
        for (int d = threadIdx.x; d < columns; d += 256) sum += load(its[d]);
        float mean = block_sum(sum, part) / columns;
        for (int d = threadIdx.x; d < columns; d += 256) {
            float c = load(its[d]) - mean;
            squares += c * c;
        }
        float r = 1.f / sqrtf(block_sum(squares, part) / columns + eps);
        if (threadIdx.x == 0) store(rstd + row, r);
        for (int d = threadIdx.x; d < columns; d += 256) {
            float normal = (load(its[d]) - mean) * r;
            store(n + row * columns + d, normal);
            store(y + row * columns + d, load(g[d]) * normal + load(b[d]));
        }
    }
}

//= c = x - x.mean(-1, keepdims=True)                           # (*B, D)
//= rstd = 1 / np.sqrt((c * c).mean(-1, keepdims=True) + eps)   # (*B, 1)
//= n = c * rstd                                                # (*B, D)
//= y = g * n + b                                               # (*B, D)
//: threads 256
//: reads rows * columns * 3 * real
//: writes rows * (2 * columns + 1) * real
// The 2: two blocks must fit a multiprocessor, more need not; else the compiler spills a long row to make room for four.
extern "C" __global__ void __launch_bounds__(256, 2) layernorm_kept(
    const Real* __restrict__ x, const Real* __restrict__ g, const Real* __restrict__ b, Real* __restrict__ y,
    Real* __restrict__ n, Real* __restrict__ rstd, int rows, int columns, float eps) {
    __shared__ float part[8];
    const int lane = threadIdx.x % LANES, together = 256 / LANES;           // rows of one block
    for (long first = (long)blockIdx.x * together; first < rows; first += (long)gridDim.x * together) {
        const long row = first + threadIdx.x / LANES;
        const int there = row < rows ? columns : 0;                         // a warp without a row keeps in step
        float kept[KEEP], sum = 0.f, squares = 0.f;
#pragma unroll
        for (int i = 0; i < KEEP; ++i) {
            int d = i * LANES + lane;
            kept[i] = d < there ? load(x[row * columns + d]) : 0.f;
            sum += kept[i];
        }
        float mean = row_sum(sum, part) / columns;
#pragma unroll
        for (int i = 0; i < KEEP; ++i) {
            int d = i * LANES + lane;
            kept[i] = d < there ? kept[i] - mean : 0.f;
            squares += kept[i] * kept[i];
        }
        float r = 1.f / sqrtf(row_sum(squares, part) / columns + eps);
        if (lane == 0 && row < rows) store(rstd + row, r);
#pragma unroll
        for (int i = 0; i < KEEP; ++i) {
            int d = i * LANES + lane;
            if (d < there) {
                float normal = kept[i] * r;
                store(n + row * columns + d, normal);
                store(y + row * columns + d, load(g[d]) * normal + load(b[d]));
            }
        }
    }
}

//= dn = g * dy                                                 # (*B, D)
//= dx = rstd * (dn - dn.mean(-1, keepdims=True) - n * (dn * n).mean(-1, keepdims=True))
//: threads 256
//: reads rows * columns * 6 * real + rows * 8 * real
//: writes rows * columns * real
extern "C" __global__ void __launch_bounds__(256) layernorm_backward_reread(
    const Real* __restrict__ dy, const Real* __restrict__ n, const Real* __restrict__ rstd,
    const Real* __restrict__ g, Real* __restrict__ dx, int rows, int columns) {
    __shared__ float part[8];
    for (long row = blockIdx.x; row < rows; row += gridDim.x) {
        const float r = load(rstd[row]);
        float along_one = 0.f, along_n = 0.f;         // what would change the mean, and the length of n
        for (int d = threadIdx.x; d < columns; d += 256) {
            float dn = load(g[d]) * load(dy[row * columns + d]);
            along_one += dn;
            along_n += dn * load(n[row * columns + d]);
        }
        along_one = block_sum(along_one, part) / columns;
        along_n = block_sum(along_n, part) / columns;
        for (int d = threadIdx.x; d < columns; d += 256) {
            float dn = load(g[d]) * load(dy[row * columns + d]);
            store(dx + row * columns + d, r * (dn - along_one - load(n[row * columns + d]) * along_n));
        }
    }
}

// What the blocks of a share of the rows know of dg and db: Σ dy ⊙ n and Σ dy in the column of this thread.
// Neighbouring threads have neighbouring columns, so what a warp reads lies together.
__device__ inline float2 share_sum(const Real* dy, const Real* n, int rows, int columns, int column) {
    float2 sum = make_float2(0.f, 0.f);
    for (long row = blockIdx.y; row < rows; row += gridDim.y) {
        float gradient = load(dy[row * columns + column]);
        sum.x += gradient * load(n[row * columns + column]);
        sum.y += gradient;
    }
    return sum;
}

//= dg = (dy * n).reshape(-1, len(g)).sum(0)                    # (D,)
//= db = dy.reshape(-1, len(g)).sum(0)                          # (D,)
//: threads 256
//: reads rows * columns * 2 * real
//: writes 0
extern "C" __global__ void __launch_bounds__(256) layernorm_weights_atomic(
    const Real* __restrict__ dy, const Real* __restrict__ n, float* __restrict__ dg, float* __restrict__ db,
    int rows, int columns) {
    const int column = blockIdx.x * 256 + threadIdx.x;
    if (column >= columns) return;
    float2 sum = share_sum(dy, n, rows, columns, column);
    atomicAdd(dg + column, sum.x);                    // in whatever order the blocks come
    atomicAdd(db + column, sum.y);
}

// The same, for rows too long for registers: each share's sums are written, (2, shares, columns), and nothing is added
// across blocks.
//= dg = (dy * n).reshape(-1, len(g)).sum(0)                    # (D,)
//= db = dy.reshape(-1, len(g)).sum(0)                          # (D,)
//: threads 256
//: reads rows * columns * 2 * real
//: writes columns * 8 * (blocks // ceil(columns, 256))
extern "C" __global__ void __launch_bounds__(256) layernorm_weights_shares(
    const Real* __restrict__ dy, const Real* __restrict__ n, float* __restrict__ sums, int rows, int columns) {
    const int column = blockIdx.x * 256 + threadIdx.x;
    if (column >= columns) return;
    float2 sum = share_sum(dy, n, rows, columns, column);
    sums[(long)blockIdx.y * columns + column] = sum.x;
    sums[((long)gridDim.y + blockIdx.y) * columns + column] = sum.y;
}

// The sums that the warps of a block hold become one, in shared memory and always in the same order, and are written.
__device__ inline void write_share(const float (&held)[HOLD], float* across, float* sums, int columns) {
    const int lane = threadIdx.x % LANES, mine = threadIdx.x / LANES;
    __syncthreads();                                  // whoever still reads `across` from before
#pragma unroll
    for (int i = 0; i < HOLD; ++i) across[(mine * HOLD + i) * LANES + lane] = held[i];
    __syncthreads();
    for (int d = threadIdx.x; d < columns; d += 256) {
        float sum = 0.f;
        for (int one = 0; one < 256 / LANES; ++one) sum += across[one * HOLD * LANES + d];
        sums[d] = sum;
    }
}

//= dg = (dy * n).reshape(-1, len(g)).sum(0)                    # (D,)
//= db = dy.reshape(-1, len(g)).sum(0)                          # (D,)
//= dx = rstd * (dn - dn.mean(-1, keepdims=True) - n * (dn * n).mean(-1, keepdims=True))
//: threads 256
//: reads rows * (2 * columns + LANES // 32) * real + blocks * 256 // LANES * columns * real
//: writes rows * columns * real + blocks * columns * 8
extern "C" __global__ void __launch_bounds__(256) layernorm_backward_kept(
    const Real* __restrict__ dy, const Real* __restrict__ n, const Real* __restrict__ rstd,
    const Real* __restrict__ g, Real* __restrict__ dx, float* __restrict__ sums, int rows, int columns) {
    __shared__ float part[8], across[256 * HOLD];
    const int lane = threadIdx.x % LANES, together = 256 / LANES;
    float gain[HOLD], sum_g[HOLD], sum_b[HOLD];       // of the columns that are this thread's in every row
#pragma unroll
    for (int i = 0; i < HOLD; ++i) {
        int d = i * LANES + lane;
        gain[i] = d < columns ? load(g[d]) : 0.f;
        sum_g[i] = sum_b[i] = 0.f;
    }
    for (long first = (long)blockIdx.x * together; first < rows; first += (long)gridDim.x * together) {
        const long row = first + threadIdx.x / LANES;
        const int there = row < rows ? columns : 0;
        float gradient[HOLD], normal[HOLD], along_one = 0.f, along_n = 0.f;
#pragma unroll
        for (int i = 0; i < HOLD; ++i) {
            int d = i * LANES + lane;
            float mine = d < there ? load(dy[row * columns + d]) : 0.f;
            normal[i] = d < there ? load(n[row * columns + d]) : 0.f;
            sum_g[i] += mine * normal[i];
            sum_b[i] += mine;
            gradient[i] = gain[i] * mine;
            along_one += gradient[i];
            along_n += gradient[i] * normal[i];
        }
        const float r = row < rows ? load(rstd[row]) : 0.f;
        along_one = row_sum(along_one, part) / columns;
        along_n = row_sum(along_n, part) / columns;
#pragma unroll
        for (int i = 0; i < HOLD; ++i) {
            int d = i * LANES + lane;
            if (d < there) store(dx + row * columns + d, r * (gradient[i] - along_one - normal[i] * along_n));
        }
    }
    write_share(sum_g, across, sums + (long)blockIdx.x * columns, columns);
    write_share(sum_b, across, sums + ((long)gridDim.x + blockIdx.x) * columns, columns);
}

// The shares' sums, (2, shares, columns), together: a block has 32 columns, each of its 8 warps every eighth share.
//= dg = (dy * n).reshape(-1, len(g)).sum(0)                    # (D,)
//= db = dy.reshape(-1, len(g)).sum(0)                          # (D,)
//: threads 256
//: reads 2 * shares * columns * 4
//: writes 2 * columns * real
extern "C" __global__ void __launch_bounds__(256) layernorm_add_shares(
    const float* __restrict__ sums, Real* __restrict__ dg, Real* __restrict__ db, int shares, int columns) {
    __shared__ float part[8][32];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, column = blockIdx.x * 32 + lane;
    const float* its = sums + (long)blockIdx.y * shares * columns + column;
    float sum = 0.f;
    if (column < columns)
#pragma unroll 4
        for (int share = warp; share < shares; share += 8) sum += its[(long)share * columns];
    part[warp][lane] = sum;
    __syncthreads();
    if (warp == 0 && column < columns) {
        for (int other = 1; other < 8; ++other) sum += part[other][lane];
        store((blockIdx.y == 0 ? dg : db) + column, sum);
    }
}
