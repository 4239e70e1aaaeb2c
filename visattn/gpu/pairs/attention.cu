// Attention with its map in memory:  p = softmax_s(scale q kᵀ),  o = p v.  Three kernels forward, four backward, each
// a line of the NumPy, and between them the T × S map goes out to global memory and comes back.
//
//   version 2   one thread an element: of the scores, of the output; one thread a row of the softmax.
//               Each product reads two numbers for every multiplication: memory and its latency are the limit.
//   version 3   the products in tiles of 64 × 64: a block brings 16 columns of both operands into shared memory, and
//               each thread keeps 16 × 2 sums in registers, 32 multiplications for 6 shared loads; the rows of the
//               softmax stay in the registers of a warp, or of a block where they are long.
//
// Bytes of version 3 forward, B matrices of T × S, `real` bytes a number: the map is written as scores, read and
// written as weights, read once more, 4 real B T S in all; beside it the tiles read q, k and v again for every 64 keys
// or queries, some real B D T S / 20.  Backward moves the map 7 times more, 8 with a cap, and the mask, where there
// is one, is one byte a pair each time.  No tiling helps: as long as the map is in memory, the bytes grow with T S.
// flash never writes it down.  Scores are rounded to `Real` before their softmax, as in the reference; sums are float.
#include "common.cuh"

//: compile Real=float LANES=32 KEEP=32
//: compile Real=float LANES=256 KEEP=32
//: compile Real=__half LANES=32 KEEP=32
//: compile Real=__half LANES=256 KEEP=32
//: compile Real=__nv_bfloat16 LANES=32 KEEP=32
//: compile Real=__nv_bfloat16 LANES=256 KEEP=32
#ifndef LANES
#define LANES 32                                      // threads for one row of the softmax: a warp, or a block of 256
#define KEEP 8                                        // numbers that each of them keeps
#endif

// A mask or a bias that is repeated along some axes is not copied: the matrix of batch b begins at of[b], and a step
// along queries or keys may be 0.
template <class T> __device__ inline const T* row_of(const T* x, const long* of, long b, long t, int step) {
    return x == nullptr ? nullptr : x + of[b] + t * step;
}
__device__ inline bool is_allowed(const bool* row, int s, int step) { return row == nullptr || row[(long)s * step]; }

// What happens to a score: a soft cap, a bias.
__device__ inline void finish(float a, float softcap, Real* u, const Real* bias, Real* to) {
    if (u != nullptr) {
        float capped = tanhf(a / softcap);
        store(u, capped);
        a = softcap * capped;
    }
    store(to, bias == nullptr ? a : a + load(*bias));
}

// ---------------------------------------------------------------- version 2: one thread an element, or a row

//= a = (scale * q) @ k.swapaxes(-1, -2)                        # (*B, T, S)
//= u = np.tanh(a / softcap)                                # (*B, T, S)
//= a = softcap * u
//= dp = do @ v.swapaxes(-1, -2)                                # (*B, T, S)
//: threads 256
//: reads batch * queries * (width * real * (keys + ceil(keys, 32)) + (bias is not None) * (8 * ceil(keys, 32) + real * (keys if bias_s else ceil(keys, 32))))
//: writes batch * queries * keys * real * (1 + (u is not None))
extern "C" __global__ void __launch_bounds__(256) scores_naive(
    const Real* __restrict__ q, const Real* __restrict__ k, const Real* __restrict__ bias,
    const long* __restrict__ bias_of, int bias_t, int bias_s, Real* __restrict__ u, Real* __restrict__ a,
    int batch, int queries, int keys, int width, float scale, float softcap) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, strips = (keys + 31) / 32;
    const long count = (long)batch * queries * strips;                     // a warp: 32 scores of one query
    for (long i = blockIdx.x * 8l + warp; i < count; i += gridDim.x * 8l) {
        const long row = i / strips, b = row / queries, t = row % queries;
        const int s = i % strips * 32 + lane;
        if (s >= keys) continue;
        float sum = 0.f;
        for (int d = 0; d < width; ++d) sum += load(q[row * width + d]) * load(k[(b * keys + s) * width + d]);
        const Real* added = row_of(bias, bias_of, b, t, bias_t);
        const long at = row * keys + s;
        finish(scale * sum, softcap, u == nullptr ? nullptr : u + at, added == nullptr ? nullptr : added + s * bias_s,
               a + at);
    }
}

//= p, _ = softmax.forward(a if bias is None else a + bias, mask=allowed) if a.shape[-1] else (a, None)
//: threads 256
//: reads at most batch * queries * 3 * keys * (real + (mask is not None)) + (mask is not None) * 8 * batch * ceil(queries, 32)
//: writes batch * queries * keys * real
extern "C" __global__ void __launch_bounds__(256) softmax_naive(
    Real* p, const bool* __restrict__ mask, const long* __restrict__ mask_of, int mask_t, int mask_s, int batch,
    int queries, int keys) {
    const long rows = (long)batch * queries;
    for (long row = blockIdx.x * 256l + threadIdx.x; row < rows; row += gridDim.x * 256l) {
        Real* its = p + row * keys;
        const bool* allowed = row_of(mask, mask_of, row / queries, row % queries, mask_t);
        float largest = MINUS_INFINITY, sum = 0.f;
        bool some = false;
        for (int s = 0; s < keys; ++s) {
            float a = load(its[s]);
            bool takes_part = is_allowed(allowed, s, mask_s);
            if (takes_part) largest = fmaxf(largest, a);
            some |= takes_part;
        }
        for (int s = 0; s < keys; ++s) {
            float a = load(its[s]);
            sum += expf((is_allowed(allowed, s, mask_s) ? a : MINUS_INFINITY) - largest);
        }
        for (int s = 0; s < keys; ++s) {
            float a = load(its[s]);
            float e = expf((is_allowed(allowed, s, mask_s) ? a : MINUS_INFINITY) - largest);
            store(its + s, some ? e / sum : 0.f);                           // a query with no key: every weight is 0
        }
    }
}

//= o = weigh(p, v, allowed)                                    # (*B, T, E)            (1)
//= dv = weigh(p.swapaxes(-1, -2), do, turned)                  # (*B, S, E)
//= dq = scale * weigh(da, k, mask)                             # (*B, T, D)
//= dk = scale * weigh(da.swapaxes(-1, -2), q, turned)          # (*B, S, D)
//: threads 256
//: reads batch * rows * (depth * (real * (columns + ceil(columns, 32)) + (mask is not None) * ceil(columns, 32)) + (mask is not None) * 8 * ceil(columns, 32))
//: writes batch * rows * columns * real
extern "C" __global__ void __launch_bounds__(256) weigh_naive(
    const Real* __restrict__ map, int turned, const Real* __restrict__ x, const bool* __restrict__ mask,
    const long* __restrict__ mask_of, int mask_row, int mask_deep, Real* __restrict__ y, int batch, int rows,
    int depth, int columns, float scale) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, strips = (columns + 31) / 32;
    const long count = (long)batch * rows * strips;                        // a warp: 32 columns of one row
    const long along_row = turned ? 1 : depth, along_depth = turned ? rows : 1;
    for (long i = blockIdx.x * 8l + warp; i < count; i += gridDim.x * 8l) {
        const long row = i / strips, b = row / rows, r = row % rows;
        const int e = i % strips * 32 + lane;
        if (e >= columns) continue;
        const Real* weights = map + b * rows * depth + r * along_row;
        const bool* allowed = row_of(mask, mask_of, b, r, mask_row);
        float sum = 0.f;
        for (int s = 0; s < depth; ++s) {
            float product = load(weights[s * along_depth]) * load(x[(b * depth + s) * columns + e]);
            sum += is_allowed(allowed, s, mask_deep) ? product : 0.f;       // 0 · NaN is NaN: it has to be left out
        }
        store(y + row * columns + e, scale * sum);
    }
}

//= da, = softmax.backward(dp, softmax.Cache(p, mask, -1))
//= da = da * (1 - u**2)
//: threads 256
//: reads batch * queries * keys * (2 * (2 * real + (mask is not None)) + real * (u is not None)) + (mask is not None) * 8 * batch * ceil(queries, 32)
//: writes batch * queries * keys * real * (1 + (uncapped is not None))
extern "C" __global__ void __launch_bounds__(256) softmax_backward_naive(
    Real* da, const Real* __restrict__ p, const Real* __restrict__ u, Real* __restrict__ uncapped,
    const bool* __restrict__ mask, const long* __restrict__ mask_of, int mask_t, int mask_s, int batch, int queries,
    int keys) {
    const long rows = (long)batch * queries;
    for (long row = blockIdx.x * 256l + threadIdx.x; row < rows; row += gridDim.x * 256l) {
        const bool* allowed = row_of(mask, mask_of, row / queries, row % queries, mask_t);
        float mean = 0.f;                                                   // Σ_s dp_s p_s
        for (int s = 0; s < keys; ++s) {
            float dp = load(da[row * keys + s]), weight = load(p[row * keys + s]);
            mean += (is_allowed(allowed, s, mask_s) ? dp : 0.f) * weight;
        }
        for (int s = 0; s < keys; ++s) {
            const long at = row * keys + s;
            float dp = load(da[at]);
            float gradient = ((is_allowed(allowed, s, mask_s) ? dp : 0.f) - mean) * load(p[at]);
            if (uncapped != nullptr) store(uncapped + at, gradient);        // the gradient of the bias
            if (u != nullptr) gradient *= 1.f - load(u[at]) * load(u[at]);
            store(da + at, gradient);
        }
    }
}

// ---------------------------------------------------------------- version 3: tiles, and rows in registers

#define TILE 64                                       // rows and columns of the output that a block makes: 4 warps
#define DEEP 16                                       // of what is summed over, at a time
#define WIDE (TILE + 4)                               // a row of a tile in shared memory, with a gap: two lanes meet in
                                                      // a bank where a column is stored, instead of sixteen
#define ROWS 16                                       // of each warp
#define COLUMNS 2                                     // of each lane, 32 apart

// Brings DEEP × TILE numbers into shared memory, [depth][row]; 0 outside.  In global memory either the depth lies
// side by side, BY_DEPTH, or the rows do.  True where one of them is infinite or NaN.
template <bool BY_DEPTH>
__device__ inline bool stage(const Real* from, long step, int first, int count, int start, int depth, float* to) {
    bool strange = false;
    for (int i = threadIdx.x; i < DEEP * TILE; i += 128) {
        const int d = BY_DEPTH ? i % DEEP : i / TILE, r = BY_DEPTH ? i / DEEP : i % TILE;
        float value = 0.f;
        if (first + r < count && start + d < depth)
            value = load(BY_DEPTH ? from[(first + r) * step + start + d] : from[(start + d) * step + first + r]);
        strange |= !(fabsf(value) < -MINUS_INFINITY);
        to[d * WIDE + r] = value;
    }
    return strange;
}

// The heart of both products.  A lane's 16 rows are its warp's, so all lanes read the same numbers of `left`, four at a
// time; of `right` neighbours read neighbours.
__device__ inline void multiply(const float* left, const float* right, float (&sums)[ROWS][COLUMNS]) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
    for (int d = 0; d < DEEP; ++d) {
        float rows[ROWS], columns[COLUMNS];
#pragma unroll
        for (int i = 0; i < ROWS; i += 4) {
            const float4 four = *(const float4*)(left + d * WIDE + ROWS * warp + i);
            rows[i] = four.x, rows[i + 1] = four.y, rows[i + 2] = four.z, rows[i + 3] = four.w;
        }
#pragma unroll
        for (int j = 0; j < COLUMNS; ++j) columns[j] = right[d * WIDE + lane + 32 * j];
#pragma unroll
        for (int i = 0; i < ROWS; ++i)
#pragma unroll
            for (int j = 0; j < COLUMNS; ++j) sums[i][j] += rows[i] * columns[j];
    }
}

// The same where something is infinite or NaN: what is not allowed has to be left out, as 0 · NaN is NaN.
__device__ inline void multiply_allowed(const float* left, const float* right, const bool* mask, int mask_row,
                                        int mask_deep, int rows, int depth, float (&sums)[ROWS][COLUMNS]) {
    const int lane = threadIdx.x % 32, first = threadIdx.x / 32 * ROWS;
    for (int d = 0; d < DEEP && d < depth; ++d)
#pragma unroll
        for (int i = 0; i < ROWS; ++i)
            if (first + i < rows && mask[(long)(first + i) * mask_row + (long)d * mask_deep])
#pragma unroll
                for (int j = 0; j < COLUMNS; ++j)
                    sums[i][j] += left[d * WIDE + first + i] * right[d * WIDE + lane + 32 * j];
}

//= a = (scale * q) @ k.swapaxes(-1, -2)                        # (*B, T, S)
//= u = np.tanh(a / softcap)                                # (*B, T, S)
//= a = softcap * u
//= dp = do @ v.swapaxes(-1, -2)                                # (*B, T, S)
//: threads 128
//: reads batch * (width * real * (queries * ceil(keys, 64) + keys * ceil(queries, 64)) + (bias is not None) * queries * (8 * ceil(keys, 32) + real * (keys if bias_s else ceil(keys, 32))))
//: writes batch * queries * keys * real * (1 + (u is not None))
//: fma per load 2
extern "C" __global__ void __launch_bounds__(128) scores_tiled(
    const Real* __restrict__ q, const Real* __restrict__ k, const Real* __restrict__ bias,
    const long* __restrict__ bias_of, int bias_t, int bias_s, Real* __restrict__ u, Real* __restrict__ a,
    int batch, int queries, int keys, int width, float scale, float softcap) {
    __shared__ float4 left[DEEP * WIDE / 4], right[DEEP * WIDE / 4];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int down = (queries + TILE - 1) / TILE, across = (keys + TILE - 1) / TILE;
    for (long tile = blockIdx.x; tile < (long)batch * down * across; tile += gridDim.x) {
        const long b = tile / across / down;
        const int t0 = tile / across % down * TILE, s0 = tile % across * TILE;
        float sums[ROWS][COLUMNS] = {};
        for (int start = 0; start < width; start += DEEP) {
            stage<true>(q + b * queries * width, width, t0, queries, start, width, (float*)left);
            stage<true>(k + b * keys * width, width, s0, keys, start, width, (float*)right);
            __syncthreads();
            multiply((const float*)left, (const float*)right, sums);
            __syncthreads();                                                // before the next tile overwrites these
        }
#pragma unroll
        for (int i = 0; i < ROWS; ++i)
#pragma unroll
            for (int j = 0; j < COLUMNS; ++j) {
                const int t = t0 + ROWS * warp + i, s = s0 + lane + 32 * j;
                if (t >= queries || s >= keys) continue;
                const Real* added = row_of(bias, bias_of, b, t, bias_t);
                const long at = (b * queries + t) * keys + s;
                finish(scale * sums[i][j], softcap, u == nullptr ? nullptr : u + at,
                       added == nullptr ? nullptr : added + (long)s * bias_s, a + at);
            }
    }
}

//= o = weigh(p, v, allowed)                                    # (*B, T, E)            (1)
//= dv = weigh(p.swapaxes(-1, -2), do, turned)                  # (*B, S, E)
//= dq = scale * weigh(da, k, mask)                             # (*B, T, D)
//= dk = scale * weigh(da.swapaxes(-1, -2), q, turned)          # (*B, S, D)
//: threads 128
//: reads batch * depth * real * (rows * ceil(columns, 64) + columns * ceil(rows, 64))
//: writes batch * rows * columns * real
//: fma per load 2
extern "C" __global__ void __launch_bounds__(128) weigh_tiled(
    const Real* __restrict__ map, int turned, const Real* __restrict__ x, const bool* __restrict__ mask,
    const long* __restrict__ mask_of, int mask_row, int mask_deep, Real* __restrict__ y, int batch, int rows,
    int depth, int columns, float scale) {
    __shared__ float4 left[DEEP * WIDE / 4], right[DEEP * WIDE / 4];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int down = (rows + TILE - 1) / TILE, across = (columns + TILE - 1) / TILE;
    for (long tile = blockIdx.x; tile < (long)batch * down * across; tile += gridDim.x) {
        const long b = tile / across / down;
        const int r0 = tile / across % down * TILE, e0 = tile % across * TILE;
        const Real* weights = map + b * rows * depth;
        float sums[ROWS][COLUMNS] = {};
        for (int start = 0; start < depth; start += DEEP) {
            bool strange = stage<false>(x + b * depth * columns, columns, e0, columns, start, depth, (float*)right);
            if (turned) strange |= stage<false>(weights, rows, r0, rows, start, depth, (float*)left);
            else strange |= stage<true>(weights, depth, r0, rows, start, depth, (float*)left);
            // Where all numbers are finite the weight of what is not allowed, 0, is enough, and no mask is read.
            if (__syncthreads_or(strange) && mask != nullptr)
                multiply_allowed((const float*)left, (const float*)right,
                                 row_of(mask, mask_of, b, r0, mask_row) + (long)start * mask_deep, mask_row, mask_deep,
                                 rows - r0, depth - start, sums);
            else
                multiply((const float*)left, (const float*)right, sums);
            __syncthreads();
        }
#pragma unroll
        for (int i = 0; i < ROWS; ++i)
#pragma unroll
            for (int j = 0; j < COLUMNS; ++j) {
                const int r = r0 + ROWS * warp + i, e = e0 + lane + 32 * j;
                if (r < rows && e < columns) store(y + (b * rows + r) * columns + e, scale * sums[i][j]);
            }
    }
}

__device__ inline float row_max(float x, float* part) { return LANES == 32 ? warp_max(x) : block_max(x, part); }
__device__ inline float row_sum(float x, float* part) { return LANES == 32 ? warp_sum(x) : block_sum(x, part); }
__device__ inline bool row_any(bool x) { return LANES == 32 ? __any_sync(ALL_LANES, x) : __syncthreads_or(x); }

//= p, _ = softmax.forward(a if bias is None else a + bias, mask=allowed) if a.shape[-1] else (a, None)
//: threads 256
//: reads batch * queries * (keys * real + (mask is not None) * ((keys if mask_s else ceil(keys, 32)) + LANES // 4))
//: writes batch * queries * keys * real
extern "C" __global__ void __launch_bounds__(256, 2) softmax_kept(
    Real* p, const bool* __restrict__ mask, const long* __restrict__ mask_of, int mask_t, int mask_s, int batch,
    int queries, int keys) {
    __shared__ float part[8];
    const int lane = threadIdx.x % LANES, together = 256 / LANES;           // rows of one block
    const long rows = (long)batch * queries;
    for (long first = (long)blockIdx.x * together; first < rows; first += (long)gridDim.x * together) {
        const long row = first + threadIdx.x / LANES;
        const int there = row < rows ? keys : 0;                            // a warp without a row keeps in step
        const bool* allowed = there ? row_of(mask, mask_of, row / queries, row % queries, mask_t) : nullptr;
        float kept[KEEP], largest = MINUS_INFINITY, sum = 0.f;
        bool some = false;
#pragma unroll
        for (int i = 0; i < KEEP; ++i) {
            const int s = i * LANES + lane;
            kept[i] = MINUS_INFINITY;
            if (s < there) {
                const float a = load(p[row * keys + s]);
                const bool takes_part = is_allowed(allowed, s, mask_s);
                kept[i] = takes_part ? a : MINUS_INFINITY;
                some |= takes_part;
            }
            largest = fmaxf(largest, kept[i]);
        }
        largest = row_max(largest, part);
        some = row_any(some);
#pragma unroll
        for (int i = 0; i < KEEP; ++i) sum += kept[i] = expf(kept[i] - largest);
        sum = row_sum(sum, part);
#pragma unroll
        for (int i = 0; i < KEEP; ++i) {
            const int s = i * LANES + lane;
            if (s < there) store(p + row * keys + s, some ? kept[i] / sum : 0.f);       // no key: every weight is 0
        }
    }
}

//= da, = softmax.backward(dp, softmax.Cache(p, mask, -1))
//= da = da * (1 - u**2)
//: threads 256
//: reads batch * queries * (keys * real * (2 + (u is not None)) + (mask is not None) * ((keys if mask_s else ceil(keys, 32)) + LANES // 4))
//: writes batch * queries * keys * real * (1 + (uncapped is not None))
extern "C" __global__ void __launch_bounds__(256, 2) softmax_backward_kept(
    Real* da, const Real* __restrict__ p, const Real* __restrict__ u, Real* __restrict__ uncapped,
    const bool* __restrict__ mask, const long* __restrict__ mask_of, int mask_t, int mask_s, int batch, int queries,
    int keys) {
    __shared__ float part[8];
    const int lane = threadIdx.x % LANES, together = 256 / LANES;
    const long rows = (long)batch * queries;
    for (long first = (long)blockIdx.x * together; first < rows; first += (long)gridDim.x * together) {
        const long row = first + threadIdx.x / LANES;
        const int there = row < rows ? keys : 0;
        const bool* allowed = there ? row_of(mask, mask_of, row / queries, row % queries, mask_t) : nullptr;
        float weights[KEEP], gradients[KEEP], mean = 0.f;                   // Σ_s dp_s p_s
#pragma unroll
        for (int i = 0; i < KEEP; ++i) {
            const int s = i * LANES + lane;
            weights[i] = gradients[i] = 0.f;
            if (s < there) {
                const float dp = load(da[row * keys + s]);
                weights[i] = load(p[row * keys + s]);
                gradients[i] = is_allowed(allowed, s, mask_s) ? dp : 0.f;
            }
            mean += gradients[i] * weights[i];
        }
        mean = row_sum(mean, part);
#pragma unroll
        for (int i = 0; i < KEEP; ++i) {
            const int s = i * LANES + lane;
            if (s >= there) continue;
            const long at = row * keys + s;
            float gradient = (gradients[i] - mean) * weights[i];
            if (uncapped != nullptr) store(uncapped + at, gradient);        // the gradient of the bias
            if (u != nullptr) {
                const float capped = load(u[at]);
                gradient *= 1.f - capped * capped;
            }
            store(da + at, gradient);
        }
    }
}
