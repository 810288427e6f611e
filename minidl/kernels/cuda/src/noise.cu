// Counter-based noise; the equations are those of kernels/array/noise.py, which gives the same bits.
//
// Compiled without contracting a · b + c into one rounding (--fmad=false), as NumPy rounds twice.  A thread has one
// block of four words.
#include "common.cuh"

#define LN_2 0.693147180559945309417232121458176568
#define SQRT_HALF 0.707106781186547524400844362104849039
#define TURN (6.283185307179586476925286766559005768 / 4294967296.0)  // 2π / 2³²

struct Words {
    unsigned w[4];
};

// (1), ten times
__device__ inline Words philox(unsigned long long block, unsigned long long key) {
    unsigned c0 = unsigned(block), c1 = unsigned(block >> 32), c2 = 0, c3 = 0;
    unsigned k0 = unsigned(key), k1 = unsigned(key >> 32);
    for (int round = 0; round < 10; round++) {
        unsigned long long p0 = 0xD2511F53ull * c0, p1 = 0xCD9E8D57ull * c2;
        c0 = unsigned(p1 >> 32) ^ c1 ^ k0;
        c1 = unsigned(p1);
        c2 = unsigned(p0 >> 32) ^ c3 ^ k1;
        c3 = unsigned(p0);
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    Words words = {{c0, c1, c2, c3}};
    return words;
}

// (2), (3): four numbers in [0, 1) of a block in float, two in double.
extern "C" __global__ void __launch_bounds__(256, BLOCKS) uniform_noise(
    T* __restrict__ out, unsigned long long key, long long n)
{
    const int each = sizeof(T) == 8 ? 2 : 4;
    long long block = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    Words words = philox((unsigned long long)block, key);
    for (int i = 0; i < each; i++) {
        long long at = block * each + i;
        if (at >= n) return;
        if (each == 4)
            out[at] = T(T(words.w[i] >> 8) * T(1.0 / 16777216.0));
        else
            out[at] = T((double(words.w[2 * i % 4] >> 5) * 67108864.0 + double(words.w[(2 * i + 1) % 4] >> 6)) *
                        (1.0 / 9007199254740992.0));
    }
}

// ln(x 2⁻³²) by (5), x = 1 … 2³²
__device__ inline double log_of_word(double x) {
    int e;
    double m = frexp(x, &e);
    if (m < SQRT_HALF) {
        m = 2 * m;
        e = e - 1;
    }
    double s = (m - 1) / (m + 1), square = s * s, sum = 1.0 / 23;
    for (int n = 21; n > 0; n -= 2) sum = sum * square + 1.0 / n;
    return (e - 32) * LN_2 + 2 * s * sum;
}

// cos and sin of 2π w / 2³² by (6)
__device__ inline void circle(unsigned w, double& cos_w, double& sin_w) {
    unsigned quarter = ((w >> 29) + 1) >> 1;
    double phi = (double(w) - double(quarter) * 1073741824.0) * TURN, square = phi * phi;
    double c = 1.0 / 20922789888000.0, s = 1.0 / 355687428096000.0;  // 1/16!, 1/17!
    const double cos_terms[8] = {-1.0 / 87178291200.0, 1.0 / 479001600.0, -1.0 / 3628800.0, 1.0 / 40320.0,
                                 -1.0 / 720.0, 1.0 / 24.0, -1.0 / 2.0, 1.0};
    const double sin_terms[8] = {-1.0 / 1307674368000.0, 1.0 / 6227020800.0, -1.0 / 39916800.0, 1.0 / 362880.0,
                                 -1.0 / 5040.0, 1.0 / 120.0, -1.0 / 6.0, 1.0};
#pragma unroll
    for (int n = 0; n < 8; n++) {
        c = c * square + cos_terms[n];
        s = s * square + sin_terms[n];
    }
    s = phi * s;
    double x = quarter & 1 ? -s : c, y = quarter & 1 ? c : s;
    cos_w = quarter & 2 ? -x : x;
    sin_w = quarter & 2 ? -y : y;
}

// (4): two pairs of normal numbers of a block.
extern "C" __global__ void __launch_bounds__(256, BLOCKS) normal_noise(
    T* __restrict__ out, unsigned long long key, long long n)
{
    long long block = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    Words words = philox((unsigned long long)block, key);
#pragma unroll
    for (int pair = 0; pair < 2; pair++) {
        long long at = 4 * block + 2 * pair;
        double radius = sqrt(-2 * log_of_word(double(words.w[2 * pair]) + 1)), x, y;
        circle(words.w[2 * pair + 1], x, y);
        if (at < n) out[at] = T(radius * x);
        if (at + 1 < n) out[at + 1] = T(radius * y);
    }
}
