// What the kernels of all primitives share: the tile, the boundary rule, reads and writes of runs, sums over a block.
//
// The sources need nothing but the compiler: no header of CUDA or of the host. Lines put before them define
//   REAL      float or double
// and the further constants that each file names. Arrays are C-contiguous; images are (N, C, rows, cols).
//
// A block owns a tile of TILE_ROWS x TILE_COLS pixels of the result; a thread owns a run of RUN neighbours in one row.
// The 32 lanes of a warp own the same columns of 32 rows. Shared tiles have an odd pitch, so these 32 rows lie in 32
// different banks; in global memory every lane reads or writes whole 32-byte sectors by 16-byte accesses.

#define TILE_ROWS 32
#define TILE_COLS 64
#define RUN 8
#define THREADS 256  // TILE_ROWS * TILE_COLS / RUN
#define WARP 32
#define PACK (16 / int(sizeof(REAL)))

enum Boundary { REFLECT, SYMMETRIC, REPLICATE, CIRCULAR, ZERO };

extern __shared__ __align__(16) unsigned char shared_memory[];

struct __align__(16) Pack {
    REAL value[PACK];
};

// The pixel that pixel i of an extended axis of n pixels is a copy of; -1 where there is none.
__device__ __forceinline__ int source(int i, int n, int boundary) {
    if (i >= 0 && i < n) return i;
    int s = -1;
    if (boundary == REFLECT) s = i < 0 ? -i : 2 * (n - 1) - i;
    if (boundary == SYMMETRIC) s = i < 0 ? -1 - i : 2 * n - 1 - i;
    if (boundary == REPLICATE) s = i < 0 ? 0 : n - 1;
    if (boundary == CIRCULAR) s = ((i % n) + n) % n;
    return s < n ? s : -1;  // tiles overhang the plane; nothing that is used comes from beyond the legal extension
}

__device__ __forceinline__ int odd(int n) { return n | 1; }

// Copy rows x cols pixels of the extended image, from (top, left) on, into a shared tile.
__device__ __forceinline__ void load_tile(REAL* tile, int pitch, int rows, int cols, const REAL* image,
                                          int image_rows, int image_cols, int top, int left, int boundary) {
    for (int r = threadIdx.x / WARP; r < rows; r += THREADS / WARP) {
        const int from = source(top + r, image_rows, boundary);
        const REAL* line = image + (long long)(from < 0 ? 0 : from) * image_cols;
        for (int c = threadIdx.x % WARP; c < cols; c += WARP) {
            const int at = source(left + c, image_cols, boundary);
            tile[r * pitch + c] = from < 0 || at < 0 ? REAL(0) : line[at];
        }
    }
}

// The pixels that a thread owns. Row and column count in the image, so they are negative in a margin.
struct Owned {
    int local_row, local_col;  // in the tile
    int row, col;
};

__device__ __forceinline__ Owned owned(int top, int left) {
    Owned own;
    own.local_row = threadIdx.x % TILE_ROWS;
    own.local_col = threadIdx.x / TILE_ROWS * RUN;
    own.row = top + own.local_row;
    own.col = left + own.local_col;
    return own;
}

__device__ __forceinline__ bool whole_run(const REAL* first, int col, int cols) {
    return col >= 0 && col + RUN <= cols && (unsigned long long)first % sizeof(Pack) == 0;
}

// Read a run of one plane (rows, cols); zero beyond it.
__device__ __forceinline__ void load_run(const REAL* plane, int row, int col, int rows, int cols, REAL out[RUN]) {
    const bool inside = row >= 0 && row < rows;
    const REAL* line = plane + (long long)(inside ? row : 0) * cols;
    if (inside && whole_run(line + col, col, cols)) {
#pragma unroll
        for (int q = 0; q < RUN; q += PACK) {
            const Pack pack = *reinterpret_cast<const Pack*>(line + col + q);
#pragma unroll
            for (int i = 0; i < PACK; ++i) out[q + i] = pack.value[i];
        }
        return;
    }
#pragma unroll
    for (int q = 0; q < RUN; ++q) {
        out[q] = inside && col + q >= 0 && col + q < cols ? line[col + q] : REAL(0);
    }
}

// Write a run of one plane, or add to it; what lies beyond the plane is dropped.
__device__ __forceinline__ void store_run(REAL* plane, int row, int col, int rows, int cols, const REAL in[RUN],
                                          bool add = false) {
    if (row < 0 || row >= rows) return;
    REAL before[RUN];
    if (add) load_run(plane, row, col, rows, cols, before);
    REAL* line = plane + (long long)row * cols;
    if (whole_run(line + col, col, cols)) {
#pragma unroll
        for (int q = 0; q < RUN; q += PACK) {
            Pack pack;
#pragma unroll
            for (int i = 0; i < PACK; ++i) pack.value[i] = add ? before[q + i] + in[q + i] : in[q + i];
            *reinterpret_cast<Pack*>(line + col + q) = pack;
        }
        return;
    }
#pragma unroll
    for (int q = 0; q < RUN; ++q) {
        if (col + q >= 0 && col + q < cols) line[col + q] = add ? before[q] + in[q] : in[q];
    }
}

// Sum each of `count` values over the threads of a block, in a fixed order; thread i < count gets the i-th sum.
// The scratch holds count x THREADS numbers. All threads must call; `count` is at most THREADS.
__device__ __forceinline__ double block_sums(const REAL* values, int count, REAL* scratch) {
    for (int i = 0; i < count; ++i) scratch[i * THREADS + threadIdx.x] = values[i];
    __syncthreads();
    // A warp folds a row of THREADS numbers onto its first WARP entries.
    for (int i = threadIdx.x / WARP; i < count; i += THREADS / WARP) {
        REAL* line = scratch + i * THREADS + threadIdx.x % WARP;
        double sum = 0;
        for (int from = 0; from < THREADS; from += WARP) sum += line[from];
        line[0] = REAL(sum);
    }
    __syncthreads();
    double total = 0;
    if (int(threadIdx.x) < count) {
        for (int lane = 0; lane < WARP; ++lane) total += scratch[threadIdx.x * THREADS + lane];
    }
    __syncthreads();
    return total;
}

// Where the partial sum of a block goes: one place for each block of each image (and colour, where colours share).
__device__ __forceinline__ long long slot_of(int image) {
    return ((long long)image * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
}
