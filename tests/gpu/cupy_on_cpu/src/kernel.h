// Runs a CUDA C++ kernel on a CPU: block after block, and in each block a fibre for every thread.
//
//     launch(kernel, grid, block, …)
//         for every block, in the order asked for
//             shared memory ← 0xFF                       what is read before it is written is NaN, or -1
//             while a thread has not returned
//                 run every thread that may go on, until it returns or waits
//                 if all wait at __syncthreads: let them go on         otherwise the barrier diverges: an error
//                 if all of a warp wait in a shuffle: let them go on
//             the zones behind shared arrays still hold 0xFF           otherwise one was overrun: an error
//
// Threads of a block run one after another up to the next barrier, so a barrier that is missing shows: under one
// order or another (forward, backward, shuffled) a thread reads what has not been written, or is overwritten.
//
// Not modelled: weak memory order, threads that truly run at once, occupancy, speed, the rounding of fast math.
#pragma once
#include <setjmp.h>
#include <ucontext.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <type_traits>
#include <utility>

#define __CUDA_ON_CPU__ 1
#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __restrict__ __restrict
#define __launch_bounds__(...)

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

namespace cpu {

enum Order { FORWARD, BACKWARD, SHUFFLED };
enum Kind {
    STRICT = 0,       // every thread must reach every barrier: ours
    LENIENT = 1,      // one that has returned counts as arrived, as since Volta: CuPy's own kernels rely on it
    INDEPENDENT = 2,  // no barrier, shuffle or shared memory: a plain loop over the threads
};
enum Waiting { FOR_NOTHING, AT_BARRIER, IN_WARP };  // IN_WARP and above: the numbered steps of warp operations
enum { MAX_THREADS = 1024, WARP = 32, STACK = 64 << 10, SHARED = 48 << 10, ZONE = 4096 };
enum { JUMP_RESUMED = 0, JUMP_BACK = 1, JUMP_ERROR = 2 };

struct Fibre {  // one CUDA thread
    jmp_buf here;
    bool started, returned;
    int waiting;
    uint3 index;        // threadIdx
    uint64_t exchanged; // what it gives to the others in a shuffle
};

inline dim3 grid, block;
inline uint3 block_index;
inline Fibre fibres[MAX_THREADS];
inline Fibre* current;
inline int threads;
inline jmp_buf scheduler;
inline char* stacks;
inline char error[256];
inline char dynamic_shared[SHARED + ZONE] __attribute__((aligned(128)));

struct Shared {  // an array declared __shared__, and the zone behind it
    char* begin;
    size_t size;
};
inline Shared shared_arrays[64];
inline int shared_count;

inline void (*run_thread)(void*);  // the kernel with its arguments
inline void* arguments;

[[noreturn]] inline void fail(const char* message) {
    snprintf(error, sizeof error, "%s (block %u,%u,%u, thread %u,%u,%u)", message, block_index.x, block_index.y,
             block_index.z, current->index.x, current->index.y, current->index.z);
    _longjmp(scheduler, JUMP_ERROR);
}

inline void wait(int what) {
    current->waiting = what;
    if (!_setjmp(current->here)) _longjmp(scheduler, JUMP_BACK);
}

inline void fibre_main() {  // a fibre serves block after block
    for (;;) {
        run_thread(arguments);
        current->returned = true;
        wait(FOR_NOTHING);
    }
}

inline bool untouched(const char* zone) {
    for (int i = 0; i < ZONE; i++)
        if (zone[i] != char(0xFF)) return false;
    return true;
}

inline uint3 index_of(unsigned i) {  // threadIdx of the i-th thread of a block
    return {i % block.x, i / block.x % block.y, i / (block.x * block.y)};
}

struct Turns {  // 0 … count-1 in some order; no std::vector, which would cost every kernel the linking of libstdc++
    unsigned* order;
    size_t count, room;
};
inline Turns block_turns, thread_turns;

inline void arrange(Turns& turns, size_t count, int how, unsigned seed) {
    if (count > turns.room) {
        turns.order = static_cast<unsigned*>(realloc(turns.order, count * sizeof(unsigned)));
        turns.room = count;
    }
    turns.count = count;
    for (size_t i = 0; i < count; i++) turns.order[i] = unsigned(how == BACKWARD ? count - 1 - i : i);
    for (size_t i = count; how == SHUFFLED && i > 1; i--) {
        seed = seed * 1664525u + 1013904223u;
        std::swap(turns.order[i - 1], turns.order[(seed >> 8) % i]);
    }
}

// Runs or resumes a fibre until it waits or returns; false if it found an error.
inline bool resume(Fibre& fibre) {
    current = &fibre;
    switch (_setjmp(scheduler)) {
        case JUMP_BACK: return true;
        case JUMP_ERROR: return false;
    }
    if (current->started) _longjmp(current->here, 1);
    current->started = true;
    ucontext_t context;
    getcontext(&context);
    context.uc_stack.ss_sp = stacks + size_t(current - fibres) * STACK;
    context.uc_stack.ss_size = STACK;
    context.uc_link = nullptr;
    makecontext(&context, fibre_main, 0);
    setcontext(&context);
    abort();
}

// Lets go on every warp whose threads, but for those that have returned, all wait at one step of one operation.
inline bool release_warps() {
    bool released = false;
    for (int first = 0; first < threads; first += WARP) {
        int end = first + WARP < threads ? first + WARP : threads, step = 0;
        bool together = true;
        for (int i = first; i < end; i++) {
            const Fibre& f = fibres[i];
            if (f.returned) continue;
            if (f.waiting < IN_WARP || (step && f.waiting != step)) together = false;
            step = f.waiting;
        }
        if (!together || !step) continue;
        for (int i = first; i < end; i++) fibres[i].waiting = FOR_NOTHING;
        released = true;
    }
    return released;
}

inline bool run_block(bool lenient) {
    for (int i = 0; i < threads; i++) {
        fibres[i].returned = false;
        fibres[i].waiting = FOR_NOTHING;
        fibres[i].index = index_of(unsigned(i));
    }
    for (;;) {
        for (size_t turn = 0; turn < thread_turns.count; turn++) {
            Fibre& fibre = fibres[thread_turns.order[turn]];
            if (!fibre.returned && !fibre.waiting && !resume(fibre)) return false;
        }
        int returned = 0, at_barrier = 0, in_warp = 0;
        for (int i = 0; i < threads; i++) {
            returned += fibres[i].returned;
            at_barrier += fibres[i].waiting == AT_BARRIER;
            in_warp += fibres[i].waiting >= IN_WARP;
        }
        if (returned == threads) return true;
        if (in_warp && release_warps()) continue;
        bool all = !in_warp && at_barrier + returned == threads && (lenient || !returned);
        if (!all) {
            snprintf(error, sizeof error,
                     "the barrier diverges: of %d threads %d are at __syncthreads, %d in a warp operation, %d have "
                     "returned (block %u,%u,%u)",
                     threads, at_barrier, in_warp, returned, block_index.x, block_index.y, block_index.z);
            return false;
        }
        for (int i = 0; i < threads; i++) fibres[i].waiting = FOR_NOTHING;
    }
}

inline void run_independent() {
    current = fibres;
    for (size_t turn = 0; turn < thread_turns.count; turn++) {
        current->index = index_of(thread_turns.order[turn]);
        run_thread(arguments);
    }
}

// A kernel and its arguments as one pointer each.
template <class... P> struct Call {
    void (*kernel)(P...);
    void** given;

    template <size_t... I> void apply(std::index_sequence<I...>) {
        kernel(*static_cast<typename std::remove_reference<P>::type*>(given[I])...);
    }
    static void run(void* self) { static_cast<Call*>(self)->apply(std::index_sequence_for<P...>{}); }
};

inline const char* refused(unsigned dynamic) {
    if (threads < 1 || threads > MAX_THREADS) return "a block must have 1 to 1024 threads";
    if (block.z > 64 || grid.y > 65535 || grid.z > 65535) return "at most 65535 blocks along y and z, 64 threads along z";
    if (!grid.x || !grid.y || !grid.z) return "the grid is empty";
    size_t used = dynamic;
    for (int i = 0; i < shared_count; i++) used += shared_arrays[i].size;
    return used > SHARED ? "more than 48 KiB of shared memory" : nullptr;
}

// The error in words, or null.
template <class... P>
const char* launch(void (*kernel)(P...), int kind, const unsigned* g, const unsigned* b, unsigned dynamic, int how,
                   void** given) {
    grid = dim3(g[0], g[1], g[2]);
    block = dim3(b[0], b[1], b[2]);
    threads = int(b[0] * b[1] * b[2]);
    if (const char* why = refused(dynamic)) return why;
    Call<P...> call{kernel, given};
    run_thread = &Call<P...>::run;
    arguments = &call;
    if (!stacks) stacks = static_cast<char*>(aligned_alloc(4096, size_t(MAX_THREADS) * STACK));
    arrange(block_turns, size_t(g[0]) * g[1] * g[2], how, 1);
    for (size_t turn = 0; turn < block_turns.count; turn++) {
        unsigned i = block_turns.order[turn];
        block_index = {i % g[0], i / g[0] % g[1], i / (g[0] * g[1])};
        arrange(thread_turns, size_t(threads), how, i);
        if (kind & INDEPENDENT) {
            run_independent();
            continue;
        }
        memset(dynamic_shared, 0xFF, dynamic + ZONE);
        for (int k = 0; k < shared_count; k++) memset(shared_arrays[k].begin, 0xFF, shared_arrays[k].size);
        if (!run_block(kind & LENIENT)) {
            for (Fibre& fibre : fibres) fibre.started = false;  // abandoned in the middle of the kernel
            return error;
        }
        if (!untouched(dynamic_shared + dynamic)) return "shared memory was written to beyond the size of the launch";
        for (int k = 0; k < shared_count; k++)
            if (!untouched(shared_arrays[k].begin + shared_arrays[k].size))
                return "a __shared__ array was written to beyond its end";
    }
    return nullptr;
}

// ---- what a kernel's parameters are, so that the caller's arguments can be checked ---------------------------------

template <class V> char letter_of() {  // as in NumPy's dtype.kind
    return std::is_floating_point<V>::value ? 'f'
           : std::is_same<V, bool>::value   ? 'b'
           : std::is_unsigned<V>::value     ? 'u'
           : std::is_integral<V>::value     ? 'i'
                                            : '?';
}

template <class P> void describe(char*& out) {  // "pf4": a pointer to float; "si8": a long long
    using Value = typename std::remove_cv<typename std::remove_pointer<P>::type>::type;
    *out++ = std::is_pointer<P>::value ? 'p' : 's';
    *out++ = letter_of<Value>();
    *out++ = char('0' + sizeof(Value));
}

template <class... P> int signature(void (*)(P...), char* out) {
    (describe<typename std::remove_cv<P>::type>(out), ...);
    return sizeof...(P);
}

// ---- shared memory -------------------------------------------------------------------------------------------------

template <class V> struct Zoned {
    V value;
    char zone[ZONE];
};

template <class V> V& declared(Zoned<V>& array, bool& known) {
    if (!known) {
        known = true;
        if (shared_count == 64) fail("more than 64 __shared__ arrays");
        shared_arrays[shared_count++] = {reinterpret_cast<char*>(&array), offsetof(Zoned<V>, zone)};
        memset(static_cast<void*>(&array), 0xFF, sizeof array);
    }
    return array.value;
}

}  // namespace cpu

#define threadIdx (cpu::current->index)
#define blockIdx (cpu::block_index)
#define blockDim (cpu::block)
#define gridDim (cpu::grid)
#define warpSize 32

// What translate() of build.py makes of `__shared__ float tile[8][9];` and of `extern __shared__ float tile[];`.
#define CPU_SHARED(type, name, lengths)                \
    typedef type type_of_##name lengths;               \
    static cpu::Zoned<type_of_##name> zoned_##name;    \
    static bool known_##name;                          \
    auto& name = cpu::declared(zoned_##name, known_##name)
#define CPU_TYPE(...) __VA_ARGS__
#define CPU_DYNAMIC(type, name) type* name = reinterpret_cast<type*>(cpu::dynamic_shared)

#include "intrinsics.h"
