// FlashAttention: attention whose map is never in memory.  A block of queries meets tile after tile of the keys; the
// largest score so far, the sum so far and the output so far stay on the chip, and are scaled whenever a larger score
// turns up.  Backward has the weights again as exp(score - lse), from one number a query.
//
//   version 2   flash.cu          a warp is a query.  While scores are taken its lanes are the 32 keys of a tile, each
//                                 with a whole product q·k; while values are gathered they are the columns of the
//                                 output.  Largest and sum are warp shuffles.  Each multiply-add waits for a number
//                                 from shared memory: that is the limit
//   version 3   flash_tiled.cu    a thread is a small block of scores, then of outputs: a number that came from shared
//                                 memory is multiplied with several others
//   version 4   flash_tensor.cu   a warp is 16 queries; tensor cores multiply 16 × 16 × 16 of half precision at once.
//                                 This ships; for float32, and for backward, it is version 3
//
// Few queries make few blocks: one query of 8 heads would keep 8 multiprocessors busy.  From version 3 on the blocks then
// share out the keys.  Each writes its output and log-sum-exp in float32, and flash_merge joins them.
//
// What moves.  For each of B·Gq query heads the queries are read once, and keys and values once for each tile of
// QUERIES queries:
//
//   T D + ⌈T / QUERIES⌉ S (D + E) read,  T (E + 1) written,    times bytes of a number
//
// so a tile of twice the queries halves what keys and values cost, for as long as it fits into shared memory: version 2
// has 8 queries a block, version 3 up to 64, version 4 has 64.  Under a causal mask the keys above the diagonal of a
// block's last query are not read.  Mask and bias, where given, are read once for each pair below the diagonal.  What
// the kernels say below is exact without a causal mask, and with one to a tenth where T = S.
//
// Backward has no atomics, so it gives the same bits each time: one kernel has a block for each tile of queries and sums
// dq over the keys, another a block for each tile of keys and sums dk and dv over the queries of all heads that read
// them.  Both take the scores anew: 7 products of a tile instead of the 5 that atomics would need.  The gradient of a
// bias alone needs every score's own: 4 B Gq T S bytes, written once and then summed where the bias was broadcast.
// lse has the precision of the rest; in half precision its rounding is that of all weights of its query in backward.
#include "flash.cuh"

//: compile Real=float HEAD=64 VALUE=64
//: compile Real=float HEAD=128 VALUE=128 from sm_80
//: compile Real=float HEAD=256 VALUE=256 from sm_80
//: compile Real=__half HEAD=64 VALUE=64
//: compile Real=__half HEAD=256 VALUE=256 from sm_80
//: compile Real=__nv_bfloat16 HEAD=64 VALUE=64
//: compile Real=__nv_bfloat16 HEAD=256 VALUE=256 from sm_80
#ifndef HEAD
#define HEAD 64                                       // columns of q and k, rounded up: 32, 64, 96, 128 or 256
#define VALUE 64                                      // columns of v
#endif
#define WARPS 8
#define THREADS (32 * WARPS)
#define WIDE (HEAD > VALUE ? HEAD : VALUE)
// One number more than there are columns: 32 lanes that read a column of 32 rows meet 32 banks.
#define PADDED (WIDE + 1)

// The product of a row that is the warp's own and this lane's row of the tile.
template <int COLUMNS> __device__ inline float product(const float* own, const float* tile) {
    float sum = 0.f;
#pragma unroll 8
    for (int d = 0; d < COLUMNS; ++d) sum += own[d] * tile[threadIdx.x % 32 * PADDED + d];
    return sum;
}

// Σ_j weight_j row_j over the 32 rows of the tile; this lane holds the weight of its row, and columns lane, lane + 32, …
template <int COLUMNS> __device__ inline void gather(float weight, const float* tile, float* sums) {
    for (int j = 0; j < 32; ++j) {
        float w = __shfl_sync(ALL_LANES, weight, j);
        if (absent(w)) continue;                      // 0 · NaN is NaN
#pragma unroll
        for (int i = 0; i < COLUMNS / 32; ++i) sums[i] += w * tile[j * PADDED + threadIdx.x % 32 + 32 * i];
    }
}

template <int COLUMNS> __device__ inline void write_row(const float* sums, float factor, int columns, Real* to) {
#pragma unroll
    for (int i = 0; i < COLUMNS / 32; ++i) {
        int e = threadIdx.x % 32 + 32 * i;
        if (e < columns) store(to + e, factor * sums[i]);
    }
}

//= shrink = np.exp(m_old - or_zero(m))
//= u = shrink * u + weigh(p, part(v, head, q)[cols], allowed)          # (rows, E)
//: threads 256
//: shared 4 * (8 * HEAD + 32 * (max(HEAD, VALUE) + 1))
//: reads blocks // ceil(T, 8) * (real * T * D + (min(S, 8 + diagonal) + min(S, T + diagonal)) / 2 * (ceil(T, 8) * real * (D + E) + T * ((mask is not None) + real * (bias is not None))))
//: writes real * blocks // ceil(T, 8) * T * (E + 1)
extern "C" __global__ void __launch_bounds__(THREADS, 4) flash_warps(
    const Real* __restrict__ q, const Real* __restrict__ k, const Real* __restrict__ v, const Real* __restrict__ bias,
    const bool* __restrict__ mask, Real* __restrict__ o, Real* __restrict__ lse, int T, int S, int D, int E, int heads,
    int group, int diagonal, float scale, long bias_batch, long bias_head, long bias_query, long bias_key,
    long mask_batch, long mask_head, long mask_query, long mask_key) {
    extern __shared__ float shared[];
    float* tile = shared + WARPS * HEAD;              // 32 keys, then their values
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, tiles = (T + WARPS - 1) / WARPS;
    const long head = blockIdx.x / tiles;
    const int t0 = blockIdx.x % tiles * WARPS, t = t0 + warp;
    const Pairs pairs = pairs_of(head, heads, bias, mask, bias_batch, bias_head, bias_query, bias_key, mask_batch,
                                 mask_head, mask_query, mask_key, diagonal);
    k += head / group * S * D;
    v += head / group * S * E;
    load_rows<THREADS, WARPS, HEAD, HEAD>(q + (head * T + t0) * D, T - t0, D, shared);
    float m = MINUS_INFINITY, l = 0.f, u[VALUE / 32] = {};

    const int seen = min(S, t0 + WARPS + diagonal);   // keys that the block's last query may see
    for (int first = 0; first < seen; first += 32) {
        const int s = first + lane;
        __syncthreads();                              // whoever still reads the tile before
        load_rows<THREADS, 32, HEAD, PADDED>(k + (long)first * D, seen - first, D, tile);
        __syncthreads();
        float a = scale * product<HEAD>(shared + warp * HEAD, tile);
        a = t < T && s < seen ? among(pairs, a, t, s) : MINUS_INFINITY;
        float m_old = m;
        m = fmaxf(m, warp_max(a));
        float p = weight_of(a, or_zero(m)), shrink = expf(m_old - or_zero(m));
        l = shrink * l + warp_sum(p);
        __syncthreads();                              // all have their scores: the values take the place of the keys
        load_rows<THREADS, 32, VALUE, PADDED>(v + (long)first * E, seen - first, E, tile);
        __syncthreads();
#pragma unroll
        for (int i = 0; i < VALUE / 32; ++i) u[i] *= shrink;
        gather<VALUE>(p, tile, u);
    }
    if (t < T) {
        write_row<VALUE>(u, m == MINUS_INFINITY ? 0.f : 1.f / l, E, o + (head * T + t) * E);
        if (lane == 0) store(lse + head * T + t, m == MINUS_INFINITY ? m : m + logf(l));
    }
}

//= delta = (do * o).sum(-1) - dlse                                                 # (*B, Gq, T)
//: threads 256
//: reads real * rows * (2 * E + 1)
//: writes 4 * rows
extern "C" __global__ void __launch_bounds__(THREADS) flash_delta(
    const Real* __restrict__ dout, const Real* __restrict__ o, const Real* __restrict__ dlse, float* __restrict__ delta,
    int rows, int E) {
    const int lane = threadIdx.x % 32;
    for (long row = (long)blockIdx.x * WARPS + threadIdx.x / 32; row < rows; row += (long)gridDim.x * WARPS) {
        float sum = 0.f;
        for (int e = lane; e < E; e += 32) sum += load(dout[row * E + e]) * load(o[row * E + e]);
        sum = warp_sum(sum);
        if (lane == 0) delta[row] = sum - load(dlse[row]);
    }
}

// What the shares of the keys gave for one query, joined: each counts by the sum that it had.
//= o[head][rows] = u / l
//: threads 256
//: reads 4 * shares * rows * (E + 2 + ceil(E, 32))
//: writes real * rows * (E + 1)
extern "C" __global__ void __launch_bounds__(THREADS) flash_merge(
    const float* __restrict__ parts, const float* __restrict__ parts_lse, Real* __restrict__ o,
    Real* __restrict__ lse, int rows, int E, int shares) {
    const int lane = threadIdx.x % 32;
    for (long row = (long)blockIdx.x * WARPS + threadIdx.x / 32; row < rows; row += (long)gridDim.x * WARPS) {
        float m = MINUS_INFINITY, l = 0.f;
        for (int i = 0; i < shares; ++i) m = fmaxf(m, parts_lse[(long)i * rows + row]);
        for (int i = 0; i < shares; ++i) l += expf(parts_lse[(long)i * rows + row] - or_zero(m));
        for (int e = lane; e < E; e += 32) {
            float sum = 0.f;
            for (int i = 0; i < shares; ++i)
                sum += expf(parts_lse[(long)i * rows + row] - or_zero(m)) * parts[((long)i * rows + row) * E + e];
            store(o + row * E + e, m == MINUS_INFINITY ? 0.f : sum / l);
        }
        if (lane == 0) store(lse + row, m == MINUS_INFINITY ? m : m + logf(l));
    }
}

//= dp -= delta[head][rows][:, None]
//= dqs += scale * weigh(da, part(k, head, q)[cols], allowed)
//: threads 256
//: shared 4 * (8 * (HEAD + VALUE) + 32 * (max(HEAD, VALUE) + 1))
//: reads blocks // ceil(T, 8) * (T * (real * (D + E + 1) + 4) + (min(S, 8 + diagonal) + min(S, T + diagonal)) / 2 * (ceil(T, 8) * real * (D + E) + T * ((mask is not None) + real * (bias is not None))))
//: writes blocks // ceil(T, 8) * T * (real * D + (4 * S if scores is not None else 0))
extern "C" __global__ void __launch_bounds__(THREADS, 3) flash_warps_dq(
    const Real* __restrict__ q, const Real* __restrict__ k, const Real* __restrict__ v, const Real* __restrict__ bias,
    const bool* __restrict__ mask, const Real* __restrict__ dout, const Real* __restrict__ lse,
    const float* __restrict__ delta, Real* __restrict__ dq, float* __restrict__ scores, int T, int S, int D, int E,
    int heads, int group, int diagonal, float scale, long bias_batch, long bias_head, long bias_query, long bias_key,
    long mask_batch, long mask_head, long mask_query, long mask_key) {
    extern __shared__ float shared[];
    float* douts = shared + WARPS * HEAD;
    float* tile = douts + WARPS * VALUE;              // 32 values, then their keys
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, tiles = (T + WARPS - 1) / WARPS;
    const long head = blockIdx.x / tiles;
    const int t0 = blockIdx.x % tiles * WARPS, t = t0 + warp;
    const Pairs pairs = pairs_of(head, heads, bias, mask, bias_batch, bias_head, bias_query, bias_key, mask_batch,
                                 mask_head, mask_query, mask_key, diagonal);
    k += head / group * S * D;
    v += head / group * S * E;
    load_rows<THREADS, WARPS, HEAD, HEAD>(q + (head * T + t0) * D, T - t0, D, shared);
    load_rows<THREADS, WARPS, VALUE, VALUE>(dout + (head * T + t0) * E, T - t0, E, douts);
    const float base = t < T ? or_zero(load(lse[head * T + t])) : 0.f, its_delta = t < T ? delta[head * T + t] : 0.f;
    float sums[HEAD / 32] = {};

    const int seen = min(S, t0 + WARPS + diagonal);
    for (int first = 0; first < seen; first += 32) {
        const int s = first + lane;
        __syncthreads();
        load_rows<THREADS, 32, VALUE, PADDED>(v + (long)first * E, seen - first, E, tile);
        __syncthreads();
        float dp = product<VALUE>(douts + warp * VALUE, tile);
        __syncthreads();
        load_rows<THREADS, 32, HEAD, PADDED>(k + (long)first * D, seen - first, D, tile);
        __syncthreads();
        float a = scale * product<HEAD>(shared + warp * HEAD, tile);
        a = t < T && s < seen ? among(pairs, a, t, s) : MINUS_INFINITY;
        float p = weight_of(a, base), da = absent(p) ? ABSENT : p * (dp - its_delta);
        gather<HEAD>(da, tile, sums);
        if (scores != nullptr && t < T && s < seen) scores[(head * T + t) * S + s] = da;
    }
    if (t < T) {
        write_row<HEAD>(sums, scale, D, dq + (head * T + t) * D);
        if (scores != nullptr)                        // above the diagonal there is nothing
            for (int s = max(seen, 0) + lane; s < S; s += 32) scores[(head * T + t) * S + s] = 0.f;
    }
}

//= dvs += weigh(p.T, do[head][rows], turned)
//= dks += scale * weigh(da.T, q[head][rows], turned)
//: threads 256
//: shared 4 * (8 * (HEAD + VALUE) + 64 * (max(HEAD, VALUE) + 1))
//: reads blocks // ceil(S, 8) * (real * S * (D + E) + group * (T + min(T, T + diagonal - (ceil(S, 8) - 1) * 8)) / 2 * (ceil(S, 8) * (real * (D + E) + 8 * (real + 4)) + S * ((mask is not None) + real * (bias is not None))))
//: writes blocks // ceil(S, 8) * real * S * (D + E)
extern "C" __global__ void __launch_bounds__(THREADS, 4) flash_warps_dkdv(
    const Real* __restrict__ q, const Real* __restrict__ k, const Real* __restrict__ v, const Real* __restrict__ bias,
    const bool* __restrict__ mask, const Real* __restrict__ dout, const Real* __restrict__ lse,
    const float* __restrict__ delta, Real* __restrict__ dk, Real* __restrict__ dv, int T, int S, int D, int E,
    int heads, int group, int diagonal, float scale, long bias_batch, long bias_head, long bias_query, long bias_key,
    long mask_batch, long mask_head, long mask_query, long mask_key) {
    // Here a warp is a key, and its lanes are 32 queries.
    extern __shared__ float shared[];
    float* values = shared + WARPS * HEAD;
    float* queries = values + WARPS * VALUE;
    float* douts = queries + 32 * PADDED;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, tiles = (S + WARPS - 1) / WARPS;
    const long key_head = blockIdx.x / tiles;
    const int s0 = blockIdx.x % tiles * WARPS, s = s0 + warp;
    load_rows<THREADS, WARPS, HEAD, HEAD>(k + (key_head * S + s0) * D, S - s0, D, shared);
    load_rows<THREADS, WARPS, VALUE, VALUE>(v + (key_head * S + s0) * E, S - s0, E, values);
    float dk_sums[HEAD / 32] = {}, dv_sums[VALUE / 32] = {};

    for (long head = key_head * group; head < (key_head + 1) * group; ++head) {
        const Pairs pairs = pairs_of(head, heads, bias, mask, bias_batch, bias_head, bias_query, bias_key, mask_batch,
                                     mask_head, mask_query, mask_key, diagonal);
        for (int first = max(0, s0 - diagonal); first < T; first += 32) {       // queries that may see the first key
            const int t = first + lane;
            __syncthreads();
            load_rows<THREADS, 32, HEAD, PADDED>(q + (head * T + first) * D, T - first, D, queries);
            load_rows<THREADS, 32, VALUE, PADDED>(dout + (head * T + first) * E, T - first, E, douts);
            __syncthreads();
            float a = scale * product<HEAD>(shared + warp * HEAD, queries);
            a = t < T && s < S ? among(pairs, a, t, s) : MINUS_INFINITY;
            const float base = t < T ? or_zero(load(lse[head * T + t])) : 0.f;
            const float its_delta = t < T ? delta[head * T + t] : 0.f;
            float p = weight_of(a, base);
            gather<VALUE>(p, douts, dv_sums);
            float dp = product<VALUE>(values + warp * VALUE, douts);
            float da = absent(p) ? ABSENT : p * (dp - its_delta);
            gather<HEAD>(da, queries, dk_sums);
        }
    }
    if (s < S) {
        write_row<HEAD>(dk_sums, scale, D, dk + (key_head * S + s) * D);
        write_row<VALUE>(dv_sums, 1.f, E, dv + (key_head * S + s) * E);
    }
}
