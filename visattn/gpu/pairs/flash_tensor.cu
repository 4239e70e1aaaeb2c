// FlashAttention, version 4: tensor cores, for half precision.  flash.cu tells the story before.
//
// A warp is 16 queries, and multiplies 16 × 16 × 16 numbers of half precision with one instruction of all its lanes; sums
// are float.  A block is four warps, which share tiles of KEYS keys and values.
//
// A fragment is a matrix that lies in the registers of a warp, and which lane has which element is not said.  So what
// needs to know its row goes through shared memory: the scores, of which two lanes then have one query; the weights, in
// half precision, back into the place of the scores; and what the outputs so far are scaled by, as a matrix with that
// number in all of its row.  The outputs themselves never leave their fragments, as two fragments of one kind have
// their elements in the same lanes.
//
// Backward ships with the kernels of version 3: each of its tiles would pass through shared memory three times in this
// manner, and the reading would suffer.
#include "flash.cuh"
#include <mma.h>
using namespace nvcuda;

//: compile Real=__half HEAD=64 VALUE=64 KEYS=64 from sm_80
//: compile Real=__half HEAD=128 VALUE=128 KEYS=64 from sm_80
//: compile Real=__half HEAD=256 VALUE=256 KEYS=32 from sm_80
//: compile Real=__nv_bfloat16 HEAD=32 VALUE=32 KEYS=64 from sm_80
//: compile Real=__nv_bfloat16 HEAD=64 VALUE=64 KEYS=64 from sm_80
//: compile Real=__nv_bfloat16 HEAD=128 VALUE=128 KEYS=64 from sm_80
//: compile Real=__nv_bfloat16 HEAD=256 VALUE=256 KEYS=32 from sm_80
#ifndef HEAD
#define HEAD 64                                       // columns of q and k, rounded up: 32, 64, 96, 128 or 256
#define VALUE 64                                      // columns of v
#define KEYS 64                                       // of a tile
#endif
#define QUERIES 64
#define THREADS 128
#define PAD 8                                         // so that neighbouring rows begin in different banks
#define APART (KEYS + 4)                              // numbers from one row of scores to the next

typedef wmma::fragment<wmma::matrix_a, 16, 16, 16, Real, wmma::row_major> Rows;
typedef wmma::fragment<wmma::matrix_b, 16, 16, 16, Real, wmma::row_major> Columns;
typedef wmma::fragment<wmma::matrix_b, 16, 16, 16, Real, wmma::col_major> Turned;
typedef wmma::fragment<wmma::accumulator, 16, 16, 16, float> Sums;

// scores = queries keysᵀ of this warp's 16 queries
__device__ inline void products(const Real* queries, const Real* keys, float* scores) {
    Sums sums[KEYS / 16];
#pragma unroll
    for (int j = 0; j < KEYS / 16; ++j) wmma::fill_fragment(sums[j], 0.f);
#pragma unroll 2
    for (int d = 0; d < HEAD; d += 16) {
        Rows query;
        wmma::load_matrix_sync(query, queries + d, HEAD + PAD);
#pragma unroll
        for (int j = 0; j < KEYS / 16; ++j) {
            Turned key;
            wmma::load_matrix_sync(key, keys + 16 * j * (HEAD + PAD) + d, HEAD + PAD);
            wmma::mma_sync(sums[j], query, key, sums[j]);
        }
    }
#pragma unroll
    for (int j = 0; j < KEYS / 16; ++j) wmma::store_matrix_sync(scores + 16 * j, sums[j], APART, wmma::mem_row_major);
    __syncwarp();
}

// Every element of row r of u is multiplied with the number that the two lanes 2r and 2r + 1 hold.  `room` is 16 columns
// of the scores' rows.
__device__ inline void scale_rows(float by, float* room, Sums (&u)[VALUE / 16]) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int c = 0; c < 8; ++c) room[lane / 2 * APART + 2 * c + lane % 2] = by;
    __syncwarp();
    Sums factors;
    wmma::load_matrix_sync(factors, room, APART, wmma::mem_row_major);
#pragma unroll
    for (int c = 0; c < VALUE / 16; ++c)
#pragma unroll
        for (int i = 0; i < u[c].num_elements; ++i) u[c].x[i] *= factors.x[i];
    __syncwarp();
}

// u += weights values
__device__ inline void gather(const Real* weights, const Real* values, Sums (&u)[VALUE / 16]) {
#pragma unroll 1
    for (int j = 0; j < KEYS; j += 16) {
        Rows weight;
        wmma::load_matrix_sync(weight, weights + j, 2 * APART);
#pragma unroll
        for (int c = 0; c < VALUE / 16; ++c) {
            Columns value;
            wmma::load_matrix_sync(value, values + j * (VALUE + PAD) + 16 * c, VALUE + PAD);
            wmma::mma_sync(u[c], weight, value, u[c]);
        }
    }
}

// The same where a value is NaN or infinite, which 0 does not make 0: pair by pair, without those that are not there.
__device__ inline void gather_present(const Real* weights, const Real* values, float* room, Sums (&u)[VALUE / 16]) {
    const int row = threadIdx.x % 32 / 2, side = threadIdx.x % 2;
#pragma unroll
    for (int c = 0; c < VALUE / 16; ++c) {
        wmma::store_matrix_sync(room, u[c], APART, wmma::mem_row_major);
        __syncwarp();
#pragma unroll 1
        for (int e = side; e < 16; e += 2) {
            float sum = room[row * APART + e];
#pragma unroll 1
            for (int j = 0; j < KEYS; ++j) {
                float weight = load(weights[row * 2 * APART + j]);
                if (!absent(weight)) sum += weight * load(values[j * (VALUE + PAD) + 16 * c + e]);
            }
            room[row * APART + e] = sum;
        }
        __syncwarp();
        wmma::load_matrix_sync(u[c], room, APART, wmma::mem_row_major);
        __syncwarp();
    }
}

//= shrink = np.exp(m_old - or_zero(m))
//= u = shrink * u + weigh(p, part(v, head, q)[cols], allowed)          # (rows, E)
//: threads 128
//: shared 2 * (64 * (HEAD + 8) + KEYS * (HEAD + VALUE + 16)) + 4 * 64 * (KEYS + 4)
//: reads blocks // ceil(T, 64) * (real * T * D + (min(S, 64 + diagonal) + min(S, T + diagonal)) / 2 / max(1, ceil(S, share)) * (ceil(T, 64) * real * (D + E) + T * ((mask is not None) + real * (bias is not None))))
//: writes blocks // ceil(T, 64) * T * (E + 1) * (real if parts is None else 4)
//: tensor cores
extern "C" __global__ void __launch_bounds__(THREADS, 2) flash_tensor(
    const Real* __restrict__ q, const Real* __restrict__ k, const Real* __restrict__ v, const Real* __restrict__ bias,
    const bool* __restrict__ mask, Real* __restrict__ o, Real* __restrict__ lse, float* __restrict__ parts,
    float* __restrict__ parts_lse, int share, int T, int S, int D, int E, int heads, int group, int diagonal,
    float scale, long bias_batch, long bias_head, long bias_query, long bias_key, long mask_batch, long mask_head,
    long mask_query, long mask_key) {
    extern __shared__ float4 shared[];                // of vectors, that every tile begins where one may
    Real* queries = (Real*)shared;
    Real* keys = queries + QUERIES * (HEAD + PAD);
    Real* values = keys + KEYS * (HEAD + PAD);
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, tiles = (T + QUERIES - 1) / QUERIES;
    float* scores = (float*)(values + KEYS * (VALUE + PAD)) + warp * 16 * APART;        // this warp's
    Real* weights = (Real*)scores;                    // in the first half of the scores' rows
    float* room = scores + KEYS / 2;                  // in the second
    const long head = blockIdx.x / tiles, row = head * T + blockIdx.x % tiles * QUERIES;
    const int t0 = blockIdx.x % tiles * QUERIES;
    const int t = t0 + 16 * warp + lane / 2, side = lane % 2;       // two lanes have one query: even keys and odd ones
    const Pairs pairs = pairs_of(head, heads, bias, mask, bias_batch, bias_head, bias_query, bias_key, mask_batch,
                                 mask_head, mask_query, mask_key, diagonal);
    k += head / group * S * D;
    v += head / group * S * E;
    load_rows<THREADS, QUERIES, HEAD, HEAD + PAD>(q + row * D, T - t0, D, queries);
    float m = MINUS_INFINITY, l = 0.f;
    Sums u[VALUE / 16];
#pragma unroll
    for (int c = 0; c < VALUE / 16; ++c) wmma::fill_fragment(u[c], 0.f);

    // Of the keys that the block's last query may see, blockIdx.y has a share.
    const int seen = min(min(S, t0 + QUERIES + diagonal), (int)(blockIdx.y + 1) * share);
    for (int first = blockIdx.y * share; first < seen; first += KEYS) {
        __syncthreads();                              // whoever still reads the tiles before
        load_rows<THREADS, KEYS, HEAD, HEAD + PAD>(k + (long)first * D, seen - first, D, keys);
        bool odd = load_rows<THREADS, KEYS, VALUE, VALUE + PAD>(v + (long)first * E, seen - first, E, values);
        odd = __syncthreads_or(odd);
        products(queries + warp * 16 * (HEAD + PAD), keys, scores);

        float p[KEYS / 2], largest = m, sum = 0.f;
#pragma unroll
        for (int j = 0; j < KEYS / 2; ++j) {
            const int s = first + 2 * j + side;
            p[j] = scores[lane / 2 * APART + 2 * j + side];
            p[j] = t < T && s < seen ? among(pairs, scale * p[j], t, s) : MINUS_INFINITY;
            largest = fmaxf(largest, p[j]);
        }
        largest = fmaxf(largest, __shfl_xor_sync(ALL_LANES, largest, 1));
        __syncwarp();                                 // all have read their scores: the weights take their place
#pragma unroll
        for (int j = 0; j < KEYS / 2; ++j) {
            p[j] = weight_of(p[j], or_zero(largest));
            sum += p[j];
            store(weights + lane / 2 * 2 * APART + 2 * j + side, p[j]);
        }
        const float shrink = expf(m - or_zero(largest));
        l = shrink * l + sum + __shfl_xor_sync(ALL_LANES, sum, 1);
        m = largest;
        scale_rows(shrink, room, u);
        if (odd)
            gather_present(weights, values, room, u);
        else
            gather(weights, values, u);
        __syncwarp();                                 // the weights have been read: scores take their place
    }

    scale_rows(m == MINUS_INFINITY ? 0.f : 1.f / l, room, u);
    const long part = blockIdx.y * (gridDim.x / tiles) * (long)T + row;
    const int first_row = 16 * warp, rows = min(16, T - t0 - first_row);
#pragma unroll
    for (int c = 0; c < VALUE / 16; ++c) {
        wmma::store_matrix_sync(scores, u[c], APART, wmma::mem_row_major);
        __syncwarp();
        const int e = 16 * c + lane % 16;
        for (int r = lane / 16; r < rows; r += 2) {
            if (e >= E) continue;
            const float its = scores[r * APART + lane % 16];
            if (parts == nullptr)
                store(o + (row + first_row + r) * E + e, its);
            else
                parts[(part + first_row + r) * E + e] = its;
        }
        __syncwarp();
    }
    if (side == 0 && t < T) {
        const float its_lse = m == MINUS_INFINITY ? m : m + logf(l);
        if (parts == nullptr)
            store(lse + head * T + t, its_lse);
        else
            parts_lse[part + t - t0] = its_lse;
    }
}
