// CUDA's built-in functions that CuPy's kernels and ours use, on the CPU.  Part of kernel.h.
#pragma once
#include <cassert>
#include <cmath>
#include <limits>
#include <stddef.h>

using std::isfinite;
using std::isinf;
using std::isnan;
using std::signbit;

// ---- barriers and warps ----------------------------------------------------------------------------------------------

static inline void __syncthreads() { cpu::wait(cpu::AT_BARRIER); }
static inline void __syncwarp(unsigned = 0xFFFFFFFFu) { cpu::wait(cpu::IN_WARP); }
static inline void __threadfence() {}
static inline void __threadfence_block() {}

namespace cpu {

inline int lane() { return int(current - fibres) % WARP; }

template <class V> V shuffle(V value, int source, int step) {  // every lane gives, then every lane takes
    static_assert(sizeof value <= 8, "a shuffle moves at most 8 bytes");
    memcpy(&current->exchanged, &value, sizeof value);
    wait(step);
    Fibre* warp = fibres + (current - fibres) / WARP * WARP;
    if (source >= 0 && source < WARP && warp + source < fibres + threads) {
        if (warp[source].returned) fail("a shuffle from a thread that has returned");
        memcpy(&value, &warp[source].exchanged, sizeof value);
    }
    wait(step + 1);
    return value;
}

inline bool same_part(int a, int b, int width) { return a / width == b / width; }  // of a warp cut in parts

}  // namespace cpu

template <class V> V __shfl_sync(unsigned, V v, int source, int width = 32) {
    int lane = cpu::lane();
    return cpu::shuffle(v, lane / width * width + source % width, cpu::IN_WARP + 2);
}
template <class V> V __shfl_down_sync(unsigned, V v, unsigned distance, int width = 32) {
    int lane = cpu::lane(), source = lane + int(distance);
    return cpu::shuffle(v, cpu::same_part(lane, source, width) ? source : lane, cpu::IN_WARP + 4);
}
template <class V> V __shfl_up_sync(unsigned, V v, unsigned distance, int width = 32) {
    int lane = cpu::lane(), source = lane - int(distance);
    return cpu::shuffle(v, source >= lane / width * width ? source : lane, cpu::IN_WARP + 6);
}
template <class V> V __shfl_xor_sync(unsigned, V v, int mask, int width = 32) {
    int lane = cpu::lane(), source = lane ^ mask;
    return cpu::shuffle(v, cpu::same_part(lane, source, width) ? source : lane, cpu::IN_WARP + 8);
}

// ---- atomics: threads run one after another ------------------------------------------------------------------------

template <class V> V atomicAdd(V* at, V v) { V was = *at; *at = was + v; return was; }
template <class V> V atomicMax(V* at, V v) { V was = *at; if (v > was) *at = v; return was; }
template <class V> V atomicMin(V* at, V v) { V was = *at; if (v < was) *at = v; return was; }
template <class V> V atomicExch(V* at, V v) { V was = *at; *at = v; return was; }
template <class V> V atomicCAS(V* at, V expected, V v) { V was = *at; if (was == expected) *at = v; return was; }
template <class V> V __ldg(const V* at) { return *at; }

// ---- mathematics -----------------------------------------------------------------------------------------------------

template <class A, class B> typename std::common_type<A, B>::type min(A a, B b) { return b < a ? b : a; }
template <class A, class B> typename std::common_type<A, B>::type max(A a, B b) { return a < b ? b : a; }
static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static inline double rsqrt(double x) { return 1.0 / sqrt(x); }
static inline float __fdividef(float a, float b) { return a / b; }
static inline float cpu_expf(float x) { return expf(x); }
static inline float cpu_logf(float x) { return logf(x); }
#define __expf cpu_expf  // glibc has functions of these names
#define __logf cpu_logf

// ---- bits ------------------------------------------------------------------------------------------------------------

namespace cpu {
template <class To, class From> To bits_as(From from) {
    static_assert(sizeof(To) == sizeof from, "of one size");
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}
}  // namespace cpu

static inline unsigned __float_as_uint(float f) { return cpu::bits_as<unsigned>(f); }
static inline int __float_as_int(float f) { return cpu::bits_as<int>(f); }
static inline float __int_as_float(int i) { return cpu::bits_as<float>(i); }
static inline float __uint_as_float(unsigned u) { return cpu::bits_as<float>(u); }
static inline long long __double_as_longlong(double d) { return cpu::bits_as<long long>(d); }
static inline double __longlong_as_double(long long i) { return cpu::bits_as<double>(i); }
static inline int __float2int_rz(float f) { return int(f); }
static inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned((uint64_t(a) * b) >> 32); }
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)((static_cast<unsigned __int128>(a) * b) >> 64);
}
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
static inline int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
static inline int __clzll(long long x) { return x ? __builtin_clzll((unsigned long long)x) : 64; }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __ffsll(long long x) { return __builtin_ffsll(x); }
static inline unsigned __brev(unsigned x) {
    unsigned reversed = 0;
    for (int i = 0; i < 32; i++) reversed |= (x >> i & 1) << (31 - i);
    return reversed;
}

// ---- half precision, as cupy/float16.cuh and src/common.cuh ask for it ---------------------------------------------

#include "half.h"

static inline float __half2float(unsigned short bits) { return half_to_float(bits); }
static inline unsigned short __float2half_rn(float value) { return float_to_half(value); }
struct half;
unsigned short __half_as_ushort(const half&);
half __ushort_as_half(unsigned short);
