// Gaussian and maximum-entropy pooling, channels last; the equations are those of ops/stochastic_pool.py.
//
// η and λ broadcast to the output: eta_row, lam_channel and so on say how far apart their elements lie along an axis,
// 0 where there is one for the whole axis.
#include "common.cuh"
#include "windows.cuh"

// (1)-(3), with two looks at the window: μ = Σ x / P;  v = [Σ (x - μ)² + n₀ μ²] / P;  y = μ + η √max(v, ε).
extern "C" __global__ void __launch_bounds__(256, BLOCKS) gaussian_pool(
    const T* __restrict__ x, const T* __restrict__ eta, const T* __restrict__ divisor, const T* __restrict__ outside,
    T* __restrict__ y, T* __restrict__ mean, T* __restrict__ deviation, bool counts_outside, A eps,
    long long eta_image, long long eta_row, long long eta_column, long long eta_channel, int pixels, int height,
    int width, int channels, int out_height, int out_width, int kernel_h, int kernel_w, int stride_h, int stride_w,
    int before_h, int before_w)
{
    int pixel = own_pixel();
    if (pixel >= pixels) return;
    Place out = place(pixel, out_height, out_width);
    int top = out.row * stride_h - before_h, left = out.column * stride_w - before_w;
    int bottom = min(top + kernel_h, height), right = min(left + kernel_w, width);
    top = max(top, 0);
    left = max(left, 0);
    int window = out.row * out_width + out.column;
    A p = load(divisor[window]), zeros = counts_outside ? load(outside[window]) : A(0);
    long long eta_at = out.image * eta_image + out.row * eta_row + out.column * eta_column;
    for (int c = int(threadIdx.x); c < channels; c += int(blockDim.x)) {
        A sum = A(0), square = A(0);
        for (int h = top; h < bottom; h++)
            for (int w = left; w < right; w++) sum += load(x[offset(out.image, h, w, height, width, channels) + c]);
        A mu = sum / p;  // (1)
        for (int h = top; h < bottom; h++)
            for (int w = left; w < right; w++) {
                A centred = load(x[offset(out.image, h, w, height, width, channels) + c]) - mu;
                square += centred * centred;
            }
        A v = (square + zeros * mu * mu) / p;  // (2)
        A s = root(v <= eps ? eps : v);        // not "v > ε": NaN stays
        long long at = (long long)pixel * channels + c;
        mean[at] = store<T>(mu);
        deviation[at] = store<T>(s);
        y[at] = store<T>(mu + load(eta[eta_at + c * eta_channel]) * s);  // (3)
    }
}

// (5), (6): gx_k = Σ [gY + 2 gv (x_k - μ)] / P over the windows on sample k, 2 gv = [s > √ε] η gY / s.
extern "C" __global__ void __launch_bounds__(256, BLOCKS) gaussian_pool_adjoint(
    const T* __restrict__ gy, const T* __restrict__ eta, const T* __restrict__ x, const T* __restrict__ mean,
    const T* __restrict__ deviation, const T* __restrict__ divisor, T* __restrict__ gx, A eps, long long eta_image,
    long long eta_row, long long eta_column, long long eta_channel, int pixels, int height, int width, int channels,
    int out_height, int out_width, int kernel_h, int kernel_w, int stride_h, int stride_w, int before_h, int before_w)
{
    int pixel = own_pixel();
    if (pixel >= pixels) return;
    Place at = place(pixel, height, width);
    Windows rows = windows_on(at.row, kernel_h, stride_h, before_h, out_height);
    Windows columns = windows_on(at.column, kernel_w, stride_w, before_w, out_width);
    A floor = load(store<T>(root(eps)));  // s itself where v ≤ ε, to the last bit
    for (int c = int(threadIdx.x); c < channels; c += int(blockDim.x)) {
        A value = load(x[(long long)pixel * channels + c]), sum = A(0);
        for (int i = rows.first; i <= rows.last; i++)
            for (int j = columns.first; j <= columns.last; j++) {
                long long out = offset(at.image, i, j, out_height, out_width, channels) + c;
                A g = load(gy[out]) / load(divisor[i * out_width + j]), s = load(deviation[out]);
                sum += g;
                if (!(s <= floor)) {  // (5)
                    A h = load(eta[at.image * eta_image + i * eta_row + j * eta_column + c * eta_channel]);
                    sum += g * h / s * (value - load(mean[out]));  // (6)
                }
            }
        gx[(long long)pixel * channels + c] = store<T>(sum);
    }
}

// (9): y = Σ p_k x_k, p_k = exp(λ x_k - m) / Z with m = max λ x_k and Z = Σ exp(λ x_k - m), which are kept as A.
extern "C" __global__ void __launch_bounds__(256, BLOCKS) maxent_pool(
    const T* __restrict__ x, const T* __restrict__ lam, T* __restrict__ y, A* __restrict__ peak, A* __restrict__ total,
    long long lam_image, long long lam_row, long long lam_column, long long lam_channel, int pixels, int height,
    int width, int channels, int out_height, int out_width, int kernel_h, int kernel_w, int stride_h, int stride_w,
    int before_h, int before_w)
{
    int pixel = own_pixel();
    if (pixel >= pixels) return;
    Place out = place(pixel, out_height, out_width);
    int top = out.row * stride_h - before_h, left = out.column * stride_w - before_w;
    int bottom = min(top + kernel_h, height), right = min(left + kernel_w, width);
    top = max(top, 0);
    left = max(left, 0);
    long long lam_at = out.image * lam_image + out.row * lam_row + out.column * lam_column;
    for (int c = int(threadIdx.x); c < channels; c += int(blockDim.x)) {
        A l = load(lam[lam_at + c * lam_channel]);
        A m = l * load(x[offset(out.image, top, left, height, width, channels) + c]);
        for (int h = top; h < bottom; h++)
            for (int w = left; w < right; w++) {
                A a = l * load(x[offset(out.image, h, w, height, width, channels) + c]);
                if (a > m || a != a) m = a;
            }
        A z = A(0), sum = A(0);
        for (int h = top; h < bottom; h++)
            for (int w = left; w < right; w++) {
                A value = load(x[offset(out.image, h, w, height, width, channels) + c]);
                A e = exponential(l * value - m);
                z += e;
                sum += e * value;
            }
        long long at = (long long)pixel * channels + c;
        peak[at] = m;
        total[at] = z;
        y[at] = store<T>(sum / z);
    }
}

// (10): gx_k = Σ gy p_k [1 + λ (x_k - y)] over the windows on sample k.
extern "C" __global__ void __launch_bounds__(256, BLOCKS) maxent_pool_adjoint(
    const T* __restrict__ gy, const T* __restrict__ x, const T* __restrict__ lam, const T* __restrict__ y,
    const A* __restrict__ peak, const A* __restrict__ total, T* __restrict__ gx, long long lam_image,
    long long lam_row, long long lam_column, long long lam_channel, int pixels, int height, int width, int channels,
    int out_height, int out_width, int kernel_h, int kernel_w, int stride_h, int stride_w, int before_h, int before_w)
{
    int pixel = own_pixel();
    if (pixel >= pixels) return;
    Place at = place(pixel, height, width);
    Windows rows = windows_on(at.row, kernel_h, stride_h, before_h, out_height);
    Windows columns = windows_on(at.column, kernel_w, stride_w, before_w, out_width);
    for (int c = int(threadIdx.x); c < channels; c += int(blockDim.x)) {
        A value = load(x[(long long)pixel * channels + c]), sum = A(0);
        for (int i = rows.first; i <= rows.last; i++)
            for (int j = columns.first; j <= columns.last; j++) {
                long long out = offset(at.image, i, j, out_height, out_width, channels) + c;
                A l = load(lam[at.image * lam_image + i * lam_row + j * lam_column + c * lam_channel]);
                A p = exponential(l * value - peak[out]) / total[out];
                sum += load(gy[out]) * p * (A(1) + l * (value - load(y[out])));
            }
        gx[(long long)pixel * channels + c] = store<T>(sum);
    }
}

// What gy meets in (11): ∂y/∂λ = Σ p_k (x_k - y)², the variance of the law.
extern "C" __global__ void __launch_bounds__(256, BLOCKS) maxent_variance(
    const T* __restrict__ x, const T* __restrict__ lam, const T* __restrict__ y, const A* __restrict__ peak,
    const A* __restrict__ total, T* __restrict__ variance, long long lam_image, long long lam_row,
    long long lam_column, long long lam_channel, int pixels, int height, int width, int channels, int out_height,
    int out_width, int kernel_h, int kernel_w, int stride_h, int stride_w, int before_h, int before_w)
{
    int pixel = own_pixel();
    if (pixel >= pixels) return;
    Place out = place(pixel, out_height, out_width);
    int top = out.row * stride_h - before_h, left = out.column * stride_w - before_w;
    int bottom = min(top + kernel_h, height), right = min(left + kernel_w, width);
    long long lam_at = out.image * lam_image + out.row * lam_row + out.column * lam_column;
    for (int c = int(threadIdx.x); c < channels; c += int(blockDim.x)) {
        long long at = (long long)pixel * channels + c;
        A l = load(lam[lam_at + c * lam_channel]), m = peak[at], average = load(y[at]), sum = A(0);
        for (int h = max(top, 0); h < bottom; h++)
            for (int w = max(left, 0); w < right; w++) {
                A value = load(x[offset(out.image, h, w, height, width, channels) + c]);
                A above = value - average;
                sum += exponential(l * value - m) * above * above;
            }
        variance[at] = store<T>(sum / total[at]);
    }
}
