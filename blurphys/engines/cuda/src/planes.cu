// The transpose of the boundary rule, and the second stage of every sum over the image.

#include "common.cuh"

// Number of pixels of the extended axis [-before, n + after) that are copies of pixel p, itself included.
__device__ __forceinline__ int copies(int p, int n, int before, int after, int boundary) {
    if (boundary == REFLECT || boundary == SYMMETRIC) {
        const int skip = boundary == REFLECT ? 1 : 0;
        const bool low = p >= skip && p < before + skip;
        const bool high = n - 1 - p >= skip && n - 1 - p < after + skip;
        return 1 + low + high;
    }
    if (boundary == REPLICATE) return 1 + (p == 0 ? before : 0) + (p == n - 1 ? after : 0);
    if (boundary == CIRCULAR) return 1 + (p + before) / n + (n - 1 - p + after) / n;
    return 1;
}

// Position of the i-th copy of pixel p.
__device__ __forceinline__ int copy_of(int p, int n, int before, int boundary, int i) {
    if (boundary == REFLECT || boundary == SYMMETRIC) {
        const int skip = boundary == REFLECT ? 1 : 0;
        const bool low = p >= skip && p < before + skip;
        if (i == 0) return p;
        return i == 1 && low ? skip - 1 - p : 2 * n - skip - 1 - p;
    }
    if (boundary == REPLICATE) return (p == 0 ? -before : p) + i;
    if (boundary == CIRCULAR) return p + (i - (p + before) / n) * n;
    return p;
}

// image[p] = sum of plane[q] over the copies q of p. One thread a pixel; blockIdx.y counts the planes.
extern "C" __global__ void __launch_bounds__(THREADS)
fold(const REAL* __restrict__ plane, REAL* __restrict__ image, int rows, int cols, int top, int left, int bottom,
     int right, int boundary) {
    const long long pixel = (long long)blockIdx.x * THREADS + threadIdx.x;
    if (pixel >= (long long)rows * cols) return;
    const int row = int(pixel / cols), col = int(pixel % cols);
    const int wide = left + cols + right, high = top + rows + bottom;
    const REAL* own = plane + (long long)blockIdx.y * high * wide;
    const int down = copies(row, rows, top, bottom, boundary), along = copies(col, cols, left, right, boundary);
    REAL total = 0;
    for (int i = 0; i < down; ++i) {
        const REAL* line = own + (long long)(copy_of(row, rows, top, boundary, i) + top) * wide + left;
        for (int j = 0; j < along; ++j) total += line[copy_of(col, cols, left, boundary, j)];
    }
    image[(long long)blockIdx.y * rows * cols + pixel] = total;
}

// out[value] = sum of partials[value, :], in a fixed order. One block a value.
extern "C" __global__ void __launch_bounds__(THREADS)
sum_partials(const double* __restrict__ partials, REAL* __restrict__ out, int slots) {
    double* scratch = reinterpret_cast<double*>(shared_memory);
    const double* line = partials + (long long)blockIdx.x * slots;
    double sum = 0;
    for (int i = threadIdx.x; i < slots; i += THREADS) sum += line[i];
    scratch[threadIdx.x] = sum;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (int(threadIdx.x) < half) scratch[threadIdx.x] += scratch[threadIdx.x + half];
        __syncthreads();
    }
    if (threadIdx.x == 0) out[blockIdx.x] = REAL(scratch[0]);
}
