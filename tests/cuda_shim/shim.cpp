// Runs CUDA kernels on the CPU, exactly as they are written: this file stands before the source of a program.
//
// A block is 256 threads that stop at every barrier. Here each is a fiber: it runs until a barrier, then the next one
// runs; when all have arrived, all go on. So reads before a barrier and writes after it come in the order of the GPU.
// A thread that ends while others wait at a barrier is an error, as it is on a GPU. Blocks run one after the other.
//
// With -DREAL_THREADS every thread of a block is a thread of the machine, for the thread sanitizer.

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <tuple>
#include <utility>

#define __global__
#define __device__
#define __shared__
#define __constant__ static const
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

struct Index {
    unsigned x, y, z;
};

static Index blockIdx, gridDim;
static const unsigned SHARED_LIMIT = 232448;  // what a block can have on sm_90
alignas(16) unsigned char shared_memory[SHARED_LIMIT];
static const unsigned BLOCK = 256;

static void prepare_shared(unsigned bytes);

#ifdef REAL_THREADS
#include <pthread.h>
#include <thread>
#include <vector>

static thread_local Index threadIdx;
static pthread_barrier_t barrier;
static int any_flag[BLOCK];

static void __syncthreads() { pthread_barrier_wait(&barrier); }

static int __syncthreads_or(int flag) {
    any_flag[threadIdx.x] = flag;
    __syncthreads();
    int any = 0;
    for (unsigned i = 0; i < BLOCK; ++i) any |= any_flag[i];
    __syncthreads();
    return any != 0;
}

static void run_block(void (*body)(void*), void* data) {
    pthread_barrier_init(&barrier, nullptr, BLOCK);
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < BLOCK; ++i) {
        threads.emplace_back([=] {
            threadIdx = {i, 0, 0};
            body(data);
        });
    }
    for (auto& thread : threads) thread.join();
    pthread_barrier_destroy(&barrier);
}
#else
#include <setjmp.h>
#include <ucontext.h>

static Index threadIdx;
static const size_t STACK = 128 * 1024;

// A context is only made once for each fiber of a block; from then on _setjmp and _longjmp switch, which is far quicker.
static ucontext_t home, made;
static jmp_buf scheduler, fibers[BLOCK];
static bool ended[BLOCK];
static char* stacks;
static int any_flag, any_result;
static void (*current_body)(void*);
static void* current_data;
static void* starts[BLOCK];

static void switch_to_scheduler() {
    const unsigned own = threadIdx.x;
    if (_setjmp(fibers[own]) == 0) _longjmp(scheduler, 1);
}

static void __syncthreads() { switch_to_scheduler(); }

static int __syncthreads_or(int flag) {
    any_flag |= flag;
    switch_to_scheduler();
    const int any = any_result;
    switch_to_scheduler();
    return any != 0;
}

static void enter() {
    current_body(current_data);
    ended[threadIdx.x] = true;
    _longjmp(scheduler, 1);
}

static void run_block(void (*body)(void*), void* data) {
    if (!stacks) stacks = static_cast<char*>(malloc(STACK * BLOCK));
    current_body = body;
    current_data = data;
    unsigned running = BLOCK;
    for (unsigned i = 0; i < BLOCK; ++i) ended[i] = false;
    for (bool first = true; running > 0; first = false) {
        any_flag = 0;
        for (unsigned volatile i = 0; i < BLOCK; ++i) {
            threadIdx = {i, 0, 0};
            if (_setjmp(scheduler) != 0) continue;
            if (!first) _longjmp(fibers[i], 1);
            getcontext(&made);
            made.uc_stack.ss_sp = stacks + STACK * i;
            made.uc_stack.ss_size = STACK;
            made.uc_link = &home;
            makecontext(&made, enter, 0);
            setcontext(&made);
        }
        any_result = any_flag;
        running = 0;
        for (unsigned i = 0; i < BLOCK; ++i) running += !ended[i];
        if (running != 0 && running != BLOCK) {
            fprintf(stderr, "%u of %u threads wait at a barrier that the others never reach\n", running, BLOCK);
            abort();
        }
    }
}
#endif

// Calls a kernel with arguments given by address, as cudaLaunchKernel does.
template <typename... Types>
struct Call {
    void (*kernel)(Types...);
    void** addresses;

    template <size_t... I>
    void expand(std::index_sequence<I...>) {
        kernel(*static_cast<typename std::remove_const<Types>::type*>(addresses[I])...);
    }

    static void body(void* self) { static_cast<Call*>(self)->expand(std::index_sequence_for<Types...>{}); }
};

template <typename... Types>
static void launch(void (*kernel)(Types...), const unsigned* grid, unsigned bytes, void** addresses) {
    Call<Types...> call = {kernel, addresses};
    gridDim = {grid[0], grid[1], grid[2]};
    for (unsigned z = 0; z < grid[2]; ++z) {
        for (unsigned y = 0; y < grid[1]; ++y) {
            for (unsigned x = 0; x < grid[0]; ++x) {
                blockIdx = {x, y, z};
                prepare_shared(bytes);
                run_block(&Call<Types...>::body, &call);
            }
        }
    }
}

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

// Fresh shared memory holds anything: every bit set is not a number in either type. What was not asked for is off limits.
static void prepare_shared(unsigned bytes) {
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(shared_memory, SHARED_LIMIT);
#endif
    memset(shared_memory, 0xff, bytes);
#if defined(__SANITIZE_ADDRESS__)
    __asan_poison_memory_region(shared_memory + bytes, SHARED_LIMIT - bytes);
#endif
}

#define EXPORT(kernel)                                                                          \
    extern "C" void run_##kernel(const unsigned* grid, unsigned bytes, void** addresses) { \
        launch(kernel, grid, bytes, addresses);                                                \
    }
