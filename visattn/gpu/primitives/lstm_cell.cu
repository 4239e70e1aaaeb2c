// One step of a long short-term memory, for `rows` sequences of D `inputs` and E `features`.
//
//     z = W_x x + b_x + W_h h + b_h     i, f, o = σ(z)     g = tanh z_g     c′ = f ⊙ c + i ⊙ g     h′ = o ⊙ tanh c′
//
//   version 2   two products by cuBLAS, and one kernel for all that follows, instead of a dozen: it reads z once and
//               writes what it makes once.  z itself goes to memory and comes back: 8 E numbers a sequence, each way.
//   version 3   one kernel.  A block computes 8 features of 16 PER sequences, all four gates of them, so that z never
//               leaves its registers: x, h and the weights come through shared memory, 32 columns at a time, the four
//               gates' weights of a feature as one float4; a thread multiplies it by PER sequences.
//
// What limits them: the weights, 4 E (D + E) numbers, are all read for few sequences, two operations a sequence for
// each of them.  In float32, from some 30 sequences on arithmetic is the limit of a card (20 TFLOP/s, 2 TB/s); there
// cuBLAS is hard to beat, and in half precision, which it multiplies on tensor cores, it is not to be beaten by this.
// Below, three launches instead of one are what a step pays for: a launch takes as long as 10 MB.
// Bytes of version 3: the weights once for each 16 PER sequences; x and h once for each 8 features, as every
// multiprocessor needs all of them.  That is little for few sequences, and comes from the second-level cache.
//
// D = E = 512 in float32, in MB.  Of version 2, cuBLAS is taken to read its operands once, which no product does that
// has more than one block; in tiles 64 wide, the commonest, it reads x and h 32 times.
//
//     sequences                           1       16       64
//     floor                            8.41     8.72     9.74
//     version 2, operands once         8.46     9.52    12.91
//     version 2, 64 wide               8.59    11.56    21.03
//     version 3                        8.73    12.90    26.12
//
// So version 3 saves z and two launches, and pays with more of x and h.  It ships for up to 64 sequences in float32 and
// 16 in float16 (one row of blocks: each weight crosses to the multiprocessors once); above, version 2 does.  No clock
// has seen either.
//
// Backward, one kernel takes dh′ and dc′ to dz and dc; the rest are products.
#include "common.cuh"

//: compile Real=float PER=1
//: compile Real=float PER=2
//: compile Real=float PER=4
//: compile Real=__half PER=1
#ifndef PER
#define PER 4                                         // sequences of one thread
#endif
#define ROWS (16 * PER)                               // sequences of a block
#define COLUMNS 8                                     // features of a block
#define DEPTH 32                                      // columns of x, h and the weights at a time

__device__ inline float sigmoid(float x) {
    const float e = expf(-fabsf(x));                  // neither sign of x overflows
    return (x >= 0.f ? 1.f : e) / (1.f + e);
}

// What backward wants of a step, beside its result.
struct Kept {
    Real *h1, *c1, *i, *f, *g, *o, *r;
};

// From z, in the order of its blocks, to the results at place `at`.
__device__ inline void finish(float4 z, const Real* c, const Kept& kept, long at) {
    const float i = sigmoid(z.x), f = sigmoid(z.y), g = tanhf(z.z), o = sigmoid(z.w);
    const float c1 = f * load(c[at]) + i * g, r = tanhf(c1);
    store(kept.i + at, i);
    store(kept.f + at, f);
    store(kept.g + at, g);
    store(kept.o + at, o);
    store(kept.r + at, r);
    store(kept.c1 + at, c1);
    store(kept.h1 + at, o * r);
}

//= i, f, o = (sigmoid.forward(z[:, k * E:(k + 1) * E])[0] for k in (0, 1, 3))
//= g = np.tanh(z[:, 2 * E:3 * E])                                      # (N, E)
//= c1 = f * c + i * g                                                  # (N, E)
//= r = np.tanh(c1)                                                     # (N, E)
//= h1 = o * r                                                          # (N, E)
//: threads 256
//: reads real * (rows * features * 9 + 8 * min(rows * features, ceil(rows * features, 32) * min(features, 32)))
//: writes rows * features * 7 * real
extern "C" __global__ void __launch_bounds__(256) lstm_gates(
    const Real* __restrict__ zx, const Real* __restrict__ zh, const Real* __restrict__ bx, const Real* __restrict__ bh,
    const Real* __restrict__ c, Real* __restrict__ h1, Real* __restrict__ c1, Real* __restrict__ i,
    Real* __restrict__ f, Real* __restrict__ g, Real* __restrict__ o, Real* __restrict__ r, int rows, int features) {
    const Kept kept = {h1, c1, i, f, g, o, r};
    for (long at = blockIdx.x * 256L + threadIdx.x; at < (long)rows * features; at += gridDim.x * 256L) {
        const int feature = (int)(at % features);
        const long first = at / features * 4 * features + feature;
        float z[4];
#pragma unroll
        for (int gate = 0; gate < 4; ++gate) {
            const long there = first + (long)gate * features, bias = feature + (long)gate * features;
            z[gate] = (load(zx[there]) + load(bx[bias])) + (load(zh[there]) + load(bh[bias]));
        }
        finish(make_float4(z[0], z[1], z[2], z[3]), c, kept, at);
    }
}

// z += x Wᵀ for the sequences and features of this block.  Eight neighbouring lanes read eight columns of a row, four
// such groups four rows: 32 bytes of each, and in shared memory, where they lie in columns, 32 different banks.
__device__ inline void multiply(
    float4* z, const Real* x, const Real* w, int depth, int row, int rows, int feature, int features,
    float (*its)[ROWS + 4], float4 (*weights)[COLUMNS + 1]) {
    const int lane = threadIdx.x % 8, line = threadIdx.x / 8;          // COLUMNS and sequences, when it multiplies
    for (int start = 0; start < depth; start += DEPTH) {
        __syncthreads();                              // whoever still multiplies what was here
#pragma unroll
        for (int n = line; n < ROWS; n += 16)
#pragma unroll
            for (int k = lane; k < DEPTH; k += 8) {
                const bool there = row + n < rows && start + k < depth;
                its[k][n] = there ? load(x[(long)(row + n) * depth + start + k]) : 0.f;
            }
#pragma unroll
        for (int n = line; n < 4 * COLUMNS; n += 16)
#pragma unroll
            for (int k = lane; k < DEPTH; k += 8) {
                const int gate = n % 4, e = n / 4;
                const bool there = feature + e < features && start + k < depth;
                const long at = ((long)gate * features + feature + e) * depth + start + k;
                ((float*)&weights[k][e])[gate] = there ? load(w[at]) : 0.f;
            }
        __syncthreads();
#pragma unroll
        for (int k = 0; k < DEPTH; ++k) {
            const float4 four = weights[k][lane];
#pragma unroll
            for (int n = 0; n < PER; ++n) {
                const float value = its[k][line * PER + n];
                z[n].x += four.x * value;
                z[n].y += four.y * value;
                z[n].z += four.z * value;
                z[n].w += four.w * value;
            }
        }
    }
}

//= zx, c_x = linear.forward(x, wx, bx)                                 # (N, 4E)
//= zh, c_h = linear.forward(h, wh, bh)                                 # (N, 4E)
//= z = zx + zh
//= c1 = f * c + i * g                                                  # (N, E)
//= h1 = o * r                                                          # (N, E)
//: threads 128
//: reads real * ((inputs + features) * (rows * ceil(features, COLUMNS) + 4 * features * ceil(rows, ROWS)) + rows * features + 8 * features * ceil(rows, 4 * PER))
//: writes rows * features * 7 * real
//: fma per load 2
extern "C" __global__ void __launch_bounds__(128) lstm_step(
    const Real* __restrict__ x, const Real* __restrict__ h, const Real* __restrict__ c, const Real* __restrict__ wx,
    const Real* __restrict__ wh, const Real* __restrict__ bx, const Real* __restrict__ bh, Real* __restrict__ h1,
    Real* __restrict__ c1, Real* __restrict__ i, Real* __restrict__ f, Real* __restrict__ g, Real* __restrict__ o,
    Real* __restrict__ r, int rows, int inputs, int features) {
    __shared__ float4 weights[DEPTH][COLUMNS + 1];    // a feature's four gates side by side
    __shared__ float its[DEPTH][ROWS + 4];
    const Kept kept = {h1, c1, i, f, g, o, r};
    const int feature = blockIdx.x * COLUMNS, mine = feature + threadIdx.x % COLUMNS;
    const int row = blockIdx.y * ROWS, first = row + threadIdx.x / COLUMNS * PER;
    float4 z[PER];
#pragma unroll
    for (int n = 0; n < PER; ++n) z[n] = make_float4(0.f, 0.f, 0.f, 0.f);
    multiply(z, x, wx, inputs, row, rows, feature, features, its, weights);
    multiply(z, h, wh, features, row, rows, feature, features, its, weights);
    if (mine < features && first < rows) {
        float b[4];
#pragma unroll
        for (int gate = 0; gate < 4; ++gate)
            b[gate] = load(bx[(long)gate * features + mine]) + load(bh[(long)gate * features + mine]);
#pragma unroll
        for (int n = 0; n < PER; ++n)
            if (first + n < rows)
                finish(make_float4(z[n].x + b[0], z[n].y + b[1], z[n].z + b[2], z[n].w + b[3]), c, kept,
                       (long)(first + n) * features + mine);
    }
}

//= do = dh1 * r                                                        # (N, E)
//= dc1 = dc1 + dh1 * o * (1 - r * r)                                   # (N, E)
//= df, dc, di, dg = dc1 * c, dc1 * f, dc1 * g, dc1 * i                 # (N, E)
//= dz = np.concatenate([di * i * (1 - i), df * f * (1 - f), dg * (1 - g * g), do * o * (1 - o)], 1)
//: threads 256
//: reads rows * features * 8 * real
//: writes rows * features * 5 * real
extern "C" __global__ void __launch_bounds__(256) lstm_gates_backward(
    const Real* __restrict__ dh1, const Real* __restrict__ dc1, const Real* __restrict__ c,
    const Real* __restrict__ i, const Real* __restrict__ f, const Real* __restrict__ g, const Real* __restrict__ o,
    const Real* __restrict__ r, Real* __restrict__ dz, Real* __restrict__ dc, int rows, int features) {
    for (long at = blockIdx.x * 256L + threadIdx.x; at < (long)rows * features; at += gridDim.x * 256L) {
        const float into = load(i[at]), forget = load(f[at]), out = load(o[at]), what = load(g[at]);
        const float memory = load(r[at]), dh = load(dh1[at]);
        const float dmemory = load(dc1[at]) + dh * out * (1.f - memory * memory);
        Real* to = dz + at / features * 4 * features + at % features;
        store(to, dmemory * what * into * (1.f - into));
        store(to + features, dmemory * load(c[at]) * forget * (1.f - forget));
        store(to + 2L * features, dmemory * into * (1.f - what * what));
        store(to + 3L * features, dh * memory * out * (1.f - out));
        store(dc + at, dmemory * forget);
    }
}
