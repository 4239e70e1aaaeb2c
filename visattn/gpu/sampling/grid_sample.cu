// Grid sampling: for each point of a grid the pixels around it, under weights.  Forward gathers; backward, its
// transpose, scatters: many points read one pixel, and their gradients have to meet there.
//
//   version 2   one thread a point, in a loop over channels.  Threads of a warp read pixels that lie apart, 4 bytes of
//               each 32 that memory hands out.  Backward adds to dx by atomics: the order is whoever comes first, so
//               the last bits change from run to run.
//   version 3   lanes along the channels, which lie side by side in the frame: a warp reads a pixel at once, and 32
//               points × 32 channels turn round in shared memory on their way to y.  Backward gathers, too: points are
//               sorted by the pixel at their upper left, and each pixel adds up, in the order of the sorted list, what
//               the four lists around it hold for it.  Nothing is left to chance: the same bits every time.
//
// Bytes, for P points, C channels, K × K pixels each: the taps are the floor, 4 P C K² read, and 4 P C written.  Beside
// it stands what the cache keeps: the frame, which is x once more, and P (8 K² + 8 K + 8).  The sort costs some 100
// bytes a point, whatever the number of channels.  Atomics move as many bytes as the gather, twice: read and written.
#include "common.cuh"

//: compile Real=float TAPS=2
//: compile Real=float TAPS=1
#ifndef TAPS
#define TAPS 2                                        // rows and columns of pixels that a point reads: nearest 1
#endif
#define BORDER 1                                      // padding: 0 is zeros
#define REFLECTION 2

struct Place {
    float at, slope;                                  // where a coordinate is, in pixels, and ∂at/∂g
};

// Every operation is rounded as NumPy's is, so that a point reads the very pixels that the reference reads: joined to
// a fused multiply-add, a point upon a pixel would be found on either side of it.
__device__ inline Place place(float g, int size, int padding, int align_corners) {
    const float scale = align_corners ? (size - 1) / 2.f : size / 2.f, shift = align_corners ? 0.f : -0.5f;
    float u = __fadd_rn(__fmul_rn(__fadd_rn(g, 1.f), scale), shift), slope = scale;
    if (padding == REFLECTION) {
        const float low = align_corners ? 0.f : -0.5f, span = align_corners ? max(size - 1, 1) : size;
        float r = fmodf(u - low, 2.f * span);                               // there and back
        if (r < 0.f) r += 2.f * span;
        u = low + span - fabsf(r - span);
        slope *= r < span ? 1.f : r > span ? -1.f : r - span;               // 0, or NaN
    }
    if (padding == REFLECTION || padding == BORDER) {
        slope *= u > 0.f && u < size - 1 ? 1.f : 0.f;
        u = u < 0.f ? 0.f : u > size - 1 ? size - 1 : u;                    // NaN stays
    }
    return {u, slope};
}

// The TAPS pixels around u, and their weights; -1 and `size` are the frame.
__device__ inline void taps(float u, int size, int* pixel, float* weight) {
    const float first = TAPS == 1 ? rintf(u) : floorf(u);
    for (int k = 0; k < TAPS; ++k) pixel[k] = fmaxf(fminf(first + k, size), -1.f);       // of NaN: size
    if (TAPS == 1) weight[0] = u != u ? u : 1.f;
    else weight[0] = first + 1.f - u, weight[TAPS - 1] = u - first;
}

// One point: where it reads, written down for backward.
struct Point {
    long pixel[TAPS][TAPS];                           // of the frame
    float weight[TAPS][TAPS];
};
__device__ inline Point locate(const float* grid, long point, long points, int image, int height, int width,
                               int padding, int align_corners, long* i, float* ky, float* kx, float* vg, float* ug) {
    const Place u = place(grid[2 * point], width, padding, align_corners);
    const Place v = place(grid[2 * point + 1], height, padding, align_corners);
    int row[TAPS], column[TAPS];
    float down[TAPS], across[TAPS];
    taps(v.at, height, row, down);
    taps(u.at, width, column, across);
    Point found;
    for (int j = 0; j < TAPS; ++j)
        for (int k = 0; k < TAPS; ++k) {
            found.pixel[j][k] = ((long)image * (height + 2) + row[j] + 1) * (width + 2) + column[k] + 1;
            found.weight[j][k] = down[j] * across[k];
            i[(j * TAPS + k) * points + point] = found.pixel[j][k];
        }
    for (int k = 0; k < TAPS; ++k) ky[k * points + point] = down[k], kx[k * points + point] = across[k];
    vg[point] = v.slope, ug[point] = u.slope;
    return found;
}

// ---------------------------------------------------------------- version 2: one thread a point

//= u, ug = _place(grid[..., 0], W, padding, align_corners)             # (N, Ho, Wo)
//= v, vg = _place(grid[..., 1], H, padding, align_corners)
//= m, kx = _taps(u, W, mode)                                           # (K, N, Ho, Wo)        (4), (5)
//= n, ky = _taps(v, H, mode)
//= i = ((above + n + 1) * (W + 2))[:, None] + (m + 1)                  # (K, K, N, Ho, Wo)
//= y = np.einsum("jknhw,jknhwc->nhwc", w, framed.reshape(-1, C).take(i, axis=0))               # (3)
//: threads 256
//: reads at most images * each * (8 + 4 * channels * TAPS * TAPS)
//: writes images * each * (4 * channels + 8 * TAPS * TAPS + 8 * TAPS + 8)
extern "C" __global__ void __launch_bounds__(256) sample_naive(
    const float* __restrict__ framed, const float* __restrict__ grid, float* __restrict__ y, long* __restrict__ i,
    float* __restrict__ ky, float* __restrict__ kx, float* __restrict__ vg, float* __restrict__ ug, int images,
    int channels, int height, int width, int each, int padding, int align_corners) {
    const long points = (long)images * each;                                // `each` of one image
    for (long point = blockIdx.x * 256l + threadIdx.x; point < points; point += gridDim.x * 256l) {
        const long image = point / each;
        const Point its = locate(grid, point, points, image, height, width, padding, align_corners, i, ky, kx, vg, ug);
        for (int c = 0; c < channels; ++c) {
            float sum = 0.f;
            for (int j = 0; j < TAPS; ++j)
                for (int k = 0; k < TAPS; ++k) sum += its.weight[j][k] * framed[its.pixel[j][k] * channels + c];
            y[(image * channels + c) * each + point % each] = sum;
        }
    }
}

// The frame takes part in no gradient of x.  The atomics, 4 P C, are not among the bytes.
//= np.add.at(dframed[c].reshape(-1), i.reshape(-1), (w * dy[:, c]).reshape(-1))
//= dw = np.einsum("nhwc,jknhwc->jknhw", dy, framed.reshape(-1, C).take(i, axis=0))
//= dgrid = np.stack([(dkx[1] - dkx[0]) * ug, (dky[1] - dky[0]) * vg], axis=-1)
//: threads 256
//: reads images * each * (4 * channels * (5 if TAPS == 2 else 1) + 8 * TAPS * TAPS + 8 * TAPS + (8 if TAPS == 2 else 0))
//: writes images * each * (8 if TAPS == 2 else 0)
extern "C" __global__ void __launch_bounds__(256) sample_backward_atomic(
    const float* __restrict__ dy, const float* __restrict__ framed, const long* __restrict__ i,
    const float* __restrict__ ky, const float* __restrict__ kx, const float* __restrict__ vg,
    const float* __restrict__ ug, float* __restrict__ dx, float* __restrict__ dgrid, int images, int channels,
    int height, int width, int each) {
    const long points = (long)images * each;
    for (long point = blockIdx.x * 256l + threadIdx.x; point < points; point += gridDim.x * 256l) {
        const long image = point / each;
        float down[TAPS], across[TAPS], dw[TAPS][TAPS] = {};
        long pixel[TAPS][TAPS], to[TAPS][TAPS];
        for (int k = 0; k < TAPS; ++k) down[k] = ky[k * points + point], across[k] = kx[k * points + point];
        for (int j = 0; j < TAPS; ++j)
            for (int k = 0; k < TAPS; ++k) {
                pixel[j][k] = i[(j * TAPS + k) * points + point];
                const int row = pixel[j][k] / (width + 2) % (height + 2) - 1, column = pixel[j][k] % (width + 2) - 1;
                const bool inside = row >= 0 && row < height && column >= 0 && column < width;
                to[j][k] = inside ? (image * channels * height + row) * width + column : -1;
            }
        for (int c = 0; c < channels; ++c) {
            const float g = dy[(image * channels + c) * each + point % each];
            for (int j = 0; j < TAPS; ++j)
                for (int k = 0; k < TAPS; ++k) {
                    if (TAPS == 2) dw[j][k] += g * framed[pixel[j][k] * channels + c];
                    if (to[j][k] >= 0) atomicAdd(dx + to[j][k] + (long)c * height * width, down[j] * across[k] * g);
                }
        }
        if (TAPS == 1) continue;                                            // nearest: piecewise constant
        const int last = TAPS - 1;
        dgrid[2 * point] =
            (dw[0][last] * down[0] + dw[last][last] * down[last] - (dw[0][0] * down[0] + dw[last][0] * down[last])) *
            ug[point];
        dgrid[2 * point + 1] = (dw[last][0] * across[0] + dw[last][last] * across[last] -
                                (dw[0][0] * across[0] + dw[0][last] * across[last])) * vg[point];
    }
}

// ---------------------------------------------------------------- version 3: lanes along the channels

// Channels last, and a frame of zeros `border` wide.  32 pixels × 32 channels at a time: read along the pixels, written
// along the channels.
//= framed = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))                # outside, a point reads a zero of the frame
//= framed = np.moveaxis(framed, 1, -1).copy()                          # (N, H + 2, W + 2, C)
//= dy = np.moveaxis(dy, 1, -1).copy()                                  # (N, Ho, Wo, C)
//: threads 256
//: reads 4 * images * channels * height * width
//: writes 4 * images * channels * (height + 2 * border) * (width + 2 * border)
extern "C" __global__ void __launch_bounds__(256) frame(
    const float* __restrict__ x, float* __restrict__ framed, int images, int channels, int height, int width,
    int border) {
    __shared__ float tile[32][33];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int rows = height + 2 * border, columns = width + 2 * border;
    const long cells = (long)images * rows * columns, strips = (cells + 31) / 32;
    for (long item = blockIdx.x; item < strips * ((channels + 31) / 32); item += gridDim.x) {
        const long first = item % strips * 32, cell = first + lane, image = cell / columns / rows;
        const int row = cell / columns % rows - border, column = cell % columns - border, c0 = item / strips * 32;
        const bool inside = row >= 0 && row < height && column >= 0 && column < width;
        for (int c = warp; c < 32 && c0 + c < channels; c += 8)
            if (cell < cells)
                tile[c][lane] = inside ? x[((image * channels + c0 + c) * height + row) * width + column] : 0.f;
        __syncthreads();
        for (int k = warp; k < 32 && first + k < cells; k += 8)
            if (c0 + lane < channels) framed[(first + k) * channels + c0 + lane] = tile[lane][k];
        __syncthreads();
    }
}

//= u, ug = _place(grid[..., 0], W, padding, align_corners)             # (N, Ho, Wo)
//= v, vg = _place(grid[..., 1], H, padding, align_corners)
//= m, kx = _taps(u, W, mode)                                           # (K, N, Ho, Wo)        (4), (5)
//= n, ky = _taps(v, H, mode)
//= i = ((above + n + 1) * (W + 2))[:, None] + (m + 1)                  # (K, K, N, Ho, Wo)
//= y = np.einsum("jknhw,jknhwc->nhwc", w, framed.reshape(-1, C).take(i, axis=0))               # (3)
//: threads 256
//: reads images * each * (8 + 4 * channels * TAPS * TAPS)
//: writes images * each * (4 * channels + 8 * TAPS * TAPS + 8 * TAPS + 8)
extern "C" __global__ void __launch_bounds__(256) sample_turned(
    const float* __restrict__ framed, const float* __restrict__ grid, float* __restrict__ y, long* __restrict__ i,
    float* __restrict__ ky, float* __restrict__ kx, float* __restrict__ vg, float* __restrict__ ug, int images,
    int channels, int height, int width, int each, int padding, int align_corners) {
    __shared__ Point its[32];
    __shared__ float tile[32][33];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const long points = (long)images * each;
    for (long first = blockIdx.x * 32l; first < points; first += gridDim.x * 32l) {
        const long point = first + lane, image = point / each;
        if (warp == 0 && point < points)
            its[lane] = locate(grid, point, points, image, height, width, padding, align_corners, i, ky, kx, vg, ug);
        __syncthreads();
        for (int c0 = 0; c0 < channels; c0 += 32) {
            for (int p = warp; p < 32 && first + p < points; p += 8) {
                if (c0 + lane >= channels) continue;
                float sum = 0.f;
                for (int j = 0; j < TAPS; ++j)
                    for (int k = 0; k < TAPS; ++k)
                        sum += its[p].weight[j][k] * framed[its[p].pixel[j][k] * channels + c0 + lane];
                tile[lane][p] = sum;
            }
            __syncthreads();
            for (int c = warp; c < 32 && c0 + c < channels; c += 8)
                if (point < points) y[(image * channels + c0 + c) * each + point % each] = tile[c][lane];
            __syncthreads();
        }
    }
}

// One warp a pixel, lanes along the channels.  `order` lists the points by the frame's pixel at their upper left,
// ends[pixel] is where its list ends.  The bytes are those where every tap is inside.
//= np.add.at(dframed[c].reshape(-1), i.reshape(-1), (w * dy[:, c]).reshape(-1))
//= dx = dframed[:, :, 1:-1, 1:-1].swapaxes(0, 1)                       # (N, C, H, W)
//: threads 256
//: reads at most images * TAPS * TAPS * (each * (4 * channels + 24 * ceil(channels, 32)) + 16 * height * width * ceil(channels, 32))
//: writes 4 * images * channels * height * width
extern "C" __global__ void __launch_bounds__(256, 4) sample_backward_sorted(
    const float* __restrict__ dy, const long* __restrict__ order, const long* __restrict__ ends,
    const long* __restrict__ i, const float* __restrict__ ky, const float* __restrict__ kx, float* __restrict__ dx,
    int images, int channels, int height, int width, int each) {
    __shared__ float tile[32][33];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, area = height * width;
    const long points = (long)images * each, pixels = (long)images * area, strips = (pixels + 31) / 32;
    for (long item = blockIdx.x; item < strips * ((channels + 31) / 32); item += gridDim.x) {
        const long first = item % strips * 32;
        const int c0 = item / strips * 32;
        for (int p = warp; p < 32 && first + p < pixels; p += 8) {
            const long pixel = first + p, row = pixel / area * (height + 2) + pixel % area / width + 1;
            const long here = row * (width + 2) + pixel % width + 1;        // in the frame
            float sum = 0.f;
            for (int j = 0; j < TAPS; ++j)
                for (int k = 0; k < TAPS; ++k) {                            // it is tap (j, k) of those at `corner`
                    const long corner = here - j * (width + 2) - k;
                    const long end = ends[corner];
                    for (long entry = corner > 0 ? ends[corner - 1] : 0; entry < end; ++entry) {
                        const long point = order[entry];
                        if (i[(j * TAPS + k) * points + point] != here) continue;       // both taps in the frame
                        const float weight = ky[j * points + point] * kx[k * points + point];
                        if (c0 + lane < channels) sum += weight * dy[point * channels + c0 + lane];
                    }
                }
            tile[lane][p] = sum;
        }
        __syncthreads();
        const long pixel = first + lane;
        for (int c = warp; c < 32 && c0 + c < channels; c += 8)
            if (pixel < pixels) dx[(pixel / area * channels + c0 + c) * area + pixel % area] = tile[c][lane];
        __syncthreads();
    }
}

// One warp a point.
//= dw = np.einsum("nhwc,jknhwc->jknhw", dy, framed.reshape(-1, C).take(i, axis=0))
//= dgrid = np.stack([(dkx[1] - dkx[0]) * ug, (dky[1] - dky[0]) * vg], axis=-1)
//: threads 256
//: reads points * (4 * channels * (1 + TAPS * TAPS) + 8 * TAPS * TAPS + 8 * TAPS + 8)
//: writes 8 * points
extern "C" __global__ void __launch_bounds__(256) grid_gradient(
    const float* __restrict__ dy, const float* __restrict__ framed, const long* __restrict__ i,
    const float* __restrict__ ky, const float* __restrict__ kx, const float* __restrict__ vg,
    const float* __restrict__ ug, float* __restrict__ dgrid, int points, int channels) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, last = TAPS - 1;
    for (long point = blockIdx.x * 8l + warp; point < points; point += gridDim.x * 8l) {
        float down[TAPS], across[TAPS], dkx[TAPS] = {}, dky[TAPS] = {};
        for (int k = 0; k < TAPS; ++k)
            down[k] = ky[(long)k * points + point], across[k] = kx[(long)k * points + point];
        long pixel[TAPS][TAPS];
        float dw[TAPS][TAPS] = {};
        for (int j = 0; j < TAPS; ++j)
            for (int k = 0; k < TAPS; ++k) pixel[j][k] = i[(long)(j * TAPS + k) * points + point];
        for (int c = lane; c < channels; c += 32) {
            const float g = dy[point * channels + c];
            for (int j = 0; j < TAPS; ++j)
                for (int k = 0; k < TAPS; ++k) dw[j][k] += g * framed[pixel[j][k] * channels + c];
        }
        for (int j = 0; j < TAPS; ++j)
            for (int k = 0; k < TAPS; ++k) {
                dw[j][k] = warp_sum(dw[j][k]);
                dkx[k] += dw[j][k] * down[j];
                dky[j] += dw[j][k] * across[k];
            }
        if (lane < 2)
            dgrid[2 * point + lane] = lane == 0 ? (dkx[last] - dkx[0]) * ug[point] : (dky[last] - dky[0]) * vg[point];
    }
}
