// Sums and maxima of sliding windows, channels last; the equations are (1)-(4) of ops/pool.py.
#include "common.cuh"
#include "windows.cuh"

// y[i,j] = Σ_uv x[i s + u - p, j s + v - p]: (3) without its divisor.  A thread computes one output.
extern "C" __global__ void __launch_bounds__(256, BLOCKS) window_sum(
    const T* __restrict__ x, T* __restrict__ y, int pixels, int height, int width, int channels, int out_height,
    int out_width, int kernel_h, int kernel_w, int stride_h, int stride_w, int before_h, int before_w)
{
    int pixel = own_pixel();
    if (pixel >= pixels) return;
    Place out = place(pixel, out_height, out_width);
    int top = out.row * stride_h - before_h, left = out.column * stride_w - before_w;
    int bottom = min(top + kernel_h, height), right = min(left + kernel_w, width);  // what lies on the map
    for (int c = int(threadIdx.x); c < channels; c += int(blockDim.x)) {
        A sum = A(0);
        for (int h = max(top, 0); h < bottom; h++)
            for (int w = max(left, 0); w < right; w++)
                sum += load(x[offset(out.image, h, w, height, width, channels) + c]);
        y[(long long)pixel * channels + c] = store<T>(sum);
    }
}

// gx[h,w] = Σ gy[i,j] over the windows on the sample: (4) without its divisor.  A thread computes one sample.
extern "C" __global__ void __launch_bounds__(256, BLOCKS) window_sum_adjoint(
    const T* __restrict__ gy, T* __restrict__ gx, int pixels, int height, int width, int channels, int out_height,
    int out_width, int kernel_h, int kernel_w, int stride_h, int stride_w, int before_h, int before_w)
{
    int pixel = own_pixel();
    if (pixel >= pixels) return;
    Place at = place(pixel, height, width);
    Windows rows = windows_on(at.row, kernel_h, stride_h, before_h, out_height);
    Windows columns = windows_on(at.column, kernel_w, stride_w, before_w, out_width);
    for (int c = int(threadIdx.x); c < channels; c += int(blockDim.x)) {
        A sum = A(0);
        for (int i = rows.first; i <= rows.last; i++)
            for (int j = columns.first; j <= columns.last; j++)
                sum += load(gy[offset(at.image, i, j, out_height, out_width, channels) + c]);
        gx[(long long)pixel * channels + c] = store<T>(sum);
    }
}

// (1) of ops/pool.py, and the tap u kw + v that gave it: the first of equal ones; NaN beats every number.
template <class Index>
__device__ inline void maximum(
    const T* __restrict__ x, T* __restrict__ y, Index* __restrict__ index, int pixels, int height, int width,
    int channels, int out_height, int out_width, int kernel_h, int kernel_w, int stride_h, int stride_w, int before_h,
    int before_w, int dilation_h, int dilation_w)
{
    int pixel = own_pixel();
    if (pixel >= pixels) return;
    Place out = place(pixel, out_height, out_width);
    int top = out.row * stride_h - before_h, left = out.column * stride_w - before_w;
    for (int c = int(threadIdx.x); c < channels; c += int(blockDim.x)) {
        A best = A(0);
        int best_tap = -1;
        for (int u = 0; u < kernel_h; u++) {
            int h = top + u * dilation_h;
            if (h < 0 || h >= height) continue;
            for (int v = 0; v < kernel_w; v++) {
                int w = left + v * dilation_w;
                if (w < 0 || w >= width) continue;
                A value = load(x[offset(out.image, h, w, height, width, channels) + c]);
                if (best_tap < 0 || value > best || value != value) {
                    best = value;
                    best_tap = u * kernel_w + v;
                }
            }
        }
        y[(long long)pixel * channels + c] = store<T>(best);
        index[(long long)pixel * channels + c] = Index(best_tap);
    }
}

// (2): gx[h,w] = Σ gy[i,j] over the windows whose maximum is this sample.
template <class Index>
__device__ inline void maximum_adjoint(
    const T* __restrict__ gy, const Index* __restrict__ index, T* __restrict__ gx, int pixels, int height, int width,
    int channels, int out_height, int out_width, int kernel_h, int kernel_w, int stride_h, int stride_w, int before_h,
    int before_w, int dilation_h, int dilation_w)
{
    int pixel = own_pixel();
    if (pixel >= pixels) return;
    Place at = place(pixel, height, width);
    for (int c = int(threadIdx.x); c < channels; c += int(blockDim.x)) {
        A sum = A(0);
        for (int u = 0; u < kernel_h; u++) {
            int i = window_with(at.row, u, stride_h, dilation_h, before_h, out_height);
            if (i < 0) continue;
            for (int v = 0; v < kernel_w; v++) {
                int j = window_with(at.column, v, stride_w, dilation_w, before_w, out_width);
                if (j < 0) continue;
                long long out = offset(at.image, i, j, out_height, out_width, channels) + c;
                if (int(index[out]) == u * kernel_w + v) sum += load(gy[out]);
            }
        }
        gx[(long long)pixel * channels + c] = store<T>(sum);
    }
}

// Up to 256 taps are numbered by a byte, more by an int.
extern "C" __global__ void __launch_bounds__(256, BLOCKS) window_max(
    const T* __restrict__ x, T* __restrict__ y, unsigned char* __restrict__ index, int pixels, int height, int width,
    int channels, int out_height, int out_width, int kernel_h, int kernel_w, int stride_h, int stride_w, int before_h,
    int before_w, int dilation_h, int dilation_w)
{
    maximum(x, y, index, pixels, height, width, channels, out_height, out_width, kernel_h, kernel_w, stride_h, stride_w,
            before_h, before_w, dilation_h, dilation_w);
}

extern "C" __global__ void __launch_bounds__(256, BLOCKS) window_max_wide(
    const T* __restrict__ x, T* __restrict__ y, int* __restrict__ index, int pixels, int height, int width,
    int channels, int out_height, int out_width, int kernel_h, int kernel_w, int stride_h, int stride_w, int before_h,
    int before_w, int dilation_h, int dilation_w)
{
    maximum(x, y, index, pixels, height, width, channels, out_height, out_width, kernel_h, kernel_w, stride_h, stride_w,
            before_h, before_w, dilation_h, dilation_w);
}

extern "C" __global__ void __launch_bounds__(256, BLOCKS) window_max_adjoint(
    const T* __restrict__ gy, const unsigned char* __restrict__ index, T* __restrict__ gx, int pixels, int height,
    int width, int channels, int out_height, int out_width, int kernel_h, int kernel_w, int stride_h, int stride_w,
    int before_h, int before_w, int dilation_h, int dilation_w)
{
    maximum_adjoint(gy, index, gx, pixels, height, width, channels, out_height, out_width, kernel_h, kernel_w, stride_h,
                    stride_w, before_h, before_w, dilation_h, dilation_w);
}

extern "C" __global__ void __launch_bounds__(256, BLOCKS) window_max_wide_adjoint(
    const T* __restrict__ gy, const int* __restrict__ index, T* __restrict__ gx, int pixels, int height, int width,
    int channels, int out_height, int out_width, int kernel_h, int kernel_w, int stride_h, int stride_w, int before_h,
    int before_w, int dilation_h, int dilation_w)
{
    maximum_adjoint(gy, index, gx, pixels, height, width, channels, out_height, out_width, kernel_h, kernel_w, stride_h,
                    stride_w, before_h, before_w, dilation_h, dilation_w);
}
