// recursive_mixture and its transpose: one pass of some levels (see recursive.cuh).

#include "recursive.cuh"

// Add a level to the result and to the gradients: what a thread does with its own run.
__device__ __forceinline__ void add_level(const REAL* buffer, const Region& area, int halo, const Owned& own,
                                          const REAL* mix, const Sizes& size, int c, int level, const REAL weight[RUN],
                                          const REAL cotangent[OUTPUTS][RUN], REAL result[OUTPUTS][RUN],
                                          REAL gradient[RUN], REAL sums[OUTPUTS]) {
    const REAL* line = buffer + (halo + own.local_row) * area.pitch + halo + own.local_col;
    REAL value[RUN];
#pragma unroll
    for (int q = 0; q < RUN; ++q) value[q] = line[q];
#pragma unroll
    for (int d = 0; d < OUTPUTS; ++d) {
        if (!MIX && c != d) continue;
        const REAL part = MIX ? mixed(mix, size, size.output + d, size.channel + c, level) : REAL(1);
        sums[d] = 0;
#pragma unroll
        for (int q = 0; q < RUN; ++q) {
            result[d][q] += weight[q] * part * value[q];
            gradient[q] += cotangent[d][q] * part * value[q];
            sums[d] += cotangent[d][q] * weight[q] * value[q];
        }
    }
}

// One pass of the forward direction, from level start to level start + steps. Any of y, state (the last level, on a
// plane with margin to_margin), gmaps and gmix may be null; gmaps and gmix want u, the cotangent.
extern "C" __global__ void __launch_bounds__(THREADS)
recursive_forward(const REAL* __restrict__ below, const REAL* __restrict__ maps, const REAL* __restrict__ atoms,
                  const REAL* __restrict__ mix, const REAL* __restrict__ u, REAL* __restrict__ y,
                  REAL* __restrict__ state, REAL* __restrict__ gmaps, double* __restrict__ gmix, const Sizes size,
                  int add_y, int add_maps) {
    // One buffer more than colours: a colour writes its next level to the free one, and the buffer of the level before
    // is free for the next colour. Level `step` of colour c is in buffer (c - step) mod (COLOURS + 1).
    REAL* buffers = reinterpret_cast<REAL*>(shared_memory);  // (COLOURS + 1) x area.size
    const Region area = region(size.steps);
    REAL* scratch = buffers + (COLOURS + 1) * area.size;  // OUTPUTS x THREADS, for gmix
    const int n = size.image + blockIdx.z, halo = HALF * size.steps;
    const int top = blockIdx.y * TILE_ROWS - size.to_margin, left = blockIdx.x * TILE_COLS - size.to_margin;
    const Owned own = owned(top, left);
    const int high = size.rows + 2 * size.from_margin, wide = size.cols + 2 * size.from_margin;
    for (int c = 0; c < COLOURS; ++c) {
        const REAL* plane = below + ((long long)n * size.channels + size.channel + c) * high * wide;
        load_tile(buffers + c * area.size, area.pitch, area.rows, area.cols, plane, high, wide,
                  top - halo + size.from_margin, left - halo + size.from_margin, size.boundary);
    }
    const REAL* weights = maps_of(maps, n, size);
    REAL result[OUTPUTS][RUN] = {}, cotangent[OUTPUTS][RUN] = {};
    if (GRADIENTS) {
#pragma unroll
        for (int d = 0; d < OUTPUTS; ++d) {
            load_run(plane_of(u, (long long)n * size.outputs + size.output + d, size), own.row, own.col, size.rows,
                     size.cols, cotangent[d]);
        }
    }
    __syncthreads();
    for (int step = size.start == 0 ? 0 : 1; step <= size.steps; ++step) {
        const int level = size.start + step;
        REAL weight[RUN] = {}, gradient[RUN] = {};
        if (y || gmix) {
            load_run(weights + (long long)level * size.rows * size.cols, own.row, own.col, size.rows, size.cols,
                     weight);
        }
#pragma unroll
        for (int c = 0; c < COLOURS; ++c) {
            REAL* now = buffers + (c + (COLOURS + 1) * step - step) % (COLOURS + 1) * area.size;
            if (step > 0) {
                const REAL* before = buffers + (c + (COLOURS + 1) * step - step + 1) % (COLOURS + 1) * area.size;
                REAL taps[TAPS];
                load_taps(atoms, size, size.channel + c, level - 1, true, taps);
                filter_level(before, now, area, step, taps);
                __syncthreads();
            }
            REAL sums[OUTPUTS];
            add_level(now, area, halo, own, mix, size, c, level, weight, cotangent, result, gradient, sums);
            if (GRADIENTS && gmix) {
                const double sum = block_sums(sums, OUTPUTS, scratch);
                const long long value =
                    ((long long)(size.output + threadIdx.x) * size.channels + size.channel + c) * size.levels + level;
                if (threadIdx.x < OUTPUTS) gmix[value * size.slots + slot_of(n)] = sum;
            }
        }
        if (GRADIENTS && gmaps) {
            REAL* to = gmaps + ((size.own_maps ? (long long)n * size.levels : 0) + level) * size.rows * size.cols;
            store_run(to, own.row, own.col, size.rows, size.cols, gradient, add_maps);
        }
    }
    if (y) {
#pragma unroll
        for (int d = 0; d < OUTPUTS; ++d) {
            REAL* to = y + ((long long)n * size.outputs + size.output + d) * size.rows * size.cols;
            store_run(to, own.row, own.col, size.rows, size.cols, result[d], add_y);
        }
    }
    if (!state) return;
    const int new_high = size.rows + 2 * size.to_margin, new_wide = size.cols + 2 * size.to_margin;
    for (int c = 0; c < COLOURS; ++c) {
        const REAL* now = buffers + (c + (COLOURS + 1) * size.steps - size.steps) % (COLOURS + 1) * area.size;
        const REAL* line = now + (halo + own.local_row) * area.pitch + halo + own.local_col;
        REAL value[RUN];
#pragma unroll
        for (int q = 0; q < RUN; ++q) value[q] = line[q];
        REAL* to = state + ((long long)n * size.channels + size.channel + c) * new_high * new_wide;
        store_run(to, own.row + size.to_margin, own.col + size.to_margin, new_high, new_wide, value);
    }
}

// One pass of the adjoint, Horner's rule from level start down to level start - steps. A gather: each pixel of the
// plane (margin to_margin beyond the image) is written once. `plane` is null in the first pass.
extern "C" __global__ void __launch_bounds__(THREADS)
recursive_adjoint(const REAL* __restrict__ plane, const REAL* __restrict__ maps, const REAL* __restrict__ atoms,
                  const REAL* __restrict__ mix, const REAL* __restrict__ y, REAL* __restrict__ state,
                  const Sizes size) {
    REAL* buffers = reinterpret_cast<REAL*>(shared_memory);  // (COLOURS + 1) x area.size
    const Region area = region(size.steps);
    const int n = size.image + blockIdx.z, halo = HALF * size.steps;
    const int top = blockIdx.y * TILE_ROWS - size.to_margin, left = blockIdx.x * TILE_COLS - size.to_margin;
    const long long pixels = (long long)size.rows * size.cols;
    const REAL* weights = maps_of(maps, n, size);
    const REAL* given = plane_of(y, (long long)n * size.outputs, size);
    for (int c = 0; c < COLOURS; ++c) {
        load_horner(buffers + c * area.size, area, plane, given, weights + size.start * pixels, mix, size, n,
                    size.channel + c, top - halo, left - halo);
    }
    __syncthreads();
    for (int step = 1; step <= size.steps; ++step) {
        const int level = size.start - step;
        for (int c = 0; c < COLOURS; ++c) {
            const REAL* before = buffers + (c + (COLOURS + 1) * step - step + 1) % (COLOURS + 1) * area.size;
            REAL* now = buffers + (c + (COLOURS + 1) * step - step) % (COLOURS + 1) * area.size;
            REAL taps[TAPS];
            load_taps(atoms, size, size.channel + c, level, false, taps);
            horner_level(before, now, area, step, taps, given, weights + level * pixels, mix, size, size.channel + c,
                         level, top - halo, left - halo);
            __syncthreads();
        }
    }
    const Owned own = owned(top, left);
    const int high = size.rows + 2 * size.to_margin, wide = size.cols + 2 * size.to_margin;
    for (int c = 0; c < COLOURS; ++c) {
        const REAL* now = buffers + (c + (COLOURS + 1) * size.steps - size.steps) % (COLOURS + 1) * area.size;
        const REAL* line = now + (halo + own.local_row) * area.pitch + halo + own.local_col;
        REAL value[RUN];
#pragma unroll
        for (int q = 0; q < RUN; ++q) value[q] = line[q];
        REAL* to = state + ((long long)n * size.channels + size.channel + c) * high * wide;
        store_run(to, own.row + size.to_margin, own.col + size.to_margin, high, wide, value);
    }
}
