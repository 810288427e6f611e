// What every kernel here shares: the types, and who computes what.
//
// Each source is compiled once for each type that is asked for.  The compiler's options STORED and ACCUMULATED say
// what the two names T and A stand for:
//
//     T   what arrays hold:                      f16     float    double
//     A   what is computed and added up in:      float   float    double
//
// so `A v = load(x[i])` widens, `y[i] = store<T>(v)` rounds, and both cost nothing where T is A.
//
// Maps of shape (N, C, H, W) lie in memory as (N, H, W, C), "channels last": the C values of one pixel are
// neighbours.  A block is a rectangle of threads, x along the channels, y along the pixels:
//
//                threadIdx.x   0   1   2  …   C-1          one row of threads, one pixel: it reads and writes
//     pixel p    threadIdx.y   ·   ·   ·      ·            C neighbours in memory, which is what the card is fast at
//     pixel p+1                ·   ·   ·      ·
//
// Pixels and channels are counted in int (there are fewer than 2^31), elements in long long (there may be more).
// Nothing is ever added to memory by two threads: each output element has one thread that gathers what belongs to
// it, in a fixed order.  So the same input gives the same bits, every time.
#pragma once

#ifdef __CUDA_ON_CPU__  // tests run these sources on a CPU, with a header that stands in for the compiler's own
#else
__device__ inline float __half2float(unsigned short bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}
__device__ inline unsigned short __float2half_rn(float value) {
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}
#endif

struct f16 {  // IEEE half precision: 11 bits of significand, 6e-8 … 65504; stored only, never computed in
    unsigned short bits;
};

typedef STORED T;
typedef ACCUMULATED A;

__device__ inline float load(f16 v) { return __half2float(v.bits); }
__device__ inline float load(float v) { return v; }
__device__ inline double load(double v) { return v; }

template <class To> __device__ inline To store(A v) { return To(v); }
template <> __device__ inline f16 store<f16>(A v) {
    f16 half;
    half.bits = __float2half_rn(float(v));
    return half;
}

__device__ inline float root(float v) { return sqrtf(v); }
__device__ inline double root(double v) { return sqrt(v); }
__device__ inline float exponential(float v) { return expf(v); }
__device__ inline double exponential(double v) { return exp(v); }
__device__ inline float logarithm(float v) { return logf(v); }
__device__ inline double logarithm(double v) { return log(v); }

// The pixel of this thread; those beyond the last have none.
__device__ inline int own_pixel() { return int(blockIdx.x * blockDim.y + threadIdx.y); }
