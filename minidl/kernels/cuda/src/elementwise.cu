// Functions of one element; arrays lie densely, all in the same order, so that they are rows of n numbers.
#include "common.cuh"

#define FOR_EVERY(i) \
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (long long)gridDim.x * blockDim.x)

__device__ inline A positive_part(A v) { return v <= A(0) ? A(0) : v; }  // NaN stays

// y = max(x, 0): (4) of ops/activation.py
extern "C" __global__ void __launch_bounds__(256, BLOCKS) relu(const T* __restrict__ x, T* __restrict__ y, long long n) {
    FOR_EVERY(i) y[i] = store<T>(positive_part(load(x[i])));
}

// gx = gy [y > 0]
extern "C" __global__ void __launch_bounds__(256, BLOCKS) relu_adjoint(
    const T* __restrict__ gy, const T* __restrict__ y, T* __restrict__ gx, long long n)
{
    FOR_EVERY(i) gx[i] = load(y[i]) > A(0) ? gy[i] : store<T>(A(0));
}

// y = a + b, max(a + b, 0) with `relu`
extern "C" __global__ void __launch_bounds__(256, BLOCKS) add(
    const T* __restrict__ a, const T* __restrict__ b, T* __restrict__ y, bool relu, long long n)
{
    FOR_EVERY(i) {
        A sum = load(a[i]) + load(b[i]);
        y[i] = store<T>(relu ? positive_part(sum) : sum);
    }
}
