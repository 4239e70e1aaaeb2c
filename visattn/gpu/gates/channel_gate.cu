// CBAM's channel gate.  x (N, C, H, W) is N C planes of `pixels` = H W numbers; z (N, 2, C) has the mean and the maximum
// of each, h (N, 2, M) what both become, s (N, C) the gate that they share.
//
//   version 2   what squeeze_excite.cu came to: loads of 16 bytes where planes allow it, a warp for a small plane, a
//               block for a large one, the gate computed by whoever scales.  One pass finds the mean and the maximum
//
// Between the passes, both vectors go through one MLP: that is squeeze_excite's kernels with 2 N rows for N.
//
// Memory is the limit, and the floor is squeeze_excite's: x read twice and y written; backward, dy read twice and x
// once, dx written.  The cache adds a byte for each pixel: whether it wins, that is whether the gradient of the maximum
// goes to it.  It is written once and read twice: to count the winners, and to pay them.
#include "common.cuh"

//: compile Real=float LANES=32 PACK=1
//: compile Real=float LANES=256 PACK=4
//: compile Real=__half LANES=32 PACK=1
//: compile Real=__half LANES=256 PACK=8
//: compile Real=__nv_bfloat16 LANES=32 PACK=1
//: compile Real=__nv_bfloat16 LANES=256 PACK=8
#ifndef LANES
#define LANES 256                                     // threads for one plane: a warp, or a block of 256
#endif
#ifndef PACK
#define PACK 1                                        // pixels for one load; a plane is a whole number of them
#endif

// Neighbouring pixels that are loaded, and stored, by one instruction.
struct __align__(PACK * sizeof(Real)) Pack {
    Real pixel[PACK];
};
struct __align__(PACK) Wins {
    bool pixel[PACK];
};

// The largest number and where it first stands.  A NaN is larger than any number.
struct Top {
    float value;
    int place;
};
__device__ inline bool is_nan(float x) { return x != x; }
__device__ inline Top higher(Top a, Top b) {
    bool equal = a.value == b.value || (is_nan(a.value) && is_nan(b.value));
    bool first = equal ? a.place < b.place : a.value > b.value || is_nan(a.value);
    return first ? a : b;
}
__device__ inline Top warp_top(Top top) {
    for (int by = 16; by > 0; by /= 2)
        top = higher(top, {__shfl_xor_sync(ALL_LANES, top.value, by), __shfl_xor_sync(ALL_LANES, top.place, by)});
    return top;
}
__device__ inline Top block_top(Top top, float* values, int* places) {
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    top = warp_top(top);
    __syncthreads();                                  // whoever still reads from before
    if (lane == 0) values[warp] = top.value, places[warp] = top.place;
    __syncthreads();
    return warp_top({values[lane % 8], places[lane % 8]});
}
__device__ inline float plane_sum(float x, float* part) { return LANES == 32 ? warp_sum(x) : block_sum(x, part); }

// `first_place`: where the maximum first stands; null where every pixel that is as large wins.
//= maxima, pool = global_max_pool2d.forward(x, ties=ties)
//= z = np.stack([x.mean(axis=(2, 3)), maxima], axis=1)         # (N, 2, C)
//: threads 256
//: reads planes * pixels * real
//: writes planes * (2 * real + (first_place is not None) * 4)
extern "C" __global__ void __launch_bounds__(256) channel_gate_pool(
    const Real* __restrict__ x, Real* __restrict__ z, int* __restrict__ first_place, int planes, int pixels,
    int channels) {
    __shared__ float part[8], values[8];
    __shared__ int places[8];
    const int lane = threadIdx.x % LANES, together = 256 / LANES, packs = pixels / PACK;
    for (long first = (long)blockIdx.x * together; first < planes; first += (long)gridDim.x * together) {
        const long plane = first + threadIdx.x / LANES;
        const int there = plane < planes ? packs : 0;                       // a warp without a plane keeps in step
        const Pack* its = (const Pack*)(x + plane * pixels);
        float sum = 0.f;
        Top top = {MINUS_INFINITY, pixels};
#pragma unroll 2
        for (int i = lane; i < there; i += LANES) {
            Pack pack = its[i];
#pragma unroll
            for (int k = 0; k < PACK; ++k) {
                float pixel = load(pack.pixel[k]);
                sum += pixel;
                top = higher(top, {pixel, i * PACK + k});
            }
        }
        sum = plane_sum(sum, part);
        top = LANES == 32 ? warp_top(top) : block_top(top, values, places);
        if (lane == 0 && plane < planes) {
            const long mean = plane + plane / channels * channels;          // of (n, c) in (N, 2, C): n 2 C + c
            store(z + mean, sum / pixels);
            store(z + mean + channels, top.value);
            if (first_place != nullptr) first_place[plane] = top.place;
        }
    }
}

__device__ inline float sigmoid(float x) {
    float e = expf(-fabsf(x));                        // neither sign of x overflows
    return (x >= 0.f ? 1.f : e) / (1.f + e);
}

//= s, _ = sigmoid.forward((h @ w2.T).sum(axis=1))              # (N, C)            (2)
//= y = s[:, :, None, None] * x                                 # (N, C, H, W)
//: threads 256
//: reads planes * (pixels + 3 * hidden) * real + planes * LANES // 32 * (4 if first_place is not None else real)
//: writes planes * (pixels + 1) * real + planes * pixels
extern "C" __global__ void __launch_bounds__(256) channel_gate_scale(
    const Real* __restrict__ x, const Real* __restrict__ z, const int* __restrict__ first_place,
    const Real* __restrict__ h, const Real* __restrict__ w2, Real* __restrict__ s, Real* __restrict__ y,
    bool* __restrict__ wins, int planes, int pixels, int channels, int hidden) {
    __shared__ float part[8];
    const int lane = threadIdx.x % LANES, together = 256 / LANES, packs = pixels / PACK;
    for (long first = (long)blockIdx.x * together; first < planes; first += (long)gridDim.x * together) {
        const long plane = planes - 1 - first - threadIdx.x / LANES;        // the last that were pooled come first
        const int there = plane >= 0 ? packs : 0, terms = plane >= 0 ? hidden : 0;
        const long n = plane / channels, c = plane % channels;
        float b = 0.f;
        for (int m = lane; m < terms; m += LANES)
            b += (load(h[n * 2 * hidden + m]) + load(h[(n * 2 + 1) * hidden + m])) * load(w2[c * hidden + m]);
        const float gate = sigmoid(plane_sum(b, part));
        if (lane == 0 && plane >= 0) store(s + plane, gate);
        int place = 0;
        float top = 0.f;
        if (there > 0 && first_place != nullptr) place = first_place[plane];
        if (there > 0 && first_place == nullptr) top = load(z[(n * 2 + 1) * channels + c]);
        const Pack* from = (const Pack*)(x + plane * pixels);
        Pack* to = (Pack*)(y + plane * pixels);
        Wins* who = (Wins*)(wins + plane * pixels);
#pragma unroll 2
        for (int i = lane; i < there; i += LANES) {
            Pack pack = from[i];
            Wins won;
#pragma unroll
            for (int k = 0; k < PACK; ++k) {
                float pixel = load(pack.pixel[k]);
                won.pixel[k] = first_place != nullptr ? i * PACK + k == place : pixel == top || is_nan(pixel);
                store(pack.pixel + k, gate * pixel);
            }
            to[i] = pack;
            who[i] = won;
        }
    }
}

// db goes to both vectors alike, so it is written twice; `winners` is how many share the gradient of the maximum.
//= ds = (dy * x).sum(axis=(2, 3))                              # (N, C)
//= db = ds * s * (1 - s)                                       # (N, C)
//: threads 256
//: reads planes * (2 * pixels + 1) * real + planes * pixels
//: writes planes * 12
extern "C" __global__ void __launch_bounds__(256) channel_gate_gate_gradient(
    const Real* __restrict__ dy, const Real* __restrict__ x, const bool* __restrict__ wins,
    const Real* __restrict__ s, float* __restrict__ db, float* __restrict__ winners, int planes, int pixels,
    int channels) {
    __shared__ float part[8];
    const int lane = threadIdx.x % LANES, together = 256 / LANES, packs = pixels / PACK;
    for (long first = (long)blockIdx.x * together; first < planes; first += (long)gridDim.x * together) {
        const long plane = first + threadIdx.x / LANES;
        const int there = plane < planes ? packs : 0;
        const Pack* gradients = (const Pack*)(dy + plane * pixels);
        const Pack* its = (const Pack*)(x + plane * pixels);
        const Wins* who = (const Wins*)(wins + plane * pixels);
        float sum = 0.f, count = 0.f;
#pragma unroll 4
        for (int i = lane; i < there; i += LANES) {
            Pack gradient = gradients[i], pack = its[i];
            Wins won = who[i];
#pragma unroll
            for (int k = 0; k < PACK; ++k) {
                sum += load(gradient.pixel[k]) * load(pack.pixel[k]);
                count += won.pixel[k];
            }
        }
        sum = plane_sum(sum, part);
        count = plane_sum(count, part);
        if (lane == 0 && plane < planes) {
            const float gate = load(s[plane]), gradient = sum * gate * (1.f - gate);
            const long mean = plane + plane / channels * channels;
            db[mean] = gradient;
            db[mean + channels] = gradient;
            winners[plane] = count;
        }
    }
}

//= dx, = global_max_pool2d.backward(dz[:, 1], pool)
//= dx += s[:, :, None, None] * dy + dz[:, 0, :, None, None] / HW
//: threads 256
//: reads planes * pixels * (real + 1) + planes * LANES // 32 * (real + 12)
//: writes planes * pixels * real
extern "C" __global__ void __launch_bounds__(256) channel_gate_scale_gradient(
    const Real* __restrict__ dy, const bool* __restrict__ wins, const Real* __restrict__ s,
    const float* __restrict__ dz, const float* __restrict__ winners, Real* __restrict__ dx, int planes, int pixels,
    int channels) {
    const int lane = threadIdx.x % LANES, together = 256 / LANES, packs = pixels / PACK;
    for (long first = (long)blockIdx.x * together; first < planes; first += (long)gridDim.x * together) {
        const long plane = planes - 1 - first - threadIdx.x / LANES;
        if (plane < 0) continue;                                            // a whole warp, and no barrier follows
        const long mean = plane + plane / channels * channels;
        const float gate = load(s[plane]), each = dz[mean] / pixels, prize = dz[mean + channels] / winners[plane];
        const Pack* from = (const Pack*)(dy + plane * pixels);
        const Wins* who = (const Wins*)(wins + plane * pixels);
        Pack* to = (Pack*)(dx + plane * pixels);
#pragma unroll 4
        for (int i = lane; i < packs; i += LANES) {
            Pack pack = from[i];
            Wins won = who[i];
#pragma unroll
            for (int k = 0; k < PACK; ++k)
                store(pack.pixel + k, gate * load(pack.pixel[k]) + each + (won.pixel[k] ? prize : 0.f));
            to[i] = pack;
        }
    }
}
