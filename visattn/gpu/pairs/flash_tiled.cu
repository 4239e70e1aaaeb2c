// FlashAttention, version 3: tiles in registers.  flash.cu tells the story before and after.
//
// A block of 16 × 16 threads owns OWN rows and meets OTHERS rows after OTHERS rows.  Both lie in shared memory, and of
// their products thread (x, y) computes the ones between own rows TALL y, TALL y + 1, … and other rows x, x + 16, …
// With TALL = 4 and WIDTH = 2 it reads 6 vectors of 4 numbers for 32 multiply-adds, where version 2 reads 64 numbers.
// The weights then go through shared memory, and the same thread computes columns 2x, 2x + 1, 2x + 32, … of the sums for
// its own rows.  The 16 threads that share rows are half a warp: largest and sum are four shuffles.
//
//   flash_tiled         own rows are queries, the others keys, and then values in the same place
//   flash_tiled_dq      own rows are queries with their do, the others values and then keys
//   flash_tiled_dkdv    own rows are keys with their values, the others queries with their do: of every head that reads
//                       these keys
//
// The rows are 4 numbers longer than the head, so that vectors of 8 neighbouring rows lie in different banks.  OWN is 64
// where two blocks then fit a multiprocessor of 164 KiB, else 32: of 64 rows, keys and values are read half as often.
// Cards before sm_80 have 64 KiB: heads of 32 columns fit twice, of 64 once, and backward of wider ones not at all.
#include "flash.cuh"

//: compile Real=float HEAD=32 VALUE=32 OWN=64 OTHERS=32
//: compile Real=float HEAD=64 VALUE=64 OWN=64 OTHERS=32 from sm_80
//: compile Real=float HEAD=128 VALUE=128 OWN=64 OTHERS=32 from sm_80
//: compile Real=float HEAD=128 VALUE=128 OWN=32 OTHERS=32 from sm_80
//: compile Real=float HEAD=256 VALUE=256 OWN=32 OTHERS=32 from sm_80
//: compile Real=__half HEAD=64 VALUE=64 OWN=64 OTHERS=32 from sm_80
//: compile Real=__half HEAD=128 VALUE=128 OWN=64 OTHERS=32 from sm_80
//: compile Real=__half HEAD=256 VALUE=256 OWN=32 OTHERS=32 from sm_80
//: compile Real=__nv_bfloat16 HEAD=64 VALUE=64 OWN=64 OTHERS=32 from sm_80
//: compile Real=__nv_bfloat16 HEAD=128 VALUE=128 OWN=64 OTHERS=32 from sm_80
//: compile Real=__nv_bfloat16 HEAD=256 VALUE=256 OWN=32 OTHERS=32 from sm_80
#ifndef HEAD
#define HEAD 64                                       // columns of q and k, rounded up: 32, 64, 96, 128 or 256
#define VALUE 64                                      // columns of v
#define OWN 64
#define OTHERS 32
#endif
#define THREADS 256
#define TALL (OWN / 16)                               // a thread's part of the scores: TALL × WIDTH
#define WIDTH (OTHERS / 16)
#define WIDE (HEAD > VALUE ? HEAD : VALUE)
#define PAD 4

// scores[i][j] = Σ_d own[TALL y + i][d] others[x + 16 j][d]
template <int COLUMNS>
__device__ inline void products(const float* own, const float* others, float (&scores)[TALL][WIDTH]) {
    own += threadIdx.x / 16 * TALL * (COLUMNS + PAD);
    others += threadIdx.x % 16 * (COLUMNS + PAD);
#pragma unroll
    for (int i = 0; i < TALL; ++i)
#pragma unroll
        for (int j = 0; j < WIDTH; ++j) scores[i][j] = 0.f;
#pragma unroll 1
    for (int d = 0; d < COLUMNS; d += 4) {
        float4 a[TALL], b[WIDTH];
#pragma unroll
        for (int i = 0; i < TALL; ++i) a[i] = *(const float4*)(own + i * (COLUMNS + PAD) + d);
#pragma unroll
        for (int j = 0; j < WIDTH; ++j) b[j] = *(const float4*)(others + 16 * j * (COLUMNS + PAD) + d);
#pragma unroll
        for (int i = 0; i < TALL; ++i)
#pragma unroll
            for (int j = 0; j < WIDTH; ++j) {
                scores[i][j] += a[i].x * b[j].x;
                scores[i][j] += a[i].y * b[j].y;
                scores[i][j] += a[i].z * b[j].z;
                scores[i][j] += a[i].w * b[j].w;
            }
    }
}

// sums[i][c] += Σ_j weights[TALL y + i][j] rows[j][c], of the columns of this thread; a pair that is not there is left
// out where a row has a number that 0 does not make 0.
template <int COLUMNS, bool ODD>
__device__ inline void gather_some(const float* weights, const float* rows, float (&sums)[TALL][COLUMNS / 16]) {
    weights += threadIdx.x / 16 * TALL * (OTHERS + PAD);
    rows += threadIdx.x % 16 * 2;
#pragma unroll 1
    for (int j = 0; j < OTHERS; j += 4) {
        float w[TALL][4];
#pragma unroll
        for (int i = 0; i < TALL; ++i) *(float4*)w[i] = *(const float4*)(weights + i * (OTHERS + PAD) + j);
#pragma unroll
        for (int n = 0; n < 4; ++n)
#pragma unroll
            for (int c = 0; c < COLUMNS / 32; ++c) {
                float2 row = *(const float2*)(rows + (j + n) * (COLUMNS + PAD) + 32 * c);
#pragma unroll
                for (int i = 0; i < TALL; ++i) {
                    if (ODD && absent(w[i][n])) continue;
                    sums[i][2 * c] += w[i][n] * row.x;
                    sums[i][2 * c + 1] += w[i][n] * row.y;
                }
            }
    }
}
template <int COLUMNS>
__device__ inline void gather(bool odd, const float* weights, const float* rows, float (&sums)[TALL][COLUMNS / 16]) {
    if (odd)
        gather_some<COLUMNS, true>(weights, rows, sums);
    else
        gather_some<COLUMNS, false>(weights, rows, sums);
}

// Every thread shows the others its part of the weights.
__device__ inline void show(const float (&part)[TALL][WIDTH], float* weights) {
    weights += threadIdx.x / 16 * TALL * (OTHERS + PAD) + threadIdx.x % 16;
#pragma unroll
    for (int i = 0; i < TALL; ++i)
#pragma unroll
        for (int j = 0; j < WIDTH; ++j) weights[i * (OTHERS + PAD) + 16 * j] = part[i][j];
}

// factors[i] sums[i] go to row TALL y + i of `rows` rows of `columns` numbers.
template <int COLUMNS, class To>
__device__ inline void write_rows(const float (&sums)[TALL][COLUMNS / 16], const float (&factors)[TALL], int rows,
                                  int columns, To* to) {
#pragma unroll
    for (int i = 0; i < TALL; ++i)
#pragma unroll
        for (int c = 0; c < COLUMNS / 16; ++c) {
            int row = threadIdx.x / 16 * TALL + i, column = threadIdx.x % 16 * 2 + c / 2 * 32 + c % 2;
            if (row < rows && column < columns) store(to + (long)row * columns + column, factors[i] * sums[i][c]);
        }
}

// Over the 16 threads that have the same rows.
__device__ inline float half_warp_max(float x) {
    for (int by = 8; by > 0; by /= 2) x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, by));
    return x;
}
__device__ inline float half_warp_sum(float x) {
    for (int by = 8; by > 0; by /= 2) x += __shfl_xor_sync(ALL_LANES, x, by);
    return x;
}

//= shrink = np.exp(m_old - or_zero(m))
//= u = shrink * u + weigh(p, part(v, head, q)[cols], allowed)          # (rows, E)
//: threads 256
//: shared 4 * (OWN * (HEAD + 4) + OTHERS * (max(HEAD, VALUE) + 4) + OWN * (OTHERS + 4))
//: reads blocks // ceil(T, OWN) * (real * T * D + (min(S, OWN + diagonal) + min(S, T + diagonal)) / 2 / max(1, ceil(S, share)) * (ceil(T, OWN) * real * (D + E) + T * ((mask is not None) + real * (bias is not None))))
//: writes blocks // ceil(T, OWN) * T * (E + 1) * (real if parts is None else 4)
//: fma per load 2
extern "C" __global__ void __launch_bounds__(THREADS, 2) flash_tiled(
    const Real* __restrict__ q, const Real* __restrict__ k, const Real* __restrict__ v, const Real* __restrict__ bias,
    const bool* __restrict__ mask, Real* __restrict__ o, Real* __restrict__ lse, float* __restrict__ parts,
    float* __restrict__ parts_lse, int share, int T, int S, int D, int E, int heads, int group, int diagonal,
    float scale, long bias_batch, long bias_head, long bias_query, long bias_key, long mask_batch, long mask_head,
    long mask_query, long mask_key) {
    extern __shared__ float4 shared[];                // of vectors, that every tile begins where one may
    float* queries = (float*)shared;
    float* tile = queries + OWN * (HEAD + PAD);       // keys, then their values
    float* weights = tile + OTHERS * (WIDE + PAD);
    const int x = threadIdx.x % 16, y = threadIdx.x / 16, tiles = (T + OWN - 1) / OWN;
    const long head = blockIdx.x / tiles, row = head * T + blockIdx.x % tiles * OWN;
    const int t0 = blockIdx.x % tiles * OWN;
    const Pairs pairs = pairs_of(head, heads, bias, mask, bias_batch, bias_head, bias_query, bias_key, mask_batch,
                                 mask_head, mask_query, mask_key, diagonal);
    k += head / group * S * D;
    v += head / group * S * E;
    load_rows<THREADS, OWN, HEAD, HEAD + PAD>(q + row * D, T - t0, D, queries);
    float m[TALL], l[TALL] = {}, u[TALL][VALUE / 16] = {};
#pragma unroll
    for (int i = 0; i < TALL; ++i) m[i] = MINUS_INFINITY;

    // Of the keys that the block's last query may see, blockIdx.y has a share.
    const int seen = min(min(S, t0 + OWN + diagonal), (int)(blockIdx.y + 1) * share);
    for (int first = blockIdx.y * share; first < seen; first += OTHERS) {
        __syncthreads();                              // whoever still reads the tile before
        load_rows<THREADS, OTHERS, HEAD, HEAD + PAD>(k + (long)first * D, seen - first, D, tile);
        __syncthreads();
        float p[TALL][WIDTH];
        products<HEAD>(queries, tile, p);
#pragma unroll
        for (int i = 0; i < TALL; ++i) {
            const int t = t0 + TALL * y + i;
            float largest = m[i], sum = 0.f;
#pragma unroll
            for (int j = 0; j < WIDTH; ++j) {
                const int s = first + x + 16 * j;
                p[i][j] = t < T && s < seen ? among(pairs, scale * p[i][j], t, s) : MINUS_INFINITY;
                largest = fmaxf(largest, p[i][j]);
            }
            largest = half_warp_max(largest);
#pragma unroll
            for (int j = 0; j < WIDTH; ++j) sum += p[i][j] = weight_of(p[i][j], or_zero(largest));
            const float shrink = expf(m[i] - or_zero(largest));
            m[i] = largest;
            l[i] = shrink * l[i] + half_warp_sum(sum);
#pragma unroll
            for (int c = 0; c < VALUE / 16; ++c) u[i][c] *= shrink;
        }
        show(p, weights);
        __syncthreads();                              // all have their scores: the values take the place of the keys
        bool odd = load_rows<THREADS, OTHERS, VALUE, VALUE + PAD>(v + (long)first * E, seen - first, E, tile);
        odd = __syncthreads_or(odd);
        gather<VALUE>(odd, weights, tile, u);
    }
    float factors[TALL];
#pragma unroll
    for (int i = 0; i < TALL; ++i) factors[i] = m[i] == MINUS_INFINITY ? 0.f : 1.f / l[i];
    const long part = blockIdx.y * (gridDim.x / tiles) * (long)T + row;
    if (parts == nullptr)
        write_rows<VALUE>(u, factors, T - t0, E, o + row * E);
    else
        write_rows<VALUE>(u, factors, T - t0, E, parts + part * E);
#pragma unroll
    for (int i = 0; i < TALL; ++i) {
        const int its = TALL * y + i;
        if (x > 0 || t0 + its >= T) continue;
        const float its_lse = m[i] == MINUS_INFINITY ? m[i] : m[i] + logf(l[i]);
        if (parts == nullptr)
            store(lse + row + its, its_lse);
        else
            parts_lse[part + its] = its_lse;
    }
}

//= dp -= delta[head][rows][:, None]
//= dqs += scale * weigh(da, part(k, head, q)[cols], allowed)
//: threads 256
//: shared 4 * (OWN * (HEAD + VALUE + 8) + OTHERS * (max(HEAD, VALUE) + 4) + OWN * (OTHERS + 4))
//: reads blocks // ceil(T, OWN) * (T * (real * (D + E + 1) + 4) + (min(S, OWN + diagonal) + min(S, T + diagonal)) / 2 * (ceil(T, OWN) * real * (D + E) + T * ((mask is not None) + real * (bias is not None))))
//: writes blocks // ceil(T, OWN) * T * (real * D + (4 * S if scores is not None else 0))
//: fma per load 2
//: blocks 1 because queries and do of 256 columns each leave room for no second block below 228 KiB
extern "C" __global__ void __launch_bounds__(THREADS, 2) flash_tiled_dq(
    const Real* __restrict__ q, const Real* __restrict__ k, const Real* __restrict__ v, const Real* __restrict__ bias,
    const bool* __restrict__ mask, const Real* __restrict__ dout, const Real* __restrict__ lse,
    const float* __restrict__ delta, Real* __restrict__ dq, float* __restrict__ scores, int T, int S, int D, int E,
    int heads, int group, int diagonal, float scale, long bias_batch, long bias_head, long bias_query, long bias_key,
    long mask_batch, long mask_head, long mask_query, long mask_key) {
    extern __shared__ float4 shared[];
    float* queries = (float*)shared;
    float* douts = queries + OWN * (HEAD + PAD);
    float* tile = douts + OWN * (VALUE + PAD);        // values, then their keys
    float* weights = tile + OTHERS * (WIDE + PAD);
    const int x = threadIdx.x % 16, y = threadIdx.x / 16, tiles = (T + OWN - 1) / OWN;
    const long head = blockIdx.x / tiles, row = head * T + blockIdx.x % tiles * OWN;
    const int t0 = blockIdx.x % tiles * OWN;
    const Pairs pairs = pairs_of(head, heads, bias, mask, bias_batch, bias_head, bias_query, bias_key, mask_batch,
                                 mask_head, mask_query, mask_key, diagonal);
    k += head / group * S * D;
    v += head / group * S * E;
    load_rows<THREADS, OWN, HEAD, HEAD + PAD>(q + row * D, T - t0, D, queries);
    load_rows<THREADS, OWN, VALUE, VALUE + PAD>(dout + row * E, T - t0, E, douts);
    float base[TALL], its_delta[TALL], factors[TALL], sums[TALL][HEAD / 16] = {};
#pragma unroll
    for (int i = 0; i < TALL; ++i) {
        const int its = TALL * y + i;
        base[i] = t0 + its < T ? or_zero(load(lse[row + its])) : 0.f;
        its_delta[i] = t0 + its < T ? delta[row + its] : 0.f;
        factors[i] = scale;
    }

    const int seen = min(S, t0 + OWN + diagonal);
    for (int first = 0; first < seen; first += OTHERS) {
        __syncthreads();
        load_rows<THREADS, OTHERS, VALUE, VALUE + PAD>(v + (long)first * E, seen - first, E, tile);
        __syncthreads();
        float a[TALL][WIDTH], da[TALL][WIDTH];
        products<VALUE>(douts, tile, da);
        __syncthreads();
        bool odd = load_rows<THREADS, OTHERS, HEAD, HEAD + PAD>(k + (long)first * D, seen - first, D, tile);
        odd = __syncthreads_or(odd);
        products<HEAD>(queries, tile, a);
#pragma unroll
        for (int i = 0; i < TALL; ++i)
#pragma unroll
            for (int j = 0; j < WIDTH; ++j) {
                const int its = TALL * y + i, t = t0 + its, s = first + x + 16 * j;
                const bool there = t < T && s < seen;
                float p = weight_of(there ? among(pairs, scale * a[i][j], t, s) : MINUS_INFINITY, base[i]);
                da[i][j] = absent(p) ? ABSENT : p * (da[i][j] - its_delta[i]);
                if (scores != nullptr && there) scores[(row + its) * S + s] = da[i][j];
            }
        show(da, weights);
        __syncthreads();
        gather<HEAD>(odd, weights, tile, sums);
    }
    write_rows<HEAD>(sums, factors, T - t0, D, dq + row * D);
    if (scores != nullptr)                            // above the diagonal there is nothing
        for (int its = y; its < min(OWN, T - t0); its += 16)
            for (int s = max(seen, 0) + x; s < S; s += 16) scores[(row + its) * S + s] = 0.f;
}

//= dvs += weigh(p.T, do[head][rows], turned)
//= dks += scale * weigh(da.T, q[head][rows], turned)
//: threads 256
//: shared 4 * ((OWN + OTHERS) * (HEAD + VALUE + 8) + OWN * (OTHERS + 4))
//: reads blocks // ceil(S, OWN) * (real * S * (D + E) + group * (T + min(T, T + diagonal - (ceil(S, OWN) - 1) * OWN)) / 2 * (ceil(S, OWN) * (real * (D + E) + 8 * (real + 4)) + S * ((mask is not None) + real * (bias is not None))))
//: writes blocks // ceil(S, OWN) * real * S * (D + E)
//: fma per load 2
//: blocks 1 because four tiles of 256 columns leave room for no second block
extern "C" __global__ void __launch_bounds__(THREADS, 2) flash_tiled_dkdv(
    const Real* __restrict__ q, const Real* __restrict__ k, const Real* __restrict__ v, const Real* __restrict__ bias,
    const bool* __restrict__ mask, const Real* __restrict__ dout, const Real* __restrict__ lse,
    const float* __restrict__ delta, Real* __restrict__ dk, Real* __restrict__ dv, int T, int S, int D, int E,
    int heads, int group, int diagonal, float scale, long bias_batch, long bias_head, long bias_query, long bias_key,
    long mask_batch, long mask_head, long mask_query, long mask_key) {
    extern __shared__ float4 shared[];
    float* keys = (float*)shared;
    float* values = keys + OWN * (HEAD + PAD);
    float* queries = values + OWN * (VALUE + PAD);
    float* douts = queries + OTHERS * (HEAD + PAD);
    float* weights = douts + OTHERS * (VALUE + PAD);
    const int x = threadIdx.x % 16, y = threadIdx.x / 16, tiles = (S + OWN - 1) / OWN;
    const long key_head = blockIdx.x / tiles, row = key_head * S + blockIdx.x % tiles * OWN;
    const int s0 = blockIdx.x % tiles * OWN;
    load_rows<THREADS, OWN, HEAD, HEAD + PAD>(k + row * D, S - s0, D, keys);
    load_rows<THREADS, OWN, VALUE, VALUE + PAD>(v + row * E, S - s0, E, values);
    float dk_sums[TALL][HEAD / 16] = {}, dv_sums[TALL][VALUE / 16] = {};

    for (long head = key_head * group; head < (key_head + 1) * group; ++head) {
        const Pairs pairs = pairs_of(head, heads, bias, mask, bias_batch, bias_head, bias_query, bias_key, mask_batch,
                                     mask_head, mask_query, mask_key, diagonal);
        for (int first = max(0, s0 - diagonal); first < T; first += OTHERS) {   // queries that may see the first key
            __syncthreads();
            bool odd = load_rows<THREADS, OTHERS, HEAD, HEAD + PAD>(q + (head * T + first) * D, T - first, D, queries);
            odd |= load_rows<THREADS, OTHERS, VALUE, VALUE + PAD>(dout + (head * T + first) * E, T - first, E, douts);
            odd = __syncthreads_or(odd);
            float p[TALL][WIDTH], da[TALL][WIDTH];
            products<HEAD>(keys, queries, p);
            products<VALUE>(values, douts, da);
#pragma unroll
            for (int j = 0; j < WIDTH; ++j) {
                const int t = first + x + 16 * j;
                const float base = t < T ? or_zero(load(lse[head * T + t])) : 0.f;
                const float its_delta = t < T ? delta[head * T + t] : 0.f;
#pragma unroll
                for (int i = 0; i < TALL; ++i) {
                    const int s = s0 + TALL * y + i;
                    const bool there = t < T && s < S;
                    p[i][j] = weight_of(there ? among(pairs, scale * p[i][j], t, s) : MINUS_INFINITY, base);
                    da[i][j] = absent(p[i][j]) ? ABSENT : p[i][j] * (da[i][j] - its_delta);
                }
            }
            show(p, weights);
            __syncthreads();
            gather<VALUE>(odd, weights, douts, dv_sums);
            __syncthreads();
            show(da, weights);                        // they take the place of p
            __syncthreads();
            gather<HEAD>(odd, weights, queries, dk_sums);
        }
    }
    float scales[TALL], ones[TALL];
#pragma unroll
    for (int i = 0; i < TALL; ++i) scales[i] = scale, ones[i] = 1.f;
    write_rows<HEAD>(dk_sums, scales, S - s0, D, dk + row * D);
    write_rows<VALUE>(dv_sums, ones, S - s0, E, dv + row * E);
}
