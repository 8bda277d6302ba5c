// gaussian_mixture: y = sum_k maps_k . mix_k (g_k * x) for symmetric separable kernels g_k, and its derivatives.
//
// A block holds its tile of the image with a halo in shared memory. For each kernel a thread filters a vertical run
// (its window lives in registers: RUN + 2 half reads for RUN results), the results pass through shared memory, and it
// filters its own horizontal run. Maps are read once: all colours of a launch are done before the next kernel.
//
// Constants: HALF (half-width of the widest kernel), KERNELS, HALVES (half-width of each kernel),
// COLOURS and OUTPUTS (input and output colours of one launch; equal unless MIX), MIX (0 or 1), GRADIENTS (1: maps and mix are differentiated).

#include "common.cuh"

#define HIGH (TILE_ROWS + 2 * HALF)
#define WIDE (TILE_COLS + 2 * HALF)
#define PITCH (WIDE | 1)
#define STEPS (TILE_ROWS / RUN)  // vertical runs above each other

__constant__ int halves[KERNELS] = {HALVES};

// Sizes of a problem, passed by value.
struct Sizes {
    int rows, cols;            // of the image
    int channels, outputs;     // colours of x and of y
    int channel, output;       // the first of this launch
    int image;                 // the first image of this launch
    int slots;                 // partial sums for each value: blocks of all images, see slot_of
    int own_taps, own_maps;    // 1: each colour has its kernels; each image has its maps
    int margin;                // how far the result reaches beyond the image
    int boundary;
};

__device__ __forceinline__ const REAL* kernel_taps(const REAL* taps, const Sizes& size, int c, int k) {
    return taps + ((long long)(size.own_taps ? size.channel + c : 0) * KERNELS + k) * (HALF + 1);
}

__device__ __forceinline__ const REAL* plane_of(const REAL* base, long long plane, const Sizes& size) {
    return base + plane * size.rows * size.cols;
}

// Weight of input colour c in output d of the launch.
__device__ __forceinline__ REAL mixed(const REAL* mix, const Sizes& size, int d, int c, int k) {
#if MIX
    return mix[((long long)(size.output + d) * size.channels + size.channel + c) * KERNELS + k];
#else
    return REAL(c == d);
#endif
}

// The part of a line that a run needs: RUN + 2 half numbers around it; the ends of the array stay unused.
__device__ __forceinline__ void load_window(const REAL* run, int stride, int half, REAL window[RUN + 2 * HALF]) {
#pragma unroll
    for (int i = 0; i < RUN + 2 * HALF; ++i) {
        const bool used = i >= HALF - half && i < RUN + HALF + half;
        window[i] = used ? run[(i - HALF) * stride] : REAL(0);
    }
}

__device__ __forceinline__ void filter_window(const REAL window[RUN + 2 * HALF], const REAL* w, int half, REAL out[RUN]) {
    const REAL centre = w[0];
#pragma unroll
    for (int q = 0; q < RUN; ++q) out[q] = centre * window[q + HALF];
#pragma unroll
    for (int t = 1; t <= HALF; ++t) {
        if (t > half) break;
        const REAL tap = w[t];
#pragma unroll
        for (int q = 0; q < RUN; ++q) out[q] += tap * (window[q + HALF - t] + window[q + HALF + t]);
    }
}

// Vertical run i of a tile: which rows and which column, in a tile that is WIDE columns wide.
struct Vertical {
    int row, col;
    bool used;  // columns beyond the half-width of this kernel are not
};

__device__ __forceinline__ Vertical vertical(int i, int half) {
    Vertical run;
    run.row = i / WIDE * RUN;
    run.col = i % WIDE;
    run.used = run.col >= HALF - half && run.col < TILE_COLS + HALF + half;
    return run;
}

__device__ __forceinline__ void store_vertical(REAL* lines, const Vertical& run, const REAL out[RUN]) {
#pragma unroll
    for (int q = 0; q < RUN; ++q) lines[(run.row + q) * PITCH + run.col] = out[q];
}

// Forward. Any of y, gmaps and gmix may be null; gmaps and gmix want u, the cotangent.
extern "C" __global__ void __launch_bounds__(THREADS)
gaussian_forward(const REAL* __restrict__ x, const REAL* __restrict__ maps, const REAL* __restrict__ taps,
                 const REAL* __restrict__ mix, const REAL* __restrict__ u, REAL* __restrict__ y,
                 REAL* __restrict__ gmaps, double* __restrict__ gmix, const Sizes size, int add_y, int add_maps) {
    REAL* image = reinterpret_cast<REAL*>(shared_memory);  // COLOURS x HIGH x PITCH
    REAL* lines = image + COLOURS * HIGH * PITCH;          // COLOURS x TILE_ROWS x PITCH
    REAL* scratch = lines + COLOURS * TILE_ROWS * PITCH;   // OUTPUTS x THREADS, for gmix
    const int n = size.image + blockIdx.z, top = blockIdx.y * TILE_ROWS, left = blockIdx.x * TILE_COLS;
    const Owned own = owned(top, left);
#pragma unroll
    for (int c = 0; c < COLOURS; ++c) {
        load_tile(image + c * HIGH * PITCH, PITCH, HIGH, WIDE,
                  plane_of(x, (long long)n * size.channels + size.channel + c, size), size.rows, size.cols, top - HALF,
                  left - HALF, size.boundary);
    }
    const REAL* weights = plane_of(maps, size.own_maps ? (long long)n * KERNELS : 0, size);
    REAL result[OUTPUTS][RUN] = {}, cotangent[OUTPUTS][RUN] = {};
    if (GRADIENTS) {
#pragma unroll
        for (int d = 0; d < OUTPUTS; ++d) {
            load_run(plane_of(u, (long long)n * size.outputs + size.output + d, size), own.row, own.col, size.rows,
                     size.cols, cotangent[d]);
        }
    }
    __syncthreads();
    for (int k = 0; k < KERNELS; ++k) {
        const int half = halves[k];
        REAL weight[RUN], gradient[RUN] = {};
        load_run(weights + (long long)k * size.rows * size.cols, own.row, own.col, size.rows, size.cols, weight);
        for (int i = threadIdx.x; i < STEPS * WIDE; i += THREADS) {
            const Vertical run = vertical(i, half);
            if (!run.used) continue;
#pragma unroll
            for (int c = 0; c < COLOURS; ++c) {
                REAL window[RUN + 2 * HALF], out[RUN];
                load_window(image + (c * HIGH + run.row + HALF) * PITCH + run.col, PITCH, half, window);
                filter_window(window, kernel_taps(taps, size, c, k), half, out);
                store_vertical(lines + c * TILE_ROWS * PITCH, run, out);
            }
        }
        __syncthreads();
#pragma unroll
        for (int c = 0; c < COLOURS; ++c) {
            REAL window[RUN + 2 * HALF], blurred[RUN], sums[OUTPUTS];
            load_window(lines + (c * TILE_ROWS + own.local_row) * PITCH + own.local_col + HALF, 1, half, window);
            filter_window(window, kernel_taps(taps, size, c, k), half, blurred);
#pragma unroll
            for (int d = 0; d < OUTPUTS; ++d) {
                if (!MIX && c != d) continue;
                const REAL part = mixed(mix, size, d, c, k);
                sums[d] = 0;
#pragma unroll
                for (int q = 0; q < RUN; ++q) {
                    result[d][q] += weight[q] * part * blurred[q];
                    gradient[q] += cotangent[d][q] * part * blurred[q];
                    sums[d] += cotangent[d][q] * weight[q] * blurred[q];
                }
            }
            if (GRADIENTS && gmix) {
                const double sum = block_sums(sums, OUTPUTS, scratch);
                const long long value =
                    ((long long)(size.output + threadIdx.x) * size.channels + size.channel + c) * KERNELS + k;
                if (threadIdx.x < OUTPUTS) gmix[value * size.slots + slot_of(n)] = sum;
            }
        }
        if (GRADIENTS && gmaps) {
            REAL* to = gmaps + ((size.own_maps ? (long long)n * KERNELS : 0) + k) * size.rows * size.cols;
            store_run(to, own.row, own.col, size.rows, size.cols, gradient, add_maps);
        }
        __syncthreads();
    }
    if (!y) return;
#pragma unroll
    for (int d = 0; d < OUTPUTS; ++d) {
        REAL* to = y + ((long long)n * size.outputs + size.output + d) * size.rows * size.cols;
        store_run(to, own.row, own.col, size.rows, size.cols, result[d], add_y);
    }
}

// Adjoint as a gather: each pixel of the extended plane (size.margin beyond the image) collects what the weighted
// pixels maps_k . y within reach send it. The window of a vertical run is weighted while it is read.
extern "C" __global__ void __launch_bounds__(THREADS)
gaussian_adjoint(const REAL* __restrict__ y, const REAL* __restrict__ maps, const REAL* __restrict__ taps,
                 const REAL* __restrict__ mix, REAL* __restrict__ plane, const Sizes size, int add) {
    REAL* image = reinterpret_cast<REAL*>(shared_memory);  // OUTPUTS x HIGH x PITCH
    REAL* lines = image + OUTPUTS * HIGH * PITCH;          // COLOURS x TILE_ROWS x PITCH
    const int n = size.image + blockIdx.z;
    const int top = blockIdx.y * TILE_ROWS - size.margin, left = blockIdx.x * TILE_COLS - size.margin;
    const Owned own = owned(top, left);
#pragma unroll
    for (int d = 0; d < OUTPUTS; ++d) {
        load_tile(image + d * HIGH * PITCH, PITCH, HIGH, WIDE,
                  plane_of(y, (long long)n * size.outputs + size.output + d, size), size.rows, size.cols, top - HALF,
                  left - HALF, ZERO);
    }
    const REAL* weights = plane_of(maps, size.own_maps ? (long long)n * KERNELS : 0, size);
    REAL result[COLOURS][RUN] = {};
    __syncthreads();
    for (int k = 0; k < KERNELS; ++k) {
        const int half = halves[k];
        const REAL* map = weights + (long long)k * size.rows * size.cols;
        for (int i = threadIdx.x; i < STEPS * WIDE; i += THREADS) {
            const Vertical run = vertical(i, half);
            if (!run.used) continue;
            const int col = left - HALF + run.col, row = top - HALF + run.row;
            REAL weight[RUN + 2 * HALF];
#pragma unroll
            for (int j = 0; j < RUN + 2 * HALF; ++j) {
                const bool used = j >= HALF - half && j < RUN + HALF + half && row + j >= 0 && row + j < size.rows &&
                                  col >= 0 && col < size.cols;
                weight[j] = used ? map[(long long)(row + j) * size.cols + col] : REAL(0);
            }
#pragma unroll
            for (int c = 0; c < COLOURS; ++c) {
                REAL window[RUN + 2 * HALF], out[RUN];
#pragma unroll
                for (int j = 0; j < RUN + 2 * HALF; ++j) {
                    REAL sum = 0;
#pragma unroll
                    for (int d = 0; d < OUTPUTS; ++d) {
                        if (!MIX && c != d) continue;
                        sum += mixed(mix, size, d, c, k) * image[(d * HIGH + run.row + j) * PITCH + run.col];
                    }
                    window[j] = weight[j] * sum;
                }
                filter_window(window, kernel_taps(taps, size, c, k), half, out);
                store_vertical(lines + c * TILE_ROWS * PITCH, run, out);
            }
        }
        __syncthreads();
#pragma unroll
        for (int c = 0; c < COLOURS; ++c) {
            REAL window[RUN + 2 * HALF], part[RUN];
            load_window(lines + (c * TILE_ROWS + own.local_row) * PITCH + own.local_col + HALF, 1, half, window);
            filter_window(window, kernel_taps(taps, size, c, k), half, part);
#pragma unroll
            for (int q = 0; q < RUN; ++q) result[c][q] += part[q];
        }
        __syncthreads();
    }
    const int high = size.rows + 2 * size.margin, wide = size.cols + 2 * size.margin;
#pragma unroll
    for (int c = 0; c < COLOURS; ++c) {
        REAL* to = plane + ((long long)n * size.channels + size.channel + c) * high * wide;
        store_run(to, own.row + size.margin, own.col + size.margin, high, wide, result[c], add);
    }
}

// What taps t = 0..half of a line filter contribute: sums[t] += <z, window moved by t both ways>.
__device__ __forceinline__ void correlate_window(const REAL window[RUN + 2 * HALF], const REAL z[RUN], int half,
                                                 REAL sums[HALF + 1]) {
#pragma unroll
    for (int q = 0; q < RUN; ++q) sums[0] += z[q] * window[q + HALF];
#pragma unroll
    for (int t = 1; t <= HALF; ++t) {
        if (t > half) break;
#pragma unroll
        for (int q = 0; q < RUN; ++q) sums[t] += z[q] * (window[q + HALF - t] + window[q + HALF + t]);
    }
}

// Gradient in the one-sided taps. With z = maps_k . mix_k^T u, v the image filtered down the columns and h the image
// filtered along the rows: dT/dtap_t = <z, v moved by t along the rows> + <z, h moved by t down the columns>, both ways.
extern "C" __global__ void __launch_bounds__(THREADS)
gaussian_taps(const REAL* __restrict__ x, const REAL* __restrict__ maps, const REAL* __restrict__ taps,
              const REAL* __restrict__ mix, const REAL* __restrict__ u, double* __restrict__ gtaps, const Sizes size) {
    REAL* image = reinterpret_cast<REAL*>(shared_memory);  // HIGH x PITCH
    REAL* down = image + HIGH * PITCH;                     // TILE_ROWS x PITCH, filtered down the columns
    REAL* along = down + TILE_ROWS * PITCH;                // HIGH x (TILE_COLS + 1), filtered along the rows
    REAL* spread = along + HIGH * (TILE_COLS + 1);         // TILE_ROWS x (TILE_COLS + 1), z
    REAL* scratch = spread + TILE_ROWS * (TILE_COLS + 1);  // (HALF + 1) x THREADS
    const int n = size.image + blockIdx.z, top = blockIdx.y * TILE_ROWS, left = blockIdx.x * TILE_COLS;
    const Owned own = owned(top, left);
    const REAL* weights = plane_of(maps, size.own_maps ? (long long)n * KERNELS : 0, size);
    for (int c = 0; c < size.channels; ++c) {
        __syncthreads();
        load_tile(image, PITCH, HIGH, WIDE, plane_of(x, (long long)n * size.channels + c, size), size.rows, size.cols,
                  top - HALF, left - HALF, size.boundary);
        for (int k = 0; k < KERNELS; ++k) {
            const int half = halves[k];
            const int table = (size.own_taps ? c : 0) * KERNELS + k;
            const REAL* w = taps + (long long)table * (HALF + 1);
            REAL window[RUN + 2 * HALF], out[RUN], z[RUN], weight[RUN], sums[HALF + 1] = {};
            load_run(weights + (long long)k * size.rows * size.cols, own.row, own.col, size.rows, size.cols, weight);
#pragma unroll
            for (int q = 0; q < RUN; ++q) z[q] = 0;
            for (int d = MIX ? 0 : c; d < (MIX ? size.outputs : c + 1); ++d) {
                REAL cotangent[RUN];
                load_run(plane_of(u, (long long)n * size.outputs + d, size), own.row, own.col, size.rows, size.cols,
                         cotangent);
                const REAL part = MIX ? mix[((long long)d * size.channels + c) * KERNELS + k] : REAL(1);
#pragma unroll
                for (int q = 0; q < RUN; ++q) z[q] += part * weight[q] * cotangent[q];
            }
#pragma unroll
            for (int q = 0; q < RUN; ++q) spread[own.local_row * (TILE_COLS + 1) + own.local_col + q] = z[q];
            __syncthreads();
            for (int i = threadIdx.x; i < STEPS * WIDE; i += THREADS) {
                const Vertical run = vertical(i, half);
                if (!run.used) continue;
                load_window(image + (run.row + HALF) * PITCH + run.col, PITCH, half, window);
                filter_window(window, w, half, out);
                store_vertical(down, run, out);
            }
            for (int i = threadIdx.x; i < HIGH * (TILE_COLS / RUN); i += THREADS) {
                const int row = i % HIGH, col = i / HIGH * RUN;
                if (row < HALF - half || row >= TILE_ROWS + HALF + half) continue;
                load_window(image + row * PITCH + col + HALF, 1, half, window);
                filter_window(window, w, half, out);
#pragma unroll
                for (int q = 0; q < RUN; ++q) along[row * (TILE_COLS + 1) + col + q] = out[q];
            }
            __syncthreads();
            load_window(down + own.local_row * PITCH + own.local_col + HALF, 1, half, window);
            correlate_window(window, z, half, sums);
            const int col = threadIdx.x % TILE_COLS, row = threadIdx.x / TILE_COLS * RUN;
#pragma unroll
            for (int q = 0; q < RUN; ++q) z[q] = spread[(row + q) * (TILE_COLS + 1) + col];
            load_window(along + (row + HALF) * (TILE_COLS + 1) + col, TILE_COLS + 1, half, window);
            correlate_window(window, z, half, sums);
            const double sum = block_sums(sums, HALF + 1, scratch);
            if (threadIdx.x <= HALF) {
                const long long value = (long long)table * (HALF + 1) + threadIdx.x;
                gtaps[value * size.slots + slot_of(size.own_taps ? n : n * size.channels + c)] = sum;
            }
        }
    }
}
