// CBAM's spatial gate: a gate for each pixel, from the mean and the maximum of its channels and those around it.
//
//     d = [mean_c x; max_c x]     s = σ(w ∗ d)     y = s ⊙ x
//
// Two additions, a comparison and a product for each number of x, and 98 multiply-adds (7 × 7) for each pixel, shared
// by its C channels: memory is the limit.  The floor, for each pixel and r bytes a number: C r read; written C r of y,
// C of `wins`, 3 r of d and s.  The difficulty is that y needs the gate, and the gate all channels of the pixels
// around it, so that x is wanted twice, and an image is more than a multiprocessor can keep.
//
//   version 2   three plain kernels, one thread for each pixel or number.  The convolution reads its two maps 49 times,
//               and the gate is read again for every channel.  Numbers read for a pixel: C + 98 + 2 C.
//   version 3   two kernels.  The pool has 8 warps share the channels of 32 pixels, so that few pixels occupy the card,
//               too; the convolution stages the two maps of a tile of 8 × 32 (16 × 16 in a narrow image), and of the 3
//               pixels around it, in shared memory, and scales all channels of its pixels by the gate that it has just
//               made.  Numbers: 2 C + 2 h.
//   version 4   one kernel.  Each tile pools its own surroundings, which its neighbours pool again: h times the
//               channels instead of once, h = (1 + 6/8) (1 + 6/32) = 2.1 inside a large image.  To read x once more for
//               y would make that 3.1 C, more than version 3 moves; but a thread keeps the first KEEP channels of its
//               pixel in shared memory.  Numbers: h C + max(0, C - KEEP).
//
// 32 × 64 × 56 × 56 in float32, where h = 92/56 · 62/56 = 1.82 (a border has no surroundings) and KEEP = 56, in MB; the
// last column is what the kernels ask for when each access takes whole sectors of 32 bytes, as a card's cache gives them:
//
//                  reads   writes    both    sectors
//     floor         25.7     33.3    59.0      59.0
//     version 2    115.3     33.3   148.6
//     version 3     53.0     33.3    86.3      87.6
//     version 4     50.1     33.3    83.4     101.3
//
// Version 4 is ahead while h C + max(0, C - KEEP) < 2 C + 2 h: by 3 % here, by 30 % where a tile holds the whole image
// (h = 1: 14 × 14, 7 × 7) and its channels fit, and not for 128 channels of 28 × 28 or 256 of 56 × 56.  The launcher
// computes both sides and takes the smaller; so version 4 ships.  What its neighbours pooled a moment ago a tile finds
// in the second-level cache: of memory, version 4 wants x once, version 3 twice where x is larger than that cache; of
// the cache, version 4 wants more, as rows of halo seldom begin and end with a sector.  Which is worth more, a clock on
// a card has yet to say.
//
// Backward, with da = Σ_c dy ⊙ x · s (1 - s) and the maps' gradient dd by the convolution turned around:
// dx = s ⊙ dy + dd₁ / C + dd₂ where the maximum is.  Version 2 is plain again.  From version 3 on, one kernel reduces
// dy and x to da, and one stages the tile of da in shared memory with its surroundings, from which both dd and the
// tile's part of dw come; the parts of all blocks are added up in a fixed order, so that dw is the same in every run.
// To fuse the reduction, too, would read dy and x h times each, instead of dy twice and x once: more from h = 1.5 on,
// even if the tile's dy were kept.  At the size above, in MB: the floor 84.7, version 2 216.4, from version 3 on 112.5.
#include "common.cuh"

//: compile Real=float ABOVE=3 BESIDE=3 WIDE=32 KEEP=56
//: compile Real=float ABOVE=3 BESIDE=3 WIDE=16 KEEP=56
//: compile Real=__half ABOVE=3 BESIDE=3 WIDE=32 KEEP=112
//: compile Real=__nv_bfloat16 ABOVE=3 BESIDE=3 WIDE=32 KEEP=112
#ifndef ABOVE
#define ABOVE 3                                       // rows of the kernel above its middle, and as many below
#endif
#ifndef BESIDE
#define BESIDE 3                                      // columns on either side
#endif
#ifndef KEEP
#define KEEP 56                                       // channels of a tile that stay in shared memory
#endif
#define ACROSS (2 * BESIDE + 1)
#define TAPS ((2 * ABOVE + 1) * ACROSS)
#ifndef WIDE
#define WIDE 32                                       // columns of a tile: a warp's row, or 16
#endif
#define TALL (256 / WIDE)                             // rows of a tile, which has a pixel for each thread
#define HALO_ROWS (TALL + 2 * ABOVE)
#define HALO_COLUMNS (WIDE + 2 * BESIDE)
#define WORDS 16                                      // words of 32 winners that a thread keeps of its pixel

// As NumPy has it, a NaN is larger than any number, and the first of equals wins.
__device__ inline bool exceeds(float x, float most) { return x > most || (x != x && most == most); }
__device__ inline bool is_largest(float x, float most) { return x == most || x != x; }

__device__ inline float sigmoid(float x) {
    const float e = expf(-fabsf(x));                  // neither sign of x overflows
    return (x >= 0.f ? 1.f : e) / (1.f + e);
}

struct Tile {
    long image;
    int row, column;                                  // of its first pixel
};
__device__ inline Tile tile_of(long number, int tiles_down, int tiles_across) {
    const long each = (long)tiles_down * tiles_across;
    const int rest = (int)(number % each);
    return {number / each, rest / tiles_across * TALL, rest % tiles_across * WIDE};
}

// The gate before its sigmoid: both kernels over the maps around a thread's pixel, all of them in shared memory.
__device__ inline float convolve(const float (*maps)[HALO_ROWS][HALO_COLUMNS], const float* weights, int i, int j) {
    float sum = 0.f;
#pragma unroll 2
    for (int k = 0; k <= 2 * ABOVE; ++k)
#pragma unroll
        for (int l = 0; l < ACROSS; ++l)
            sum += weights[k * ACROSS + l] * maps[0][i + k][j + l] +
                   weights[TAPS + k * ACROSS + l] * maps[1][i + k][j + l];
    return sum;
}

// ---------------------------------------------------------------------------------------------- version 2, forward

//= maxima, wins = largest(x, 1, ties)
//= d = np.stack([x.mean(axis=1), maxima], axis=1)              # (N, 2, H, W)
//: threads 256
//: reads images * channels * pixels * real * (1 + even)
//: writes images * pixels * (channels + 2 * real)
extern "C" __global__ void __launch_bounds__(256) pool_pixel(
    const Real* __restrict__ x, bool* __restrict__ wins, Real* __restrict__ d, int even, int images, int channels,
    int pixels) {
    for (long i = blockIdx.x * 256L + threadIdx.x; i < (long)images * pixels; i += gridDim.x * 256L) {
        const long image = i / pixels, pixel = i % pixels;
        const long at = image * channels * pixels + pixel;
        float sum = 0.f, most = MINUS_INFINITY;
        int which = 0;
        for (int c = 0; c < channels; ++c) {
            const float value = load(x[at + (long)c * pixels]);
            sum += value;
            if (exceeds(value, most)) most = value, which = c;
        }
        store(d + 2 * image * pixels + pixel, sum / channels);
        store(d + (2 * image + 1) * pixels + pixel, most);
        for (int c = 0; c < channels; ++c)
            wins[at + (long)c * pixels] = even ? is_largest(load(x[at + (long)c * pixels]), most) : c == which;
    }
}

// What lies outside the image counts as 0 and is not read.
//= a, conv = conv2d.forward(d, w, padding=(Kh // 2, Kw // 2))  # (N, 1, H, W)
//= s, _ = sigmoid.forward(a)                                   # (N, 1, H, W)      (3)
//: threads 256
//: reads 2 * real * (images * max(1, rows * (2*ABOVE+1) - ABOVE * (ABOVE+1)) * max(1, columns * ACROSS - BESIDE * (BESIDE+1)) + TAPS * ceil(images * rows * columns, 32))
//: writes images * rows * columns * real
extern "C" __global__ void __launch_bounds__(256) convolve_pixel(
    const Real* __restrict__ d, const Real* __restrict__ w, Real* __restrict__ s, int images, int rows, int columns) {
    const long pixels = (long)rows * columns;
    for (long i = blockIdx.x * 256L + threadIdx.x; i < images * pixels; i += gridDim.x * 256L) {
        const Real* maps = d + i / pixels * 2 * pixels;
        const int row = (int)(i % pixels / columns), column = (int)(i % columns);
        float sum = 0.f;
        for (int k = 0; k <= 2 * ABOVE; ++k)
            for (int l = 0; l < ACROSS; ++l) {
                const int r = row + k - ABOVE, q = column + l - BESIDE, tap = k * ACROSS + l;
                const bool inside = r >= 0 && r < rows && q >= 0 && q < columns;
                const long at = (long)r * columns + q;
                sum += load(w[tap]) * (inside ? load(maps[at]) : 0.f) +
                       load(w[TAPS + tap]) * (inside ? load(maps[pixels + at]) : 0.f);
            }
        store(s + i, sigmoid(sum));
    }
}

//= y = s * x                                                   # (N, C, H, W)
//: threads 256
//: reads real * (images * channels * pixels + min(images * channels * pixels, ceil(images * channels * pixels, 32) * min(pixels, 32)))
//: writes images * channels * pixels * real
extern "C" __global__ void __launch_bounds__(256) scale(
    const Real* __restrict__ x, const Real* __restrict__ s, Real* __restrict__ y, int images, int channels,
    int pixels) {
    const long each = (long)channels * pixels;
    for (long i = blockIdx.x * 256L + threadIdx.x; i < images * each; i += gridDim.x * 256L)
        store(y + i, load(s[i / each * pixels + i % pixels]) * load(x[i]));
}

// ---------------------------------------------------------------------------------------------- version 3, forward

// Warp w takes the channels w, w + 8, … of 32 pixels; then the first warp puts the eight findings together.
// `wins` is null where each of several largest channels wins: `convolve_and_scale` sees x, too, and writes it.
//= maxima, wins = largest(x, 1, ties)
//= d = np.stack([x.mean(axis=1), maxima], axis=1)              # (N, 2, H, W)
//: threads 256
//: reads images * channels * pixels * real
//: writes images * pixels * (channels * (wins is not None) + 2 * real)
extern "C" __global__ void __launch_bounds__(256) pool_shared(
    const Real* __restrict__ x, bool* __restrict__ wins, Real* __restrict__ d, int images, int channels, int pixels) {
    __shared__ float sums[8][32], largest[8][32];
    __shared__ int places[8][32];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (long first = blockIdx.x * 32L; first < (long)images * pixels; first += gridDim.x * 32L) {
        const long i = first + lane, image = i / pixels, pixel = i % pixels;
        const int there = i < (long)images * pixels ? channels : 0;         // a lane without a pixel keeps in step
        const long at = image * channels * pixels + pixel;
        float sum = 0.f, most = MINUS_INFINITY;
        int which = warp;
#pragma unroll 4
        for (int c = warp; c < there; c += 8) {
            const float value = load(x[at + (long)c * pixels]);
            sum += value;
            if (exceeds(value, most)) most = value, which = c;
        }
        sums[warp][lane] = sum, largest[warp][lane] = most, places[warp][lane] = which;
        __syncthreads();
        if (warp == 0 && there) {
            for (int other = 1; other < min(8, channels); ++other) {
                const float value = largest[other][lane];
                const int place = places[other][lane];
                const bool equal = value == most || (value != value && most != most);
                if (exceeds(value, most) || (equal && place < which)) most = value, which = place;
                sum += sums[other][lane];
            }
            store(d + 2 * image * pixels + pixel, sum / channels);
            store(d + (2 * image + 1) * pixels + pixel, most);
            places[0][lane] = which;
        }
        __syncthreads();
        which = places[0][lane];
        if (wins != nullptr)
            for (int c = warp; c < there; c += 8) wins[at + (long)c * pixels] = c == which;
        __syncthreads();                              // before `places` is written for the next pixels
    }
}

// The bytes of the maps: a tile reads them with what surrounds it, inside the image.
//= a, conv = conv2d.forward(d, w, padding=(Kh // 2, Kw // 2))  # (N, 1, H, W)
//= s, _ = sigmoid.forward(a)                                   # (N, 1, H, W)      (3)
//= y = s * x                                                   # (N, C, H, W)
//: threads 256
//: reads real * (images * (2 * (rows + 2 * ABOVE * (tiles_down - 1)) * (columns + 2 * BESIDE * (tiles_across - 1)) + channels * rows * columns) + blocks * 2 * TAPS)
//: writes images * rows * columns * ((channels + 1) * real + channels * (wins is not None))
extern "C" __global__ void __launch_bounds__(256) convolve_and_scale(
    const Real* __restrict__ x, const Real* __restrict__ d, const Real* __restrict__ w, bool* __restrict__ wins,
    Real* __restrict__ s, Real* __restrict__ y, int images, int channels, int rows, int columns, int tiles_down,
    int tiles_across) {
    __shared__ float maps[2][HALO_ROWS][HALO_COLUMNS], weights[2 * TAPS];
    const long pixels = (long)rows * columns;
    const int i = threadIdx.x / WIDE, j = threadIdx.x % WIDE;
    for (int t = threadIdx.x; t < 2 * TAPS; t += 256) weights[t] = load(w[t]);
    for (long number = blockIdx.x; number < (long)images * tiles_down * tiles_across; number += gridDim.x) {
        const Tile tile = tile_of(number, tiles_down, tiles_across);
        for (int t = threadIdx.x; t < 2 * HALO_ROWS * HALO_COLUMNS; t += 256) {
            const int map = t / (HALO_ROWS * HALO_COLUMNS), rest = t % (HALO_ROWS * HALO_COLUMNS);
            const int r = tile.row + rest / HALO_COLUMNS - ABOVE, q = tile.column + rest % HALO_COLUMNS - BESIDE;
            const bool inside = r >= 0 && r < rows && q >= 0 && q < columns;
            maps[map][rest / HALO_COLUMNS][rest % HALO_COLUMNS] =
                inside ? load(d[(2 * tile.image + map) * pixels + (long)r * columns + q]) : 0.f;
        }
        __syncthreads();
        const int r = tile.row + i, q = tile.column + j;
        if (r < rows && q < columns) {
            const long pixel = (long)r * columns + q;
            const float gate = sigmoid(convolve(maps, weights, i, j)), most = maps[1][i + ABOVE][j + BESIDE];
            store(s + tile.image * pixels + pixel, gate);
#pragma unroll 4
            for (int c = 0; c < channels; ++c) {
                const long at = (tile.image * channels + c) * pixels + pixel;
                const float value = load(x[at]);
                store(y + at, gate * value);
                if (wins != nullptr) wins[at] = is_largest(value, most);
            }
        }
        __syncthreads();                              // before the maps of the next tile
    }
}

// ---------------------------------------------------------------------------------------------- version 4, forward

struct Pooled {
    float mean, most;
    int which;                                        // the first of the largest
};
// One pixel, read once; `kept` is null, or where its first channels stay, 256 pixels apart.
__device__ inline Pooled pool(const Real* its, int channels, long pixels, Real* kept) {
    float sum = 0.f, most = MINUS_INFINITY;
    int which = 0;
#pragma unroll 4
    for (int c = 0; c < channels; ++c) {
        const Real one = its[c * pixels];
        const float value = load(one);
        sum += value;
        if (exceeds(value, most)) most = value, which = c;
        if (kept != nullptr && c < KEEP) kept[c * 256] = one;
    }
    return {sum / channels, most, which};
}

// A thread pools its own pixel of the tile, and then one or two of those around it, which other tiles pool as well:
// first the rows above and below, then what is left on either side.
//= maxima, wins = largest(x, 1, ties)
//= d = np.stack([x.mean(axis=1), maxima], axis=1)              # (N, 2, H, W)
//= a, conv = conv2d.forward(d, w, padding=(Kh // 2, Kw // 2))  # (N, 1, H, W)
//= s, _ = sigmoid.forward(a)                                   # (N, 1, H, W)      (3)
//= y = s * x                                                   # (N, C, H, W)
//: threads 256
//: reads real * (images * (channels * (rows + 2 * ABOVE * (tiles_down - 1)) * (columns + 2 * BESIDE * (tiles_across - 1)) + max(0, channels - KEEP) * rows * columns) + blocks * 2 * TAPS)
//: writes images * rows * columns * ((channels + 3) * real + channels)
//: shared KEEP * 256 * real
//: blocks 1 because the kept channels fill the 64 KiB of sm_75; on sm_80 two blocks fit, on sm_90 three
extern "C" __global__ void __launch_bounds__(256, 2) pool_convolve_and_scale(
    const Real* __restrict__ x, const Real* __restrict__ w, bool* __restrict__ wins, Real* __restrict__ d,
    Real* __restrict__ s, Real* __restrict__ y, int even, int images, int channels, int rows, int columns,
    int tiles_down, int tiles_across) {
    extern __shared__ Real kept[];
    __shared__ float maps[2][HALO_ROWS][HALO_COLUMNS], weights[2 * TAPS];
    const long pixels = (long)rows * columns;
    const int i = threadIdx.x / WIDE, j = threadIdx.x % WIDE;
    for (int t = threadIdx.x; t < 2 * TAPS; t += 256) weights[t] = load(w[t]);
    for (long number = blockIdx.x; number < (long)images * tiles_down * tiles_across; number += gridDim.x) {
        const Tile tile = tile_of(number, tiles_down, tiles_across);
        const Real* image = x + tile.image * channels * pixels;
        const long pixel = (long)(tile.row + i) * columns + tile.column + j;
        const bool there = tile.row + i < rows && tile.column + j < columns;
        const Pooled mine = there ? pool(image + pixel, channels, pixels, kept + threadIdx.x) : Pooled{0.f, 0.f, 0};
        maps[0][i + ABOVE][j + BESIDE] = mine.mean;
        maps[1][i + ABOVE][j + BESIDE] = mine.most;
        for (int t = threadIdx.x; t < HALO_ROWS * HALO_COLUMNS - 256; t += 256) {
            const int beside = t - 2 * ABOVE * HALO_COLUMNS, sides = max(1, 2 * BESIDE);
            int r = beside < 0 ? t / HALO_COLUMNS : ABOVE + beside / sides;
            int q = beside < 0 ? t % HALO_COLUMNS : beside % sides;
            if (beside < 0 && r >= ABOVE) r += TALL;
            if (beside >= 0 && q >= BESIDE) q += WIDE;
            const int row = tile.row + r - ABOVE, column = tile.column + q - BESIDE;
            const bool inside = row >= 0 && row < rows && column >= 0 && column < columns;
            const Pooled other = inside ? pool(image + (long)row * columns + column, channels, pixels, nullptr)
                                        : Pooled{0.f, 0.f, 0};
            maps[0][r][q] = other.mean;
            maps[1][r][q] = other.most;
        }
        __syncthreads();
        if (there) {
            const float gate = sigmoid(convolve(maps, weights, i, j));
            store(d + 2 * tile.image * pixels + pixel, mine.mean);
            store(d + (2 * tile.image + 1) * pixels + pixel, mine.most);
            store(s + tile.image * pixels + pixel, gate);
#pragma unroll 4
            for (int c = 0; c < channels; ++c) {
                const long at = (tile.image * channels + c) * pixels + pixel;
                const float value = load(c < KEEP ? kept[c * 256 + threadIdx.x] : x[at]);
                store(y + at, gate * value);
                wins[at] = even ? is_largest(value, mine.most) : c == mine.which;
            }
        }
        __syncthreads();                              // before the maps of the next tile
    }
}

// --------------------------------------------------------------------------------------------- version 2, backward

// Here da lies in a frame of zeros, as wide as the kernel reaches, so that nobody has to ask where the image ends.
__device__ inline long framed(long i, int rows, int columns) {
    const long pixels = (long)rows * columns, across = columns + 2 * BESIDE;
    return (i / pixels * (rows + 2 * ABOVE) + i % pixels / columns + ABOVE) * across + i % columns + BESIDE;
}

//= ds = (dy * x).sum(axis=1, keepdims=True)                    # (N, 1, H, W)
//= da = ds * s * (1 - s)
//: threads 256
//: reads images * rows * columns * (2 * channels + 1) * real
//: writes images * rows * columns * 4
extern "C" __global__ void __launch_bounds__(256) reduce_pixel(
    const Real* __restrict__ dy, const Real* __restrict__ x, const Real* __restrict__ s, float* __restrict__ da,
    int images, int channels, int rows, int columns) {
    const long pixels = (long)rows * columns;
    for (long i = blockIdx.x * 256L + threadIdx.x; i < images * pixels; i += gridDim.x * 256L) {
        const long at = i / pixels * channels * pixels + i % pixels;
        const float gate = load(s[i]);
        float ds = 0.f;
        for (int c = 0; c < channels; ++c) ds += load(dy[at + c * pixels]) * load(x[at + c * pixels]);
        da[framed(i, rows, columns)] = ds * gate * (1.f - gate);
    }
}

// A pixel of d was seen by every tap, each time from another pixel: the convolution turned around.
//= dd, dw = conv2d.backward(da, conv)                          # (N, 2, H, W)
//= dx = s * dy + dd[:, :1] / x.shape[1] + share(dd[:, 1], wins, axis=1)
//: threads 256
//: reads images * rows * columns * (TAPS * 4 + (channels + 1) * real + 2 * channels) + 2 * TAPS * ceil(images * rows * columns, 32) * real
//: writes images * rows * columns * channels * real
extern "C" __global__ void __launch_bounds__(256) spread_pixel(
    const Real* __restrict__ dy, const bool* __restrict__ wins, const Real* __restrict__ s,
    const float* __restrict__ da, const Real* __restrict__ w, Real* __restrict__ dx, int images, int channels,
    int rows, int columns) {
    const long pixels = (long)rows * columns;
    for (long i = blockIdx.x * 256L + threadIdx.x; i < images * pixels; i += gridDim.x * 256L) {
        const float* here = da + framed(i, rows, columns);
        float mean = 0.f, most = 0.f;
#pragma unroll 1
        for (int k = 0; k <= 2 * ABOVE; ++k)
            for (int l = 0; l < ACROSS; ++l) {
                const float gradient = here[(long)(ABOVE - k) * (columns + 2 * BESIDE) + BESIDE - l];
                mean += load(w[k * ACROSS + l]) * gradient;
                most += load(w[TAPS + k * ACROSS + l]) * gradient;
            }
        const long at = i / pixels * channels * pixels + i % pixels;
        const float gate = load(s[i]);
        int winners = 0;
        for (int c = 0; c < channels; ++c) winners += wins[at + c * pixels];
        for (int c = 0; c < channels; ++c)
            store(dx + at + c * pixels, gate * load(dy[at + c * pixels]) + mean / channels +
                                            (wins[at + c * pixels] ? most / winners : 0.f));
    }
}

// One block for each weight: it meets every pixel of d, and the pixel of da that saw it through this tap.
//= dd, dw = conv2d.backward(da, conv)                          # (N, 2, H, W)
//: threads 256
//: reads 2 * TAPS * images * rows * columns * (4 + real)
//: writes 2 * TAPS * real
extern "C" __global__ void __launch_bounds__(256) weight_gradient(
    const float* __restrict__ da, const Real* __restrict__ d, Real* __restrict__ dw, int images, int rows,
    int columns) {
    __shared__ float part[8];
    const long pixels = (long)rows * columns;
    for (int weight = blockIdx.x; weight < 2 * TAPS; weight += gridDim.x) {
        const int map = weight / TAPS, k = weight % TAPS / ACROSS, l = weight % ACROSS;
        const float* turned = da + (long)(ABOVE - k) * (columns + 2 * BESIDE) + BESIDE - l;
        float sum = 0.f;
        for (long i = threadIdx.x; i < images * pixels; i += 256)
            sum += load(d[(i / pixels * 2 + map) * pixels + i % pixels]) * turned[framed(i, rows, columns)];
        sum = block_sum(sum, part);
        if (threadIdx.x == 0) store(dw + weight, sum);
    }
}

// ------------------------------------------------------------------------------------ from version 3 on, backward

// As in `pool_shared`, eight warps share the channels of 32 pixels.
//= ds = (dy * x).sum(axis=1, keepdims=True)                    # (N, 1, H, W)
//= da = ds * s * (1 - s)
//: threads 256
//: reads images * pixels * (2 * channels + 1) * real
//: writes images * pixels * 4
extern "C" __global__ void __launch_bounds__(256) reduce_shared(
    const Real* __restrict__ dy, const Real* __restrict__ x, const Real* __restrict__ s, float* __restrict__ da,
    int images, int channels, int pixels) {
    __shared__ float sums[8][32];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (long first = blockIdx.x * 32L; first < (long)images * pixels; first += gridDim.x * 32L) {
        const long i = first + lane, at = i / pixels * channels * pixels + i % pixels;
        const int there = i < (long)images * pixels ? channels : 0;
        float ds = 0.f;
#pragma unroll 4
        for (int c = warp; c < there; c += 8)
            ds += load(dy[at + (long)c * pixels]) * load(x[at + (long)c * pixels]);
        sums[warp][lane] = ds;
        __syncthreads();
        if (warp == 0 && there) {
            for (int other = 1; other < 8; ++other) ds += sums[other][lane];
            const float gate = load(s[i]);
            da[i] = ds * gate * (1.f - gate);
        }
        __syncthreads();
    }
}

// The tile's da, with what surrounds it, serves three: the gradient of the mean and of the maximum of each pixel, and
// the tile's part of dw, of which each warp takes the weights w, w + 8, …  A thread keeps which channels of its pixel
// win, up to 32 WORDS of them, while it counts them.
//= dd, dw = conv2d.backward(da, conv)                          # (N, 2, H, W)
//= dx = s * dy + dd[:, :1] / x.shape[1] + share(dd[:, 1], wins, axis=1)
//: threads 256
//: reads images * (4 * (rows + 2 * ABOVE * (tiles_down - 1)) * (columns + 2 * BESIDE * (tiles_across - 1)) + rows * columns * ((channels + 3) * real + channels + max(0, channels - 32 * WORDS))) + blocks * 2 * TAPS * real
//: writes images * rows * columns * channels * real + blocks * 2 * TAPS * 4
extern "C" __global__ void __launch_bounds__(256) spread_tile(
    const Real* __restrict__ dy, const bool* __restrict__ wins, const Real* __restrict__ s,
    const float* __restrict__ da, const Real* __restrict__ d, const Real* __restrict__ w, Real* __restrict__ dx,
    float* __restrict__ parts, int images, int channels, int rows, int columns, int tiles_down, int tiles_across) {
    __shared__ float gradients[HALO_ROWS][HALO_COLUMNS], maps[2][256], weights[2 * TAPS], sums[2 * TAPS];
    __shared__ unsigned winning[WORDS][256];
    const long pixels = (long)rows * columns;
    const int i = threadIdx.x / WIDE, j = threadIdx.x % WIDE, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (int t = threadIdx.x; t < 2 * TAPS; t += 256) weights[t] = load(w[t]), sums[t] = 0.f;
    for (long number = blockIdx.x; number < (long)images * tiles_down * tiles_across; number += gridDim.x) {
        const Tile tile = tile_of(number, tiles_down, tiles_across);
        const int r = tile.row + i, q = tile.column + j;
        const bool there = r < rows && q < columns;
        const long pixel = (long)r * columns + q;
        for (int t = threadIdx.x; t < HALO_ROWS * HALO_COLUMNS; t += 256) {
            const int y = tile.row + t / HALO_COLUMNS - ABOVE, x = tile.column + t % HALO_COLUMNS - BESIDE;
            const bool inside = y >= 0 && y < rows && x >= 0 && x < columns;
            gradients[t / HALO_COLUMNS][t % HALO_COLUMNS] =
                inside ? da[tile.image * pixels + (long)y * columns + x] : 0.f;
        }
        for (int map = 0; map < 2; ++map)
            maps[map][threadIdx.x] = there ? load(d[(2 * tile.image + map) * pixels + pixel]) : 0.f;
        __syncthreads();

        // From pixel p of d, tap k, l leads back to the pixel p - (k, l) of da, turned around: 2 ABOVE - k.
        for (int weight = warp; weight < 2 * TAPS; weight += 8) {
            const int map = weight / TAPS, k = weight % TAPS / ACROSS, l = weight % ACROSS;
            float sum = 0.f;
#pragma unroll
            for (int at = lane; at < 256; at += 32)
                sum += maps[map][at] * gradients[at / WIDE + 2 * ABOVE - k][at % WIDE + 2 * BESIDE - l];
            sum = warp_sum(sum);
            if (lane == 0) sums[weight] += sum;
        }
        if (there) {
            float mean = 0.f, most = 0.f;
#pragma unroll 2
            for (int k = 0; k <= 2 * ABOVE; ++k)
#pragma unroll
                for (int l = 0; l < ACROSS; ++l) {
                    const float gradient = gradients[i + 2 * ABOVE - k][j + 2 * BESIDE - l];
                    mean += weights[k * ACROSS + l] * gradient;
                    most += weights[TAPS + k * ACROSS + l] * gradient;
                }
            const long at = tile.image * channels * pixels + pixel;
            const float gate = load(s[tile.image * pixels + pixel]);
            int winners = 0;
            unsigned word = 0;
            for (int c = 0; c < channels; ++c) {
                const unsigned one = wins[at + c * pixels];
                winners += one;
                word |= one << c % 32;
                if (c % 32 == 31 || c == channels - 1) {
                    if (c < 32 * WORDS) winning[c / 32][threadIdx.x] = word;
                    word = 0;
                }
            }
            mean /= channels;
            most /= winners;
#pragma unroll 4
            for (int c = 0; c < channels; ++c) {
                const bool one = c < 32 * WORDS ? winning[c / 32][threadIdx.x] >> c % 32 & 1 : wins[at + c * pixels];
                store(dx + at + c * pixels, gate * load(dy[at + c * pixels]) + mean + (one ? most : 0.f));
            }
        }
        __syncthreads();                              // before the next tile
    }
    for (int t = threadIdx.x; t < 2 * TAPS; t += 256) parts[blockIdx.x * 2L * TAPS + t] = sums[t];
}

// One block for each weight adds up what the blocks before it found, always in the same order.
//= dd, dw = conv2d.backward(da, conv)                          # (N, 2, H, W)
//: threads 256
//: reads count * 2 * TAPS * 4
//: writes 2 * TAPS * real
extern "C" __global__ void __launch_bounds__(256) add_parts(
    const float* __restrict__ parts, Real* __restrict__ dw, int count) {
    __shared__ float part[8];
    for (int weight = blockIdx.x; weight < 2 * TAPS; weight += gridDim.x) {
        float sum = 0.f;
        for (int i = threadIdx.x; i < count; i += 256) sum += parts[i * 2L * TAPS + weight];
        sum = block_sum(sum, part);
        if (threadIdx.x == 0) store(dw + weight, sum);
    }
}
