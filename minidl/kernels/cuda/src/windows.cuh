// Where sliding windows lie (kernels/geometry.py).  Along one axis tap u of window i lies on the sample
//
//     i · stride + u · dilation - before                                                               (1)
#pragma once

struct Place {  // of a pixel in maps of so many rows and columns
    int image, row, column;
};

__device__ inline Place place(int pixel, int rows, int columns) {
    Place at;
    at.column = pixel % columns;
    at.row = pixel / columns % rows;
    at.image = pixel / columns / rows;
    return at;
}

// Where the values of a pixel begin.
__device__ inline long long offset(int image, int row, int column, int rows, int columns, int channels) {
    return (((long long)image * rows + row) * columns + column) * channels;
}

// The windows of (1), dilation 1, that have `sample` among their taps: first … last.
struct Windows {
    int first, last;
};

__device__ inline Windows windows_on(int sample, int kernel, int stride, int before, int count) {
    int end = sample + before;            // (1) with u = 0:           i ≤ end / stride
    int begin = end - kernel + 1;         // (1) with u = kernel - 1:  i ≥ begin / stride
    Windows w;
    w.first = begin <= 0 ? 0 : (begin + stride - 1) / stride;
    w.last = min(end / stride, count - 1);
    return w;
}

// The window that has tap u on `sample`, or -1: (1) solved for i.
__device__ inline int window_with(int sample, int u, int stride, int dilation, int before, int count) {
    int distance = sample + before - u * dilation;
    if (distance < 0 || distance % stride) return -1;
    int i = distance / stride;
    return i < count ? i : -1;
}
