// Cross-entropy of softmax; the equations are those of ops/loss.py.
//
// z lies as (outer, classes, inner); row (o, m) is its classes, `inner` elements apart.  A block has one row.
#include "common.cuh"
#include "reduce.cuh"

// (3) log p_c = (z_c - m) - log Σ exp(z_k - m), m = max z;   (5) ℓ = -Σ t_c log p_c, 0 · log 0 = 0
extern "C" __global__ void __launch_bounds__(256, BLOCKS) cross_entropy(
    const T* __restrict__ z, const T* __restrict__ t, T* __restrict__ losses, T* __restrict__ logp, int classes,
    int inner)
{
    long long row = blockIdx.x, first = row / inner * classes * inner + row % inner;
    A peak = load(z[first]);
    for (int c = int(threadIdx.x); c < classes; c += int(blockDim.x)) {
        A v = load(z[first + (long long)c * inner]);
        peak = v > peak ? v : peak;  // a NaN is not seen here, but makes the sum below one
    }
    peak = block_max(peak);
    A sum = A(0);
    for (int c = int(threadIdx.x); c < classes; c += int(blockDim.x))
        sum += exponential(load(z[first + (long long)c * inner]) - peak);
    A log_sum = logarithm(block_sum(sum)), loss = A(0);
    for (int c = int(threadIdx.x); c < classes; c += int(blockDim.x)) {
        long long at = first + (long long)c * inner;
        A l = (load(z[at]) - peak) - log_sum, weight = load(t[at]);
        logp[at] = store<T>(l);
        if (weight != A(0)) loss -= weight * l;
    }
    loss = block_sum(loss);
    if (threadIdx.x == 0) losses[row] = store<T>(loss);
}

// (7): gz_c = gℓ [p_c Σ t_k - t_c]; one gℓ for all rows (step 0), or one for each (step 1).
extern "C" __global__ void __launch_bounds__(256, BLOCKS) cross_entropy_adjoint(
    const T* __restrict__ gl, const T* __restrict__ logp, const T* __restrict__ t, T* __restrict__ gz, int classes,
    int inner, int gl_step)
{
    long long row = blockIdx.x, first = row / inner * classes * inner + row % inner;
    A sum = A(0);
    for (int c = int(threadIdx.x); c < classes; c += int(blockDim.x)) sum += load(t[first + (long long)c * inner]);
    sum = block_sum(sum);
    A g = load(gl[row * gl_step]);
    for (int c = int(threadIdx.x); c < classes; c += int(blockDim.x)) {
        long long at = first + (long long)c * inner;
        gz[at] = store<T>(g * (exponential(load(logp[at])) * sum - load(t[at])));
    }
}
