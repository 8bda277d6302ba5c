// recursive_mixture: y = sum_j maps_j . mix_j u_j with u_0 = x, u_j = (a_j a_j^T) * u_(j-1), and its derivatives.
//
// Temporal blocking: a block loads a tile with a halo of HALF pixels for each level of a pass, then applies the atoms
// of the pass one after the other in shared memory, the valid part shrinking by HALF each time. So an image is read
// and written once for a whole pass; the price is the halo, which is computed by the neighbours too. A pass starts
// from an image or from the plane that an earlier pass has left.
//
// C colours live in C + 1 shared buffers: the new level of a colour goes to the free buffer, its old one becomes free.
// So level s of colour c lies in buffer (c - s) mod (C + 1), and one barrier for each level and colour is enough.
//
// Constants: HALF (taps of an atom are 2 HALF + 1), COLOURS and OUTPUTS (input and output colours
// of one launch; equal unless MIX), MIX (0 or 1), GRADIENTS (1: maps and mix are differentiated).

#include "common.cuh"

#define TAPS (2 * HALF + 1)
// A thread filters a patch of PATCH_ROWS x PATCH_COLS pixels, a warp 4 x 8 patches. With an odd number of rows and an
// odd pitch its 32 patches start in 32 different banks.
#define PATCH_ROWS 7
#define PATCH_COLS 4
#define PATCHES_DOWN 4
#define PATCHES_ALONG 8

// Sizes of a problem and of one pass, passed by value.
struct Sizes {
    int rows, cols;           // of the image
    int channels, outputs;    // colours of x and of y
    int channel, output;      // the first of this launch
    int image;                // the first image of this launch
    int slots;                // partial sums for each value: blocks of all images, see slot_of
    int own_atoms, own_maps;  // 1: each colour has its atoms; each image has its maps
    int levels;               // J
    int start, steps;         // the pass goes from level start by `steps` levels, up (forward) or down (adjoint)
    int from_margin, to_margin;  // how far the planes it reads and writes reach beyond the image
    int boundary;             // of the plane that is read
};

struct Region {
    int rows, cols, pitch, size;
};

// A tile with the halo of a pass. Patches overhang, so there are spare rows and columns; nothing read there is used.
__device__ __forceinline__ Region region(int steps) {
    Region area;
    area.rows = TILE_ROWS + 2 * HALF * steps;
    area.cols = TILE_COLS + 2 * HALF * steps;
    area.pitch = odd(area.cols + PATCH_COLS - 1);
    area.size = (area.rows + PATCH_ROWS - 1) * area.pitch;
    return area;
}

__device__ __forceinline__ const REAL* plane_of(const REAL* base, long long plane, const Sizes& size) {
    return base + plane * size.rows * size.cols;
}

__device__ __forceinline__ const REAL* maps_of(const REAL* maps, int n, const Sizes& size) {
    return plane_of(maps, size.own_maps ? (long long)n * size.levels : 0, size);
}

// Taps in the order of the pixels they meet: mirrored for a convolution, as they are for its transpose.
__device__ __forceinline__ void load_taps(const REAL* atoms, const Sizes& size, int c, int atom, bool mirrored,
                                          REAL taps[TAPS]) {
    const int colours = size.own_atoms ? size.channels : 1;
    const REAL* own = atoms + ((long long)atom * colours + (size.own_atoms ? c : 0)) * TAPS;
#pragma unroll
    for (int i = 0; i < TAPS; ++i) taps[i] = own[mirrored ? TAPS - 1 - i : i];
}

__device__ __forceinline__ REAL mixed(const REAL* mix, const Sizes& size, int d, int c, int level) {
#if MIX
    return mix[((long long)d * size.channels + c) * size.levels + level];
#else
    return REAL(c == d);
#endif
}

// maps_level . mix^T y at one pixel of colour c; zero beyond the image. `y` and `map` belong to one image.
__device__ __forceinline__ REAL weighted(const REAL* y, const REAL* map, const REAL* mix, const Sizes& size, int c,
                                         int level, int row, int col) {
    if (row < 0 || row >= size.rows || col < 0 || col >= size.cols) return 0;
    const long long at = (long long)row * size.cols + col, area = (long long)size.rows * size.cols;
    REAL sum = 0;
    for (int d = MIX ? 0 : c; d < (MIX ? size.outputs : c + 1); ++d) {
        sum += mixed(mix, size, d, c, level) * y[d * area + at];
    }
    return map[at] * sum;
}

// Filter a patch of a tile: rows first, then down the columns by a sliding sum. `from` is its first pixel.
__device__ __forceinline__ void filter_patch(const REAL* from, int pitch, const REAL taps[TAPS],
                                             REAL out[PATCH_ROWS][PATCH_COLS]) {
#pragma unroll
    for (int r = 0; r < PATCH_ROWS; ++r) {
#pragma unroll
        for (int q = 0; q < PATCH_COLS; ++q) out[r][q] = 0;
    }
#pragma unroll
    for (int i = 0; i < PATCH_ROWS + 2 * HALF; ++i) {
        const REAL* line = from + (i - HALF) * pitch - HALF;
        REAL window[PATCH_COLS + 2 * HALF];
#pragma unroll
        for (int q = 0; q < PATCH_COLS + 2 * HALF; ++q) window[q] = line[q];
#pragma unroll
        for (int q = 0; q < PATCH_COLS; ++q) {
            REAL sum = 0;
#pragma unroll
            for (int t = 0; t < TAPS; ++t) sum += taps[t] * window[q + t];
#pragma unroll
            for (int t = 0; t < TAPS; ++t) {
                if (i - t >= 0 && i - t < PATCH_ROWS) out[i - t][q] += taps[t] * sum;
            }
        }
    }
}

// The patches of a level: the tile less `rim` pixels on each side, dealt out warp by warp.
struct Patches {
    int rim, rows, cols, along, count;
};

__device__ __forceinline__ Patches patches(const Region& area, int rim) {
    Patches all;
    all.rim = rim;
    all.rows = area.rows - rim;
    all.cols = area.cols - rim;
    const int high = PATCHES_DOWN * PATCH_ROWS, wide = PATCHES_ALONG * PATCH_COLS;
    all.along = (area.cols - 2 * rim + wide - 1) / wide;
    all.count = all.along * ((area.rows - 2 * rim + high - 1) / high);
    return all;
}

// First pixel of the patch of this thread in group i; false where the patch lies outside.
__device__ __forceinline__ bool patch_at(const Patches& all, int i, int& row, int& col) {
    const int lane = threadIdx.x % WARP;
    row = all.rim + (i / all.along * PATCHES_DOWN + lane / PATCHES_ALONG) * PATCH_ROWS;
    col = all.rim + (i % all.along * PATCHES_ALONG + lane % PATCHES_ALONG) * PATCH_COLS;
    return row < all.rows && col < all.cols;
}

// One level of one colour, from buffer to buffer.
__device__ __forceinline__ void filter_level(const REAL* from, REAL* to, const Region& area, int step,
                                             const REAL taps[TAPS]) {
    const Patches all = patches(area, HALF * step);
    for (int i = threadIdx.x / WARP; i < all.count; i += THREADS / WARP) {
        int row, col;
        if (!patch_at(all, i, row, col)) continue;
        REAL out[PATCH_ROWS][PATCH_COLS];
        filter_patch(from + row * area.pitch + col, area.pitch, taps, out);
#pragma unroll
        for (int r = 0; r < PATCH_ROWS; ++r) {
#pragma unroll
            for (int q = 0; q < PATCH_COLS; ++q) {
                if (row + r < all.rows && col + q < all.cols) to[(row + r) * area.pitch + col + q] = out[r][q];
            }
        }
    }
}

// One step of Horner's rule: filter with the transposed atom, then add the weighted image of the level reached.
__device__ __forceinline__ void horner_level(const REAL* from, REAL* to, const Region& area, int step,
                                             const REAL taps[TAPS], const REAL* y, const REAL* map, const REAL* mix,
                                             const Sizes& size, int c, int level, int top, int left) {
    const Patches all = patches(area, HALF * step);
    for (int i = threadIdx.x / WARP; i < all.count; i += THREADS / WARP) {
        int row, col;
        if (!patch_at(all, i, row, col)) continue;
        REAL out[PATCH_ROWS][PATCH_COLS];
        filter_patch(from + row * area.pitch + col, area.pitch, taps, out);
#pragma unroll
        for (int r = 0; r < PATCH_ROWS; ++r) {
#pragma unroll
            for (int q = 0; q < PATCH_COLS; ++q) {
                if (row + r >= all.rows || col + q >= all.cols) continue;
                to[(row + r) * area.pitch + col + q] =
                    out[r][q] + weighted(y, map, mix, size, c, level, top + row + r, left + col + q);
            }
        }
    }
}

// Where a pass of the adjoint starts: the plane that an earlier pass has left, or the last level weighted.
__device__ __forceinline__ void load_horner(REAL* to, const Region& area, const REAL* plane, const REAL* y,
                                            const REAL* map, const REAL* mix, const Sizes& size, int n, int c, int top,
                                            int left) {
    if (plane) {
        const int high = size.rows + 2 * size.from_margin, wide = size.cols + 2 * size.from_margin;
        load_tile(to, area.pitch, area.rows, area.cols, plane + ((long long)n * size.channels + c) * high * wide, high,
                  wide, top + size.from_margin, left + size.from_margin, ZERO);
        return;
    }
    for (int r = threadIdx.x / WARP; r < area.rows; r += THREADS / WARP) {
        for (int q = threadIdx.x % WARP; q < area.cols; q += WARP) {
            to[r * area.pitch + q] = weighted(y, map, mix, size, c, size.start, top + r, left + q);
        }
    }
}
