// Squeeze-and-excitation.  x (N, C, H, W) is N C planes of `pixels` = H W numbers; z, s (N, C) have one number for each
// plane, h (N, M) fewer.
//
//     forward     z = mean of each plane      h = δ(z W₁ᵀ)      s = σ(h W₂ᵀ)      y = s x
//     backward    db = s (1 - s) Σ dy x       da = (db W₂) ⊙ [h > 0]      dz = da W₁      dx = s dy + dz / pixels
//                 dW₂ = dbᵀ h                 dW₁ = daᵀ z
//
//   version 2   a kernel for each line, a block for each plane, a number for each load
//   version 3   loads and stores of 16 bytes where planes allow it; a warp for each plane that is small, as most of a
//               block's 256 threads have nothing to do in one of 7 × 7; the scaling pass computes its gate itself
//
// Two passes over planes are the cost, and memory is their limit; the matrices between are small.  The floor: every
// pixel takes part in the mean before the first can be scaled, so x is read twice, and written once as y.  Backward
// reads dy twice and x once.  What was read a moment ago may still be in the level-2 cache (40 MB on an A100, 50 on an
// H100): the scaling passes of version 3 therefore begin with the planes that came last.  The bytes below do not count
// on it.
#include "common.cuh"

//: compile Real=float LANES=32 PACK=1 Result=float
//: compile Real=float LANES=256 PACK=4 Result=float
//: compile Real=__half LANES=32 PACK=1 Result=float
//: compile Real=__half LANES=256 PACK=8 Result=__half
//: compile Real=__nv_bfloat16 LANES=32 PACK=1 Result=float
//: compile Real=__nv_bfloat16 LANES=256 PACK=8 Result=__nv_bfloat16
#ifndef LANES
#define LANES 256                                     // threads for one plane: a warp, or a block of 256
#endif
#ifndef PACK
#define PACK 1                                        // pixels for one load; a plane is a whole number of them
#endif
#ifndef Result
#define Result Real                                   // of a matrix product
#endif

// Neighbouring pixels that are loaded, and stored, by one instruction.
struct __align__(PACK * sizeof(Real)) Pack {
    Real pixel[PACK];
};

__device__ inline float plane_sum(float x, float* part) { return LANES == 32 ? warp_sum(x) : block_sum(x, part); }

//= z = x.mean(axis=(2, 3))                         # (N, C)            (2)
//: threads 256
//: reads planes * pixels * real
//: writes planes * real
extern "C" __global__ void __launch_bounds__(256) squeeze_excite_squeeze(
    const Real* __restrict__ x, Real* __restrict__ z, int planes, int pixels) {
    __shared__ float part[8];
    const int lane = threadIdx.x % LANES, together = 256 / LANES, packs = pixels / PACK;
    for (long first = (long)blockIdx.x * together; first < planes; first += (long)gridDim.x * together) {
        const long plane = first + threadIdx.x / LANES;
        const int there = plane < planes ? packs : 0;                       // a warp without a plane keeps in step
        const Pack* its = (const Pack*)(x + plane * pixels);
        float sum = 0.f;
#pragma unroll 4
        for (int i = lane; i < there; i += LANES) {
            Pack pack = its[i];
            for (int k = 0; k < PACK; ++k) sum += load(pack.pixel[k]);
        }
        sum = plane_sum(sum, part);
        if (lane == 0 && plane < planes) store(z + plane, sum / pixels);
    }
}

// Σ_k a_k b_k of two rows, over the lanes of a warp, for all of them.
__device__ inline float dot(const Real* a, const Real* b, int length) {
    float sum = 0.f;
    for (int k = threadIdx.x % 32; k < length; k += 32) sum += load(a[k]) * load(b[k]);
    return warp_sum(sum);
}
__device__ inline float sigmoid(float x) {
    float e = expf(-fabsf(x));                        // neither sign of x overflows
    return (x >= 0.f ? 1.f : e) / (1.f + e);
}

//= h = np.maximum(z @ w1.T, 0)                     # (N, M)
//: threads 256
//: reads rows * outputs * inputs * 2 * real
//: writes rows * outputs * real
extern "C" __global__ void __launch_bounds__(256) squeeze_excite_hidden(
    const Real* __restrict__ z, const Real* __restrict__ w1, Real* __restrict__ h, int rows, int outputs, int inputs) {
    const long warp = ((long)blockIdx.x * 256 + threadIdx.x) / 32, warps = (long)gridDim.x * 8;
    for (long i = warp; i < (long)rows * outputs; i += warps) {             // a warp for each number
        float a = dot(z + i / outputs * inputs, w1 + i % outputs * inputs, inputs);
        if (threadIdx.x % 32 == 0) store(h + i, a < 0.f ? 0.f : a);         // NaN stays NaN
    }
}

//= s, _ = sigmoid.forward(h @ w2.T)                # (N, C)            (3)
//: threads 256
//: reads rows * outputs * inputs * 2 * real
//: writes rows * outputs * real
extern "C" __global__ void __launch_bounds__(256) squeeze_excite_gates(
    const Real* __restrict__ h, const Real* __restrict__ w2, Real* __restrict__ s, int rows, int outputs, int inputs) {
    const long warp = ((long)blockIdx.x * 256 + threadIdx.x) / 32, warps = (long)gridDim.x * 8;
    for (long i = warp; i < (long)rows * outputs; i += warps) {
        float b = dot(h + i / outputs * inputs, w2 + i % outputs * inputs, inputs);
        if (threadIdx.x % 32 == 0) store(s + i, sigmoid(b));
    }
}

//= y = s[:, :, None, None] * x                     # (N, C, H, W)      (4)
//: threads 256
//: reads planes * (pixels + 8) * real
//: writes planes * pixels * real
extern "C" __global__ void __launch_bounds__(256) squeeze_excite_scale(
    const Real* __restrict__ x, const Real* __restrict__ s, Real* __restrict__ y, int planes, int pixels) {
    for (long plane = blockIdx.x; plane < planes; plane += gridDim.x) {
        const float gate = load(s[plane]);
        for (int i = threadIdx.x; i < pixels; i += 256)
            store(y + plane * pixels + i, gate * load(x[plane * pixels + i]));
    }
}

// Whoever scales a plane first computes its gate: a row of h and one of W₂, which a kernel for s would read as well.
//= s, _ = sigmoid.forward(h @ w2.T)                # (N, C)            (3)
//= y = s[:, :, None, None] * x                     # (N, C, H, W)      (4)
//: threads 256
//: reads planes * (pixels + 2 * hidden) * real
//: writes planes * (pixels + 1) * real
extern "C" __global__ void __launch_bounds__(256) squeeze_excite_gate_and_scale(
    const Real* __restrict__ x, const Real* __restrict__ h, const Real* __restrict__ w2, Real* __restrict__ s,
    Real* __restrict__ y, int planes, int pixels, int channels, int hidden) {
    __shared__ float part[8];
    const int lane = threadIdx.x % LANES, together = 256 / LANES, packs = pixels / PACK;
    for (long first = (long)blockIdx.x * together; first < planes; first += (long)gridDim.x * together) {
        const long plane = planes - 1 - first - threadIdx.x / LANES;        // the last that were pooled come first
        const int there = plane >= 0 ? packs : 0, terms = plane >= 0 ? hidden : 0;
        const Real* its = h + plane / channels * hidden;
        const Real* weights = w2 + plane % channels * hidden;
        float b = 0.f;
        for (int m = lane; m < terms; m += LANES) b += load(its[m]) * load(weights[m]);
        const float gate = sigmoid(plane_sum(b, part));
        if (lane == 0 && plane >= 0) store(s + plane, gate);
        const Pack* from = (const Pack*)(x + plane * pixels);
        Pack* to = (Pack*)(y + plane * pixels);
#pragma unroll 4
        for (int i = lane; i < there; i += LANES) {
            Pack pack = from[i];
            for (int k = 0; k < PACK; ++k) store(pack.pixel + k, gate * load(pack.pixel[k]));
            to[i] = pack;
        }
    }
}

//= ds = (dy * x).sum(axis=(2, 3))                  # (N, C)
//= db = ds * s * (1 - s)                           # (N, C)
//: threads 256
//: reads planes * (2 * pixels + 1) * real
//: writes planes * 4
extern "C" __global__ void __launch_bounds__(256) squeeze_excite_gate_gradient(
    const Real* __restrict__ dy, const Real* __restrict__ x, const Real* __restrict__ s, float* __restrict__ db,
    int planes, int pixels) {
    __shared__ float part[8];
    const int lane = threadIdx.x % LANES, together = 256 / LANES, packs = pixels / PACK;
    for (long first = (long)blockIdx.x * together; first < planes; first += (long)gridDim.x * together) {
        const long plane = first + threadIdx.x / LANES;
        const int there = plane < planes ? packs : 0;
        const Pack* gradients = (const Pack*)(dy + plane * pixels);
        const Pack* its = (const Pack*)(x + plane * pixels);
        float sum = 0.f;
#pragma unroll 4
        for (int i = lane; i < there; i += LANES) {
            Pack gradient = gradients[i], pack = its[i];
            for (int k = 0; k < PACK; ++k) sum += load(gradient.pixel[k]) * load(pack.pixel[k]);
        }
        sum = plane_sum(sum, part);
        if (lane == 0 && plane < planes) {
            float gate = load(s[plane]);
            db[plane] = sum * gate * (1.f - gate);
        }
    }
}

// a b (rows × inner times inner × columns), or aᵀ b where a is given as inner × rows; where `h` is given, of it only
// what stands where h > 0.  A block has 32 columns of one row, its 8 warps every eighth term of the sum each; they are
// added in shared memory, always in the same order.  One kernel for four products: they are small.
//= da = (db @ w2) * (h > 0)                        # (N, M)
//= dz = da @ w1                                    # (N, C)
//= dw2 = db.T @ h                                  # (C, M)
//= dw1 = da.T @ z                                  # (M, C)
//: threads 256
//: reads rows * inner * (columns * real + ceil(columns, 32) * 4) + (h is not None) * rows * columns * real
//: writes rows * columns * (real if Result == Real else 4)
extern "C" __global__ void __launch_bounds__(256) squeeze_excite_product(
    const float* __restrict__ a, const Real* __restrict__ b, const Real* __restrict__ h, Result* __restrict__ product,
    int rows, int inner, int columns, int transposed) {
    __shared__ float part[8][32];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, strips = (columns + 31) / 32;
    for (long tile = blockIdx.x; tile < (long)rows * strips; tile += gridDim.x) {
        const long row = tile / strips;
        const int column = tile % strips * 32 + lane;
        float sum = 0.f;
        if (column < columns)
#pragma unroll 4
            for (int k = warp; k < inner; k += 8)
                sum += a[transposed ? (long)k * rows + row : row * inner + k] * load(b[(long)k * columns + column]);
        __syncthreads();                              // whoever still reads `part` from before
        part[warp][lane] = sum;
        __syncthreads();
        if (warp == 0 && column < columns) {
            for (int other = 1; other < 8; ++other) sum += part[other][lane];
            const long i = row * columns + column;
            store(product + i, sum * (h == nullptr || load(h[i]) > 0.f));
        }
    }
}

//= dx = s[:, :, None, None] * dy + dz[:, :, None, None] / HW
//: threads 256
//: reads planes * (pixels * real + LANES // 32 * (real + 4))
//: writes planes * pixels * real
extern "C" __global__ void __launch_bounds__(256) squeeze_excite_scale_gradient(
    const Real* __restrict__ dy, const Real* __restrict__ s, const float* __restrict__ dz, Real* __restrict__ dx,
    int planes, int pixels) {
    const int lane = threadIdx.x % LANES, together = 256 / LANES, packs = pixels / PACK;
    for (long first = (long)blockIdx.x * together; first < planes; first += (long)gridDim.x * together) {
        const long plane = planes - 1 - first - threadIdx.x / LANES;
        if (plane < 0) continue;                                            // a whole warp, and no barrier follows
        const float gate = load(s[plane]), each = dz[plane] / pixels;
        const Pack* from = (const Pack*)(dy + plane * pixels);
        Pack* to = (Pack*)(dx + plane * pixels);
#pragma unroll 4
        for (int i = lane; i < packs; i += LANES) {
            Pack pack = from[i];
            for (int k = 0; k < PACK; ++k) store(pack.pixel + k, gate * load(pack.pixel[k]) + each);
            to[i] = pack;
        }
    }
}
