// What the versions of flash share: which pairs of query and key there are, and how rows come into shared memory.
#pragma once
#include "common.cuh"

// Bias and mask of one query head.  A stride of 0 means that one number serves all queries, or all keys.
struct Pairs {
    const Real* bias;                                 // null: none
    const bool* mask;                                 // null: every pair
    long bias_query, bias_key, mask_query, mask_key;
    int diagonal;                                     // query t sees the keys s ≤ t + diagonal
};
__device__ inline Pairs pairs_of(long head, int heads, const Real* bias, const bool* mask, long bias_batch,
                                 long bias_head, long bias_query, long bias_key, long mask_batch, long mask_head,
                                 long mask_query, long mask_key, int diagonal) {
    const long b = head / heads, h = head % heads;    // `head` counts through the batch
    return {bias == nullptr ? bias : bias + b * bias_batch + h * bias_head,
            mask == nullptr ? mask : mask + b * mask_batch + h * mask_head,
            bias_query, bias_key, mask_query, mask_key, diagonal};
}

// The score of query t and key s with its bias; -∞ where the query may not attend to the key, whatever `score` is.
__device__ inline float among(const Pairs& pairs, float score, int t, int s) {
    if (s > t + pairs.diagonal) return MINUS_INFINITY;
    bool allowed = pairs.mask == nullptr || pairs.mask[t * pairs.mask_query + s * pairs.mask_key];
    float bias = pairs.bias == nullptr ? 0.f : load(pairs.bias[t * pairs.bias_query + s * pairs.bias_key]);
    return allowed && bias != MINUS_INFINITY ? score + bias : MINUS_INFINITY;
}

// The weight of a pair that is not there is -0: it adds nothing to a sum, and where the other factor is NaN or ∞ it
// can be told from the weight of a pair that is there, which is never below +0.
#define ABSENT -0.f
__device__ inline bool absent(float weight) { return __float_as_uint(weight) == 0x80000000u; }
__device__ inline float weight_of(float score, float base) {
    return score == MINUS_INFINITY ? ABSENT : expf(score - base);
}
// m, and 0 where it is -∞: then exp(-∞ - m) is 0 and not NaN.
__device__ inline float or_zero(float m) { return m == MINUS_INFINITY ? 0.f : m; }

// `rows` rows of `columns` numbers come into a tile of ROWS × COLUMNS, STRIDE apart, and zeros where they end.
// True where one of them is NaN or infinite.
template <int THREADS, int ROWS, int COLUMNS, int STRIDE, class To>
__device__ inline bool load_rows(const Real* from, int rows, int columns, To* tile) {
    bool odd = false;
#pragma unroll 4
    for (int i = threadIdx.x; i < ROWS * COLUMNS; i += THREADS) {
        int row = i / COLUMNS, column = i % COLUMNS;
        float x = row < rows && column < columns ? load(from[(long)row * columns + column]) : 0.f;
        odd |= x - x != 0.f;
        store(tile + row * STRIDE + column, x);
    }
    return odd;
}
