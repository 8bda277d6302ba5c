// psf_gather, psf_scatter, psf_interpolate and their derivatives: images filtered with a bank of any PSFs.
//
// Two kernels do it all. `psf_after` filters first and weights the result: the PSF belongs to the pixel that is
// written. `psf_before` weights first and filters the product: the PSF belongs to the pixel that is read; each pixel
// written gathers from all pixels within reach, so nothing is scattered. The adjoint of either is the other one with
// the PSF mirrored, on a plane that reaches beyond the image, to be folded:
//
//                    kernel       image and weights beyond the frame    PSF         result
//   gather           psf_after    boundary / -                          convolved   image
//   gather adjoint   psf_before   zero / zero                           as it is    plane
//   scatter          psf_before   boundary / boundary                   convolved   image
//   scatter adjoint  psf_after    zero / boundary                       as it is    plane
//
// A level is skipped where no pixel of the tile has weight in it, and of a PSF only the box that is not zero is used.
// Windows slide through registers: two shared reads for RUN multiply-adds.
//
// Constants: GRADIENTS (1: weights are differentiated) and WEIGHTS, where the weight of level l at a pixel comes from:
//   ONES   1
//   DENSE  weights[l]
//   HAT    linear interpolation: 1 - fraction at l = index, fraction at l = index + 1

#include "common.cuh"

#define ONES 0
#define DENSE 1
#define HAT 2

// Sizes of a problem, passed by value.
struct Sizes {
    int rows, cols;               // of the image
    int channels, views, levels;  // views: of the blurred side
    int own_psfs, own_weights;    // 1: each colour has its PSFs; each image has its weights
    int high, wide;               // of a PSF
    int first_level, end_level;   // what this launch does
    int image;                    // the first image of this launch
    int mirrored;                 // 1: convolution, 0: its transpose
    int top, left;                // margin of the result above and to the left of the image
    int result_rows, result_cols;
    int image_boundary, weight_boundary;
};

// The weights of one image: dense maps (levels, rows, cols), or a lower level and a fraction.
struct Weights {
    const REAL* dense;
    const int* index;
    const REAL* fraction;
};

__device__ __forceinline__ long long area_of(const Sizes& size) { return (long long)size.rows * size.cols; }

__device__ __forceinline__ Weights weights_of(const REAL* dense, const int* index, const REAL* fraction, int n,
                                              const Sizes& size) {
    const long long first = size.own_weights ? n * area_of(size) : 0;
    Weights own = {dense, index, fraction};
#if WEIGHTS == DENSE
    own.dense += first * size.levels;
#elif WEIGHTS == HAT
    own.index += first;
    own.fraction += first;
#else
    (void)first;
#endif
    return own;
}

// Weight of a level at a pixel of the image.
__device__ __forceinline__ REAL weight_at(const Weights& weights, int level, long long pixel, const Sizes& size) {
#if WEIGHTS == DENSE
    return weights.dense[level * area_of(size) + pixel];
#elif WEIGHTS == HAT
    const int above = level - weights.index[pixel];
    if (above == 0) return 1 - weights.fraction[pixel];
    return above == 1 ? weights.fraction[pixel] : REAL(0);
#else
    return 1;
#endif
}

// Derivative of a hat weight in the fraction.
__device__ __forceinline__ REAL slope_at(const Weights& weights, int level, long long pixel) {
#if WEIGHTS == HAT
    const int above = level - weights.index[pixel];
    return above == 0 ? REAL(-1) : above == 1 ? REAL(1) : REAL(0);
#else
    return 0;
#endif
}

// The pixel of the image that a pixel of the plane is a copy of; -1 where the boundary has none.
__device__ __forceinline__ long long pixel_at(int row, int col, int boundary, const Sizes& size) {
    const int r = source(row, size.rows, boundary), c = source(col, size.cols, boundary);
    return r < 0 || c < 0 ? -1 : (long long)r * size.cols + c;
}

// Rows and columns of a PSF that are not zero: first row, end row, first column, end column.
struct Box {
    int top, bottom, left, right;
};

// Box of level `level` over all views and colours; mirrored with the PSF.
__device__ __forceinline__ Box box_of(const int* boxes, int level, const Sizes& size) {
    const int* b = boxes + 4 * level;
    Box box = {b[0], b[1], b[2], b[3]};
    if (size.mirrored) {
        box.top = size.high - b[1];
        box.bottom = size.high - b[0];
        box.left = size.wide - b[3];
        box.right = size.wide - b[2];
    }
    return box;
}

__device__ __forceinline__ const REAL* psf_of(const REAL* psfs, int view, int level, int c, const Sizes& size) {
    const int colours = size.own_psfs ? size.channels : 1;
    const long long number = ((long long)view * size.levels + level) * colours + (size.own_psfs ? c : 0);
    return psfs + number * size.high * size.wide;
}

__device__ __forceinline__ void load_psf(REAL* to, const REAL* psf, const Sizes& size) {
    const int taps = size.high * size.wide;
    for (int i = threadIdx.x; i < taps; i += THREADS) to[i] = psf[size.mirrored ? taps - 1 - i : i];
}

// out[q] += sum over the box (rows top, top + stride, ...) of kernel[i][j] line[i][j + q]. The window of a row slides
// through registers, CHUNK columns at a time.
#define CHUNK 8
__device__ __forceinline__ void correlate(const REAL* line, int pitch, const REAL* kernel, int kernel_pitch,
                                          const Box& box, int stride, REAL out[RUN]) {
    for (int i = box.top; i < box.bottom; i += stride) {
        const REAL* from = line + i * pitch;
        const REAL* taps = kernel + i * kernel_pitch;
        REAL window[RUN - 1 + CHUNK];
#pragma unroll
        for (int q = 0; q < RUN - 1; ++q) window[q] = from[box.left + q];
        for (int j = box.left; j < box.right; j += CHUNK) {
#pragma unroll
            for (int t = 0; t < CHUNK; ++t) {
                if (j + t >= box.right) break;
                const REAL tap = taps[j + t];
                window[RUN - 1 + t] = from[j + t + RUN - 1];
#pragma unroll
                for (int q = 0; q < RUN; ++q) out[q] += tap * window[q + t];
            }
#pragma unroll
            for (int q = 0; q < RUN - 1; ++q) window[q] = window[q + CHUNK];
        }
    }
}

__device__ __forceinline__ bool any_nonzero(const REAL values[RUN]) {
    bool any = false;
#pragma unroll
    for (int q = 0; q < RUN; ++q) any |= values[q] != 0;
    return any;
}

// boxes[l] = first row, end row, first column, end column of what is not zero in PSF l, over views and colours; a PSF
// of zeros gets an empty box. One block a level.
extern "C" __global__ void __launch_bounds__(THREADS)
psf_boxes(const REAL* __restrict__ psfs, int* __restrict__ boxes, int views, int levels, int colours, int high,
          int wide) {
    int* used = reinterpret_cast<int*>(shared_memory);  // one flag for each row, then for each column
    const int taps = high * wide;
    for (int line = threadIdx.x; line < high + wide; line += THREADS) {
        const bool is_row = line < high;
        int any = 0;
        for (int v = 0; v < views; ++v) {
            for (int c = 0; c < colours; ++c) {
                const REAL* psf = psfs + (((long long)v * levels + blockIdx.x) * colours + c) * taps;
                const int count = is_row ? wide : high;
                for (int i = 0; i < count; ++i) {
                    any |= psf[is_row ? line * wide + i : i * wide + line - high] != 0;
                }
            }
        }
        used[line] = any;
    }
    __syncthreads();
    if (threadIdx.x >= 2) return;
    const int first = threadIdx.x == 0 ? 0 : high, count = threadIdx.x == 0 ? high : wide;
    int low = 0, end = count;
    while (low < end && !used[first + low]) ++low;
    while (end > low && !used[first + end - 1]) --end;
    boxes[4 * blockIdx.x + 2 * threadIdx.x] = low;
    boxes[4 * blockIdx.x + 2 * threadIdx.x + 1] = end;
}

// Filter, then weight. Any of y, gweights and gfraction may be null; the latter two want u, the cotangent of y (or, in
// a scatter, the image that was scattered), which is extended by weight_boundary. gweights has end - first levels.
extern "C" __global__ void __launch_bounds__(THREADS)
psf_after(const REAL* __restrict__ x, const REAL* __restrict__ psfs, const int* __restrict__ boxes,
          const REAL* __restrict__ dense, const int* __restrict__ index, const REAL* __restrict__ fraction,
          const REAL* __restrict__ u, REAL* __restrict__ y, REAL* __restrict__ gweights, REAL* __restrict__ gfraction,
          const Sizes size, int add_weights) {
    const int high = TILE_ROWS + size.high - 1, wide = TILE_COLS + size.wide - 1, pitch = odd(wide);
    REAL* image = reinterpret_cast<REAL*>(shared_memory);  // high x pitch
    REAL* kernel = image + high * pitch;                   // size.high x size.wide
    const int n = size.image + blockIdx.z;
    const int top = blockIdx.y * TILE_ROWS - size.top, left = blockIdx.x * TILE_COLS - size.left;
    const int before = size.mirrored ? size.high - 1 - size.high / 2 : size.high / 2;
    const int before_left = size.mirrored ? size.wide - 1 - size.wide / 2 : size.wide / 2;
    const Owned own = owned(top, left);
    const Weights weights = weights_of(dense, index, fraction, n, size);
    const long long area = area_of(size), result_area = (long long)size.result_rows * size.result_cols;
    long long pixel[RUN];
#pragma unroll
    for (int q = 0; q < RUN; ++q) {
        const bool inside = own.row + size.top < size.result_rows && own.col + q + size.left < size.result_cols;
        pixel[q] = inside ? pixel_at(own.row, own.col + q, size.weight_boundary, size) : -1;
    }
    REAL slope[RUN] = {};
    for (int c = 0; c < size.channels; ++c) {
        __syncthreads();
        load_tile(image, pitch, high, wide, x + ((long long)n * size.channels + c) * area, size.rows, size.cols,
                  top - before, left - before_left, size.image_boundary);
        for (int v = 0; v < size.views; ++v) {
            const long long plane = ((long long)n * size.views + v) * size.channels + c;
            REAL total[RUN] = {}, cotangent[RUN] = {};
#pragma unroll
            for (int q = 0; q < RUN; ++q) {
                if (GRADIENTS && pixel[q] >= 0) cotangent[q] = u[plane * area + pixel[q]];
            }
            for (int level = size.first_level; level < size.end_level; ++level) {
                REAL weight[RUN], sign[RUN];
#pragma unroll
                for (int q = 0; q < RUN; ++q) {
                    weight[q] = pixel[q] < 0 ? REAL(0) : weight_at(weights, level, pixel[q], size);
                    sign[q] = GRADIENTS && gfraction && pixel[q] >= 0 ? slope_at(weights, level, pixel[q]) : REAL(0);
                }
                const bool need = (GRADIENTS && gweights) || any_nonzero(weight) || any_nonzero(sign);
                if (!__syncthreads_or(need)) continue;
                load_psf(kernel, psf_of(psfs, v, level, c, size), size);
                __syncthreads();
                if (!need) continue;
                REAL part[RUN] = {}, gradient[RUN];
                correlate(image + own.local_row * pitch + own.local_col, pitch, kernel, size.wide,
                          box_of(boxes, level, size), 1, part);
#pragma unroll
                for (int q = 0; q < RUN; ++q) {
                    total[q] += weight[q] * part[q];
                    slope[q] += sign[q] * cotangent[q] * part[q];
                    gradient[q] = cotangent[q] * part[q];
                }
                if (!GRADIENTS || !gweights) continue;
                const int done = size.end_level - size.first_level;
                REAL* to = gweights + ((long long)(size.own_weights ? n : 0) * done + level - size.first_level) *
                                          result_area;
                store_run(to, own.row + size.top, own.col + size.left, size.result_rows, size.result_cols, gradient,
                          add_weights || c > 0 || v > 0);
            }
            if (y) {
                store_run(y + plane * result_area, own.row + size.top, own.col + size.left, size.result_rows,
                          size.result_cols, total);
            }
        }
    }
    if (GRADIENTS && gfraction) {
        store_run(gfraction + (size.own_weights ? n : 0) * result_area, own.row, own.col, size.rows, size.cols, slope,
                  add_weights);
    }
}

// Weight, then filter; the views of the image that is read are summed.
extern "C" __global__ void __launch_bounds__(THREADS)
psf_before(const REAL* __restrict__ x, const REAL* __restrict__ psfs, const int* __restrict__ boxes,
           const REAL* __restrict__ dense, const int* __restrict__ index, const REAL* __restrict__ fraction,
           REAL* __restrict__ result, const Sizes size) {
    const int high = TILE_ROWS + size.high - 1, wide = TILE_COLS + size.wide - 1, pitch = odd(wide);
    REAL* product = reinterpret_cast<REAL*>(shared_memory);  // high x pitch
    REAL* kernel = product + high * pitch;                   // size.high x size.wide
    const int n = size.image + blockIdx.z;
    const int top = blockIdx.y * TILE_ROWS - size.top, left = blockIdx.x * TILE_COLS - size.left;
    const int before = size.mirrored ? size.high - 1 - size.high / 2 : size.high / 2;
    const int before_left = size.mirrored ? size.wide - 1 - size.wide / 2 : size.wide / 2;
    const Owned own = owned(top, left);
    const Weights weights = weights_of(dense, index, fraction, n, size);
    // The levels that this thread's part of the tile with its halo may need.
    int low = size.first_level, past = size.end_level;
#if WEIGHTS == HAT
    low = size.end_level;
    past = size.first_level;
    for (int r = threadIdx.x / WARP; r < high; r += THREADS / WARP) {
        for (int q = threadIdx.x % WARP; q < wide; q += WARP) {
            const long long pixel = pixel_at(top - before + r, left - before_left + q, size.image_boundary, size);
            if (pixel < 0) continue;
            const int lower = weights.index[pixel];
            low = lower < low ? lower : low;
            past = lower + 2 > past ? lower + 2 : past;
        }
    }
#endif
    for (int c = 0; c < size.channels; ++c) {
        REAL total[RUN] = {};
        for (int level = size.first_level; level < size.end_level; ++level) {
            if (!__syncthreads_or(level >= low && level < past)) continue;
            for (int v = 0; v < size.views; ++v) {
                const REAL* image = x + (((long long)n * size.views + v) * size.channels + c) * area_of(size);
                bool any = false;
                for (int r = threadIdx.x / WARP; r < high; r += THREADS / WARP) {
                    for (int q = threadIdx.x % WARP; q < wide; q += WARP) {
                        const long long pixel =
                            pixel_at(top - before + r, left - before_left + q, size.image_boundary, size);
                        const REAL value = pixel < 0 ? REAL(0) : weight_at(weights, level, pixel, size);
                        product[r * pitch + q] = value == 0 ? REAL(0) : value * image[pixel];
                        any |= value != 0;
                    }
                }
                load_psf(kernel, psf_of(psfs, v, level, c, size), size);
                if (__syncthreads_or(any)) {
                    correlate(product + own.local_row * pitch + own.local_col, pitch, kernel, size.wide,
                              box_of(boxes, level, size), 1, total);
                }
                __syncthreads();
            }
        }
        REAL* to = result + ((long long)n * size.channels + c) * size.result_rows * size.result_cols;
        store_run(to, own.row + size.top, own.col + size.left, size.result_rows, size.result_cols, total);
    }
}

// Gradient in the PSFs: gpsfs[v, l, c, i, j] = sum over pixels p of z[p] E[p - (i, j) + centre]. With gather weights
// z = w_l . u_v and E is the extended image; with scatter weights z = u and E is the extended product w_l . x.
// So the tile z is the kernel, the image is filtered with it, and the result has the size of a PSF.
//
// blockIdx.x: a share of all tiles of all images; blockIdx.y: view, level and colour; blockIdx.z: a share of the runs
// of the PSF. Where the PSF has fewer runs than the block has threads, the rows of a tile are dealt out in slices.
extern "C" __global__ void __launch_bounds__(THREADS)
psf_taps(const REAL* __restrict__ x, const REAL* __restrict__ u, const REAL* __restrict__ dense,
         const int* __restrict__ index, const REAL* __restrict__ fraction, double* __restrict__ gpsfs,
         const Sizes size, int images, int scatter) {
    const int high = TILE_ROWS + size.high - 1, wide = TILE_COLS + size.wide - 1, pitch = odd(wide + RUN);
    REAL* image = reinterpret_cast<REAL*>(shared_memory);  // high x pitch
    REAL* kernel = image + high * pitch;                   // TILE_ROWS x TILE_COLS
    REAL* scratch = kernel + TILE_ROWS * TILE_COLS;        // THREADS x RUN
    const int colours = size.own_psfs ? size.channels : 1;
    const int own_c = blockIdx.y % colours, level = blockIdx.y / colours % size.levels;
    const int view = blockIdx.y / colours / size.levels;
    const int runs_along = (size.wide + RUN - 1) / RUN, all_runs = size.high * runs_along;
    const int first_run = blockIdx.z * THREADS;
    const int runs = all_runs - first_run < THREADS ? all_runs - first_run : THREADS;
    const int slices = THREADS / runs < TILE_ROWS ? THREADS / runs : TILE_ROWS;
    const int run = first_run + int(threadIdx.x) % runs, slice = int(threadIdx.x) / runs;
    const int row = run % size.high, col = run / size.high * RUN;
    const int before = size.high - 1 - size.high / 2, before_left = size.wide - 1 - size.wide / 2;
    const int along = (size.cols + TILE_COLS - 1) / TILE_COLS, down = (size.rows + TILE_ROWS - 1) / TILE_ROWS;
    const long long tiles = (long long)images * along * down, area = area_of(size);
    double sums[RUN] = {};
    for (long long tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const int n = size.image + int(tile / (along * down)), place = int(tile % (along * down));
        const int top = place / along * TILE_ROWS, left = place % along * TILE_COLS;
        const Weights weights = weights_of(dense, index, fraction, n, size);
        for (int c = own_c; c < size.channels; c += colours) {
            const REAL* from = x + ((long long)n * size.channels + c) * area;
            const REAL* cotangent = u + (((long long)n * size.views + view) * size.channels + c) * area;
            bool any = false;
            for (int i = threadIdx.x; i < TILE_ROWS * TILE_COLS; i += THREADS) {
                const long long pixel = pixel_at(top + i / TILE_COLS, left + i % TILE_COLS, ZERO, size);
                REAL value = pixel < 0 ? REAL(0) : cotangent[pixel];
                if (!scatter && pixel >= 0) value *= weight_at(weights, level, pixel, size);
                kernel[i] = value;
                any |= value != 0;
            }
            if (!__syncthreads_or(any)) continue;
            for (int r = threadIdx.x / WARP; r < high; r += THREADS / WARP) {
                for (int q = threadIdx.x % WARP; q < pitch; q += WARP) {
                    const long long pixel =
                        q < wide ? pixel_at(top - before + r, left - before_left + q, size.image_boundary, size) : -1;
                    REAL value = pixel < 0 ? REAL(0) : from[pixel];
                    if (scatter && pixel >= 0) value *= weight_at(weights, level, pixel, size);
                    image[r * pitch + q] = value;
                }
            }
            __syncthreads();
            if (slice < slices) {
                REAL part[RUN] = {};
                const Box rows_of_slice = {slice, TILE_ROWS, 0, TILE_COLS};
                correlate(image + row * pitch + col, pitch, kernel, TILE_COLS, rows_of_slice, slices, part);
#pragma unroll
                for (int q = 0; q < RUN; ++q) sums[q] += part[q];
            }
            __syncthreads();
        }
    }
#pragma unroll
    for (int q = 0; q < RUN; ++q) scratch[threadIdx.x * RUN + q] = REAL(sums[q]);
    __syncthreads();
    if (slice != 0) return;
#pragma unroll
    for (int q = 0; q < RUN; ++q) {
        if (col + q >= size.wide) continue;
        double total = 0;
        for (int s = 0; s < slices; ++s) total += scratch[(threadIdx.x + s * runs) * RUN + q];
        const long long tap = (long long)(size.high - 1 - row) * size.wide + size.wide - 1 - (col + q);
        gpsfs[((long long)blockIdx.y * size.high * size.wide + tap) * gridDim.x + blockIdx.x] = total;
    }
}
