// A small matrix along each axis of a map, channels last; see kernels/array/separable.py, and (7)-(11) of
// ops/gaussian.py, where the matrices are those of filters.
//
// Along one axis a map is an array (outer, length, inner, channels):
//
//     the width      outer = N H     length = W     inner = 1
//     the height     outer = N       length = H     inner = W
//
// A matrix (rows, columns) lies as (rows, columns, shared or one a channel): neighbouring threads, which have
// neighbouring channels, read neighbouring elements.  The matrices of filters are banded, so that most of their
// elements are 0: `limits` says for every line of a matrix where its elements begin and end.
#include "common.cuh"
#include "reduce.cuh"

// (7): t[i, j, c] = Σ_u k[c, u] [sources[u, i] = j].  A thread has one element, and looks through the taps.
extern "C" __global__ void __launch_bounds__(256, BLOCKS) reading_matrix(
    const T* __restrict__ k, const int* __restrict__ sources, T* __restrict__ t, int rows, int columns, int channels,
    int taps, long long elements)
{
    long long e = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (e >= elements) return;
    int c = int(e % channels), j = int(e / channels % columns), i = int(e / channels / columns);
    A sum = A(0);
    for (int u = 0; u < taps; u++)
        if (sources[u * rows + i] == j) sum += load(k[c * taps + u]);
    t[e] = store<T>(sum);
}

// (11): gk[c, u] = Σ_i gt[i, sources[u, i], c]
extern "C" __global__ void __launch_bounds__(256, BLOCKS) reading_matrix_adjoint(
    const T* __restrict__ gt, const int* __restrict__ sources, T* __restrict__ gk, int rows, int columns, int channels,
    int taps)
{
    int e = int(blockIdx.x * blockDim.x + threadIdx.x);
    if (e >= channels * taps) return;
    int c = e % channels, u = e / channels;
    A sum = A(0);
    for (int i = 0; i < rows; i++) {
        int j = sources[u * rows + i];
        if (j < columns) sum += load(gt[((long long)i * columns + j) * channels + c]);
    }
    gk[c * taps + u] = store<T>(sum);
}

// Where each line of two matrices begins and ends: limits[2 line], limits[2 line + 1], a block a line.  The lines are
// the rows of the one and then of the other, or their columns.
extern "C" __global__ void __launch_bounds__(256, BLOCKS) band_limits(
    const T* __restrict__ t_h, const T* __restrict__ t_w, int* __restrict__ limits, bool by_column, int rows_h,
    int columns_h, int channels_h, int rows_w, int columns_w, int channels_w)
{
    __shared__ int first[BLOCK];
    __shared__ int end[BLOCK];
    int lines_h = by_column ? columns_h : rows_h, line = int(blockIdx.x);
    bool is_w = line >= lines_h;
    const T* t = is_w ? t_w : t_h;
    int rows = is_w ? rows_w : rows_h, columns = is_w ? columns_w : columns_h, channels = is_w ? channels_w : channels_h;
    int own = is_w ? line - lines_h : line, length = by_column ? rows : columns;
    int me = int(threadIdx.x), begins = length, ends = 0;
    for (int e = me; e < length * channels; e += int(blockDim.x)) {
        int at = e / channels, c = e % channels;
        long long element = by_column ? (long long)at * columns + own : (long long)own * columns + at;
        if (load(t[element * channels + c]) != A(0)) {  // NaN is not 0
            begins = min(begins, at);
            ends = max(ends, at + 1);
        }
    }
    first[me] = begins;
    end[me] = ends;
    __syncthreads();
    for (int half = BLOCK / 2; half > 0; half /= 2) {
        if (me < half) {
            first[me] = min(first[me], first[me + half]);
            end[me] = max(end[me], end[me + half]);
        }
        __syncthreads();
    }
    if (me == 0) {
        limits[2 * line] = first[0];
        limits[2 * line + 1] = end[0];
    }
}

// (8), (9): y[o, i, m, c] = Σ_j t[i, j, c] x[o, j, m, c], j from begin to end of line i.  t[i, j] is `row_step` i +
// `column_step` j elements from its start: exchange the steps, and it is the transposed matrix.
extern "C" __global__ void __launch_bounds__(256, BLOCKS) along_axis(
    const T* __restrict__ x, const T* __restrict__ t, const int* __restrict__ limits, T* __restrict__ y, int pixels,
    int first_line, int rows, int columns, int inner, int channels, int t_channels, int row_step, int column_step)
{
    int pixel = own_pixel();
    if (pixel >= pixels) return;
    int m = pixel % inner, i = pixel / inner % rows, o = pixel / inner / rows;
    int begin = limits[2 * (first_line + i)], end = limits[2 * (first_line + i) + 1];
    long long x_step = (long long)inner * channels, t_step = (long long)column_step * t_channels;
    const T* line = t + (long long)row_step * i * t_channels + begin * t_step;
    const T* from = x + ((long long)o * columns * inner + m) * channels + begin * x_step;
    for (int c = int(threadIdx.x); c < channels; c += int(blockDim.x)) {
        const T* value = from + c;
        const T* factor = line + (t_channels > 1 ? c : 0);
        A sum = A(0);
        for (int j = begin; j < end; j++, value += x_step, factor += t_step) sum += load(*factor) * load(*value);
        y[(long long)pixel * channels + c] = store<T>(sum);
    }
}

// (10): gt[i, j, c] = Σ_{o,m} gy[o, i, m, c] x[o, j, m, c], for j = sources[u, i] alone: block (i, tile of channels, u)
// adds up one product for each channel of its tile.  gy and x are read once for all channels; no second stage.
extern "C" __global__ void __launch_bounds__(256, BLOCKS) matrix_gradient(
    const T* __restrict__ gy, const T* __restrict__ x, const int* __restrict__ sources, T* __restrict__ gt, int outer,
    int rows, int columns, int inner, int channels)
{
    int i = int(blockIdx.x), u = int(blockIdx.z), c = int(blockIdx.y * blockDim.x + threadIdx.x);
    int j = sources[u * rows + i];
    if (j >= columns) return;  // nowhere; the whole block leaves
    for (int before = 0; before < u; before++)
        if (sources[before * rows + i] == j) return;  // another block computes this element
    A sum = A(0);
    int terms = outer * inner;
    for (int s = int(threadIdx.y); c < channels && s < terms; s += int(blockDim.y)) {
        int o = s / inner, m = s % inner;
        long long to = (((long long)o * rows + i) * inner + m) * channels + c;
        long long from = (((long long)o * columns + j) * inner + m) * channels + c;
        sum += load(gy[to]) * load(x[from]);
    }
    sum = column_sum(sum);
    if (c < channels && threadIdx.y == 0) gt[((long long)i * columns + j) * channels + c] = store<T>(sum);
}
