// Convolution as one matrix product: laying the windows out, and gathering them back; see ops/conv.py.
//
// The windows of a group become the rows of a matrix, channels fastest, as they lie in x:
//
//     cols[p, (u kw + v) C + c] = x̄[n, i s + u d, j s + v d, c],     p = (n, i, j),  C the channels of the group
//
// With K = kh kw C and the kernel as a matrix W (O, K),
//
//     y     = cols Wᵀ          (P, K) (K, O)                                        (1)
//     gcols = gy W             (P, O) (O, K),  then gx̄ is gathered from gcols        (2)
//     gW    = gyᵀ cols         (O, P) (P, K)                                        (3)
//
// and the products are cuBLAS's.  cols has kh kw times as many elements as x, so it is made for a part of the pixels
// at a time (WORKSPACE in conv.py), and made again in the backward pass instead of being kept.
#include "common.cuh"
#include "windows.cuh"

// cols for the pixels first … first + pixels - 1, of the channels first_channel … first_channel + group - 1 of x.
extern "C" __global__ void __launch_bounds__(256, BLOCKS) im2col(
    const T* __restrict__ x, T* __restrict__ cols, int first, int pixels, int first_channel, int group, int height,
    int width, int channels, int out_height, int out_width, int kernel_h, int kernel_w, int stride_h, int stride_w,
    int before_h, int before_w, int dilation_h, int dilation_w)
{
    int row = own_pixel();
    if (row >= pixels) return;
    Place out = place(first + row, out_height, out_width);
    T* to = cols + (long long)row * (kernel_h * kernel_w) * group;
    for (int u = 0; u < kernel_h; u++)
        for (int v = 0; v < kernel_w; v++, to += group) {
            int h = out.row * stride_h - before_h + u * dilation_h, w = out.column * stride_w - before_w + v * dilation_w;
            bool on_map = h >= 0 && h < height && w >= 0 && w < width;
            const T* from = x + (on_map ? offset(out.image, h, w, height, width, channels) + first_channel : 0);
            for (int c = int(threadIdx.x); c < group; c += int(blockDim.x)) to[c] = on_map ? from[c] : store<T>(A(0));
        }
}

// (2): gx[h,w] = Σ gcols[(i,j), (u,v)] over the windows and taps with i s + u d - p = h, j s + v d - p = w.
// A thread gathers one sample, so no two write to the same place.
extern "C" __global__ void __launch_bounds__(256, BLOCKS) col2im(
    const T* __restrict__ cols, T* __restrict__ gx, int pixels, int first_channel, int group, int height, int width,
    int channels, int out_height, int out_width, int kernel_h, int kernel_w, int stride_h, int stride_w, int before_h,
    int before_w, int dilation_h, int dilation_w)
{
    int pixel = own_pixel();
    if (pixel >= pixels) return;
    Place at = place(pixel, height, width);
    int taps = kernel_h * kernel_w;
    for (int c = int(threadIdx.x); c < group; c += int(blockDim.x)) {
        A sum = A(0);
        for (int u = 0; u < kernel_h; u++) {
            int i = window_with(at.row, u, stride_h, dilation_h, before_h, out_height);
            if (i < 0) continue;
            for (int v = 0; v < kernel_w; v++) {
                int j = window_with(at.column, v, stride_w, dilation_w, before_w, out_width);
                if (j < 0) continue;
                long long row = ((long long)at.image * out_height + i) * out_width + j;
                sum += load(cols[(row * taps + u * kernel_w + v) * group + c]);
            }
        }
        gx[(long long)pixel * channels + first_channel + c] = store<T>(sum);
    }
}
