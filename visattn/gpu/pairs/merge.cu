// Merge:  o = Σ_i w_i o_i  with  w = softmax_i lse_i,  over parts that saw a share of the keys each.
//
//   version 2   one warp a query.  Its lanes take a part each for the weights, then a column each for the sum, and ask
//               each other for the weights: nothing is in shared memory.
//
// Every o_i is read once and, as the cache has it, written once: 2 K E numbers a query, with a multiplication for each.
// Memory is the limit.  Backward reads and writes as many; dj and j wait in registers while the parts go by.
#include "common.cuh"

//: compile Real=float
//: compile Real=__half
//: compile Real=__nv_bfloat16
#define KEEP 4                                        // columns of a lane that wait in registers

//= some = lse != -np.inf                                       # (*B, K, T)    parts with a key for this query
//= o = np.where(some[..., None], o, 0)                         # (*B, K, T, E)
//= w = e / np.where(none, 1, total)[..., None, :]              # (*B, K, T)
//= joined = (w[..., None] * o).sum(-3)                         # (*B, T, E)
//: threads 256
//: reads batch * queries * parts * real * (width + 2 + ceil(width, 32))
//: writes batch * queries * real * (parts * (width + 1) + width + 1)
extern "C" __global__ void __launch_bounds__(256, 4) merge(
    const Real* __restrict__ o, const Real* __restrict__ lse, Real* __restrict__ kept, Real* __restrict__ w,
    Real* __restrict__ joined, Real* __restrict__ joined_lse, int batch, int parts, int queries, int width) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (long query = blockIdx.x * 8l + warp; query < (long)batch * queries; query += gridDim.x * 8l) {
        const long first = query / queries * parts * queries + query % queries;         // of the first part
        float top = MINUS_INFINITY, total = 0.f;
        for (int k = lane; k < parts; k += 32) top = fmaxf(top, load(lse[first + (long)k * queries]));
        top = warp_max(top);
        if (top == MINUS_INFINITY) top = 0.f;                               // the shift cancels: nothing overflows
        bool some = false;
        for (int k = lane; k < parts; k += 32) {
            const float its = load(lse[first + (long)k * queries]);
            total += expf(its - top);
            some |= its != MINUS_INFINITY;
        }
        total = warp_sum(total);
        const bool none = !__any_sync(ALL_LANES, some);                     // a query without a key
        for (int e0 = 0; e0 < width; e0 += 32) {
            const int e = e0 + lane;
            float sum = 0.f;
            for (int k0 = 0; k0 < parts; k0 += 32) {                        // a lane knows the weight of one part
                const long mine = first + (long)(k0 + lane) * queries;
                const float its = k0 + lane < parts ? load(lse[mine]) : MINUS_INFINITY;
                const float share = expf(its - top) / (none ? 1.f : total);
                const unsigned has_keys = __ballot_sync(ALL_LANES, its != MINUS_INFINITY);
                if (e0 == 0 && k0 + lane < parts) store(w + mine, share);
                for (int k = k0; k < parts && k < k0 + 32; ++k) {
                    const float weight = __shfl_sync(ALL_LANES, share, k - k0);
                    const long at = (first + (long)k * queries) * width + e;
                    if (e >= width) continue;
                    const float value = load(o[at]), seen = has_keys >> (k - k0) & 1 ? value : 0.f;
                    store(kept + at, seen);
                    sum += weight * seen;
                }
            }
            if (e < width) store(joined + query * width + e, sum);
        }
        if (lane == 0) store(joined_lse + query, none ? MINUS_INFINITY : top + logf(total));
    }
}

//= do = np.where(some[..., None], w[..., None] * dj[..., None, :, :], 0)               # (*B, K, T, E)
//= dw = (dj[..., None, :, :] * (o - joined[..., None, :, :])).sum(-1)                  # (*B, K, T)
//= dlses = np.where(some, w * (dw + dlse[..., None, :]), 0)                            # (*B, K, T)
//: threads 256
//: reads batch * queries * real * (parts * (width + 1) + ceil(parts, 32) * (2 * width + 1))
//: writes batch * queries * parts * real * (width + 1)
extern "C" __global__ void __launch_bounds__(256) merge_backward(
    const Real* __restrict__ dj, const Real* __restrict__ dlse, const Real* __restrict__ o,
    const Real* __restrict__ w, const Real* __restrict__ joined, Real* __restrict__ gradient,
    Real* __restrict__ dlses, int batch, int parts, int queries, int width) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (long query = blockIdx.x * 8l + warp; query < (long)batch * queries; query += gridDim.x * 8l) {
        const long first = query / queries * parts * queries + query % queries;
        for (int k0 = 0; k0 < parts; k0 += 32) {
            const long mine = first + (long)(k0 + lane) * queries;
            const float share = k0 + lane < parts ? load(w[mine]) : 0.f;
            float dw = 0.f;                                                 // of this lane's part
            for (int e0 = 0; e0 < width; e0 += 32 * KEEP) {
                float its[KEEP], mean[KEEP];
#pragma unroll
                for (int i = 0; i < KEEP; ++i) {
                    const int e = e0 + 32 * i + lane;
                    its[i] = e < width ? load(dj[query * width + e]) : 0.f;
                    mean[i] = e < width ? load(joined[query * width + e]) : 0.f;
                }
                for (int k = k0; k < parts && k < k0 + 32; ++k) {
                    const float weight = __shfl_sync(ALL_LANES, share, k - k0);
                    const long row = (first + (long)k * queries) * width;
                    float sum = 0.f;
#pragma unroll
                    for (int i = 0; i < KEEP; ++i) {
                        const int e = e0 + 32 * i + lane;
                        if (e >= width) continue;
                        sum += its[i] * (load(o[row + e]) - mean[i]);
                        store(gradient + row + e, weight == 0.f ? 0.f : weight * its[i]);       // dj may be NaN there
                    }
                    sum = warp_sum(sum);
                    if (lane == k - k0) dw += sum;
                }
            }
            const float added = load(dlse[query]);
            if (k0 + lane < parts) store(dlses + mine, share == 0.f ? 0.f : share * (dw + added));
        }
    }
}
