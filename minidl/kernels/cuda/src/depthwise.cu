// Depthwise convolution: every channel of x by itself gives `multiple` channels of y; o = c · multiple + q.
// A matrix product would have one row of W; so these sum directly.  Equations (1)-(3) of ops/conv.py with C/G = 1.
#include "common.cuh"
#include "reduce.cuh"
#include "windows.cuh"

// (1): y[i,j,o] = Σ_uv x̄[i s + u d, j s + v d, c] w[o,u,v]
extern "C" __global__ void __launch_bounds__(256, BLOCKS) depthwise(
    const T* __restrict__ x, const T* __restrict__ w, T* __restrict__ y, int pixels, int multiple, int height, int width,
    int channels, int out_height, int out_width, int kernel_h, int kernel_w, int stride_h, int stride_w, int before_h,
    int before_w, int dilation_h, int dilation_w)
{
    int pixel = own_pixel();
    if (pixel >= pixels) return;
    Place out = place(pixel, out_height, out_width);
    int top = out.row * stride_h - before_h, left = out.column * stride_w - before_w;
    for (int o = int(threadIdx.x); o < channels * multiple; o += int(blockDim.x)) {
        A sum = A(0);
        for (int u = 0; u < kernel_h; u++) {
            int h = top + u * dilation_h;
            if (h < 0 || h >= height) continue;
            for (int v = 0; v < kernel_w; v++) {
                int at = left + v * dilation_w;
                if (at < 0 || at >= width) continue;
                A value = load(x[offset(out.image, h, at, height, width, channels) + o / multiple]);
                sum += value * load(w[(o * kernel_h + u) * kernel_w + v]);
            }
        }
        y[(long long)pixel * channels * multiple + o] = store<T>(sum);
    }
}

// (2): gx[h,w,c] = Σ gy[i,j,o] w[o,u,v] over the windows and taps on the sample and the outputs o of channel c.
extern "C" __global__ void __launch_bounds__(256, BLOCKS) depthwise_adjoint_x(
    const T* __restrict__ gy, const T* __restrict__ w, T* __restrict__ gx, int pixels, int multiple, int height,
    int width, int channels, int out_height, int out_width, int kernel_h, int kernel_w, int stride_h, int stride_w,
    int before_h, int before_w, int dilation_h, int dilation_w)
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
                long long from = offset(at.image, i, j, out_height, out_width, channels * multiple);
                for (int o = c * multiple; o < (c + 1) * multiple; o++)
                    sum += load(gy[from + o]) * load(w[(o * kernel_h + u) * kernel_w + v]);
            }
        }
        gx[(long long)pixel * channels + c] = store<T>(sum);
    }
}

// (3): gw[o,u,v] = Σ gy[n,i,j,o] x̄[n, i s + u d, j s + v d, c], in two stages as in norm.cu.  Stage 1: block (chunk,
// tile of outputs, tap) adds up its chunk of the pixels of gy.
extern "C" __global__ void __launch_bounds__(256, BLOCKS) depthwise_chunks(
    const T* __restrict__ gy, const T* __restrict__ x, A* __restrict__ partial, int pixels, int pixels_per_chunk,
    int multiple, int height, int width, int channels, int out_height, int out_width, int kernel_h, int kernel_w,
    int stride_h, int stride_w, int before_h, int before_w, int dilation_h, int dilation_w)
{
    int o = int(blockIdx.y * blockDim.x + threadIdx.x), outputs = channels * multiple;
    int tap = int(blockIdx.z), u = tap / kernel_w, v = tap % kernel_w;
    int begin = int(blockIdx.x) * pixels_per_chunk, end = min(begin + pixels_per_chunk, pixels);
    A sum = A(0);
    for (int pixel = begin + int(threadIdx.y); o < outputs && pixel < end; pixel += int(blockDim.y)) {
        Place out = place(pixel, out_height, out_width);
        int h = out.row * stride_h - before_h + u * dilation_h, w = out.column * stride_w - before_w + v * dilation_w;
        if (h < 0 || h >= height || w < 0 || w >= width) continue;
        A value = load(x[offset(out.image, h, w, height, width, channels) + o / multiple]);
        sum += load(gy[(long long)pixel * outputs + o]) * value;
    }
    sum = column_sum(sum);
    if (o < outputs && threadIdx.y == 0)
        partial[((long long)blockIdx.x * outputs + o) * (kernel_h * kernel_w) + tap] = sum;
}

// Stage 2: Σ over the chunks, in their order.
extern "C" __global__ void __launch_bounds__(256, BLOCKS) depthwise_total(
    const A* __restrict__ partial, T* __restrict__ gw, int weights, int chunks)
{
    int i = int(blockIdx.x * blockDim.x + threadIdx.x);
    if (i >= weights) return;
    A sum = A(0);
    for (int b = 0; b < chunks; b++) sum += partial[(long long)b * weights + i];
    gw[i] = store<T>(sum);
}
