// The gradient of recursive_mixture in its atoms: one pass of some levels (see recursive.cuh).

#include "recursive.cuh"

// Gradient in one atom at a thread's run: for each tap the products of v (the adjoint at the level above) with u (the
// level below) filtered one way and moved the other way. sums are in the order of the mirrored taps.
__device__ __forceinline__ void correlate_atom(const REAL* below, int pitch, const REAL v[RUN], const REAL taps[TAPS],
                                               REAL sums[TAPS]) {
    REAL down[RUN + 2 * HALF] = {};
#pragma unroll
    for (int i = 0; i < TAPS; ++i) {
        const REAL* line = below + (i - HALF) * pitch - HALF;
        REAL window[RUN + 2 * HALF];
#pragma unroll
        for (int q = 0; q < RUN + 2 * HALF; ++q) {
            window[q] = line[q];
            down[q] += taps[i] * window[q];
        }
#pragma unroll
        for (int q = 0; q < RUN; ++q) {
            REAL along = 0;
#pragma unroll
            for (int t = 0; t < TAPS; ++t) along += taps[t] * window[q + t];
            sums[i] += v[q] * along;
        }
    }
#pragma unroll
    for (int i = 0; i < TAPS; ++i) {
#pragma unroll
        for (int q = 0; q < RUN; ++q) sums[i] += v[q] * down[q + i];
    }
}

// Gradient in the atoms of one pass: levels start .. start + steps - 1 of the image are made again in shared memory,
// then Horner's rule runs down beside them. `below` is the image at level start (margin from_margin), `above` the
// adjoint at level start + steps (margin above_margin; null: the last level). The grid covers margin to_margin.
extern "C" __global__ void __launch_bounds__(THREADS)
recursive_atoms(const REAL* __restrict__ below, const REAL* __restrict__ above, const REAL* __restrict__ maps,
                const REAL* __restrict__ atoms, const REAL* __restrict__ mix, const REAL* __restrict__ u,
                double* __restrict__ gatoms, const Sizes size, int above_margin) {
    REAL* images = reinterpret_cast<REAL*>(shared_memory);  // steps x area.size, levels start ...
    const Region area = region(size.steps);
    REAL* horner = images + size.steps * area.size;  // 2 x area.size
    REAL* scratch = horner + 2 * area.size;          // TAPS x THREADS
    const int n = size.image + blockIdx.z, halo = HALF * size.steps, last = size.start + size.steps;
    const int top = blockIdx.y * TILE_ROWS - size.to_margin, left = blockIdx.x * TILE_COLS - size.to_margin;
    const int high = size.rows + 2 * size.from_margin, wide = size.cols + 2 * size.from_margin;
    const long long pixels = (long long)size.rows * size.cols;
    const REAL* weights = maps_of(maps, n, size);
    const REAL* given = plane_of(u, (long long)n * size.outputs, size);
    const Owned own = owned(top, left);
    Sizes upper = size;
    upper.start = last;
    upper.from_margin = above_margin;
    for (int c = 0; c < size.channels; ++c) {
        __syncthreads();
        load_tile(images, area.pitch, area.rows, area.cols, below + ((long long)n * size.channels + c) * high * wide,
                  high, wide, top - halo + size.from_margin, left - halo + size.from_margin, size.boundary);
        load_horner(horner, area, above, given, weights + last * pixels, mix, upper, n, c, top - halo, left - halo);
        __syncthreads();
        for (int step = 1; step < size.steps; ++step) {
            REAL taps[TAPS];
            load_taps(atoms, size, c, size.start + step - 1, true, taps);
            filter_level(images + (step - 1) * area.size, images + step * area.size, area, step, taps);
            __syncthreads();
        }
        for (int step = 0; step < size.steps; ++step) {
            const int atom = last - step - 1;
            const REAL* v = horner + step % 2 * area.size;
            REAL taps[TAPS], value[RUN], sums[TAPS] = {};
            const int at = (halo + own.local_row) * area.pitch + halo + own.local_col;
#pragma unroll
            for (int q = 0; q < RUN; ++q) value[q] = v[at + q];  // zero beyond the margin of its level
            load_taps(atoms, size, c, atom, true, taps);
            correlate_atom(images + (size.steps - 1 - step) * area.size + at, area.pitch, value, taps, sums);
            const double sum = block_sums(sums, TAPS, scratch);
            const int table = atom * (size.own_atoms ? size.channels : 1) + (size.own_atoms ? c : 0);
            if (threadIdx.x < TAPS) {
                const long long value = (long long)table * TAPS + TAPS - 1 - threadIdx.x;
                gatoms[value * size.slots + slot_of(size.own_atoms ? n : n * size.channels + c)] = sum;
            }
            if (step + 1 == size.steps) break;
            load_taps(atoms, size, c, atom, false, taps);
            horner_level(v, horner + (step + 1) % 2 * area.size, area, step + 1, taps, given, weights + atom * pixels,
                         mix, size, c, atom, top - halo, left - halo);
            __syncthreads();
        }
    }
}
