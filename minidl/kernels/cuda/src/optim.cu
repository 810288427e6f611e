// Optimizer steps: one launch for all parameters, which lie end to end in one buffer (see kernels/array/optim.py).
//
// Element i belongs to the first segment with i < ends[segment]; a thread's elements only grow, so it walks along the
// segments once.  What it needs of each is put into shared memory first, computed in double, as on the host.
//
// g holds T, the parameters and what is kept beside them A: with T = f16 these are the float32 master weights, and
// `low` receives the new parameters once more, as f16.
#include "common.cuh"
#include "reduce.cuh"

#define SEGMENTS 512  // as many as the table has room for


// (1) g ← g + λ p;   (2) v ← μ v + g;   (3) p ← p - η v, or p - η (g + μ v)
extern "C" __global__ void __launch_bounds__(256, BLOCKS) sgd_step(
    const A* __restrict__ p, const T* __restrict__ g, const A* __restrict__ v, A* __restrict__ p_new,
    A* __restrict__ v_new, T* __restrict__ low, const long long* __restrict__ ends, const double* __restrict__ decays,
    const double* __restrict__ lr_factors, int segments, double lr, A momentum, bool nesterov,
    const float* __restrict__ inverse_scale, const bool* __restrict__ found_inf, long long n)
{
    __shared__ long long end[SEGMENTS];
    __shared__ A eta[SEGMENTS];
    __shared__ A decay[SEGMENTS];
    for (int k = int(threadIdx.x); k < segments; k += int(blockDim.x)) {
        end[k] = ends[k];
        eta[k] = A(lr * lr_factors[k]);
        decay[k] = A(decays[k]);
    }
    __syncthreads();
    A unscale = A(inverse_scale[0]);
    bool skip = found_inf[0];
    int k = 0;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (long long)gridDim.x * blockDim.x) {
        while (i >= end[k]) k++;
        A p_i = p[i], v_i = v[i];
        if (!skip) {
            A g_i = load(g[i]) * unscale;
            if (decay[k] != A(0)) g_i += decay[k] * p_i;         // (1)
            v_i = momentum != A(0) ? momentum * v_i + g_i : g_i;  // (2): without momentum, no 0 · ∞
            p_i -= eta[k] * (nesterov ? g_i + momentum * v_i : v_i);  // (3)
        }
        p_new[i] = p_i;
        v_new[i] = v_i;
        if (sizeof(T) != sizeof(A)) low[i] = store<T>(p_i);
    }
}

// (4) p ← (1 - η λ) p;   (5) m ← β₁ m + (1 - β₁) g,  s ← β₂ s + (1 - β₂) g²;   (6) p ← p - η m̂ / (√ŝ + ε)
extern "C" __global__ void __launch_bounds__(256, BLOCKS) adamw_step(
    const A* __restrict__ p, const T* __restrict__ g, const A* __restrict__ m, const A* __restrict__ s,
    A* __restrict__ p_new, A* __restrict__ m_new, A* __restrict__ s_new, T* __restrict__ low,
    const long long* __restrict__ steps, long long* __restrict__ steps_new, const long long* __restrict__ ends,
    const double* __restrict__ decays, const double* __restrict__ lr_factors, int segments, double lr, double beta_1,
    double beta_2, A eps, const float* __restrict__ inverse_scale, const bool* __restrict__ found_inf, long long n)
{
    __shared__ long long end[SEGMENTS];
    __shared__ A keep[SEGMENTS];     // 1 - η λ
    __shared__ A rate[SEGMENTS];     // η / (1 - β₁ᵗ)
    __shared__ A unbias[SEGMENTS];   // 1 / (1 - β₂ᵗ)
    bool skip = found_inf[0];
    for (int k = int(threadIdx.x); k < segments; k += int(blockDim.x)) {
        double t = double(steps[k] + 1), eta = lr * lr_factors[k];
        end[k] = ends[k];
        keep[k] = A(1 - eta * decays[k]);
        rate[k] = A(eta / (1 - pow(beta_1, t)));
        unbias[k] = A(1 / (1 - pow(beta_2, t)));
        if (blockIdx.x == 0) steps_new[k] = steps[k] + (skip ? 0 : 1);
    }
    __syncthreads();
    A unscale = A(inverse_scale[0]), b_1 = A(beta_1), b_2 = A(beta_2), rest_1 = A(1 - beta_1), rest_2 = A(1 - beta_2);
    int k = 0;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (long long)gridDim.x * blockDim.x) {
        while (i >= end[k]) k++;
        A p_i = p[i], m_i = m[i], s_i = s[i];
        if (!skip) {
            A g_i = load(g[i]) * unscale;
            m_i = b_1 * m_i + rest_1 * g_i;                                          // (5)
            s_i = b_2 * s_i + rest_2 * g_i * g_i;
            p_i = p_i * keep[k] - rate[k] * m_i / (root(s_i * unbias[k]) + eps);     // (4), (6)
        }
        p_new[i] = p_i;
        m_new[i] = m_i;
        s_new[i] = s_i;
        if (sizeof(T) != sizeof(A)) low[i] = store<T>(p_i);
    }
}

// Whether a gradient overflowed: how many elements of each block's share are not finite, then (one block) the verdict
// on all of them, and the loss scale of the next step.
extern "C" __global__ void __launch_bounds__(256, BLOCKS) count_overflows(
    const T* __restrict__ g, int* __restrict__ overflows, long long n)
{
    int count = 0;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (long long)gridDim.x * blockDim.x) {
        A v = load(g[i]);
        count += !(v - v == A(0));  // ∞ - ∞ and NaN - NaN are NaN
    }
    count = block_sum(count > 0 ? 1 : 0);
    if (threadIdx.x == 0) overflows[blockIdx.x] = count;
}

extern "C" __global__ void __launch_bounds__(256, BLOCKS) loss_scale_step(
    const int* __restrict__ overflows, int blocks, const float* __restrict__ scale, const int* __restrict__ good_steps,
    float growth, float backoff, int interval, bool* __restrict__ found_inf, float* __restrict__ inverse_scale,
    float* __restrict__ next_scale, int* __restrict__ next_good_steps)
{
    int count = 0;
    for (int b = int(threadIdx.x); b < blocks; b += int(blockDim.x)) count += overflows[b];
    count = block_sum(count > 0 ? 1 : 0);
    if (threadIdx.x != 0) return;
    int good = count ? 0 : good_steps[0] + 1;
    bool grow = good >= interval;
    found_inf[0] = count > 0;
    inverse_scale[0] = 1 / scale[0];
    next_scale[0] = scale[0] * (count ? backoff : grow ? growth : 1.0f);
    next_good_steps[0] = grow ? 0 : good;
}
