// Batch normalisation; the equations are those of ops/norm.py.
//
// x is a matrix here, (rows, channels): a row for every pixel of every image.  What a channel needs (a mean, a sum)
// is a sum down a column.  It is taken in two stages, each in a fixed order, so that no two threads ever add to the
// same number:
//
//     stage 1    block (chunk, tile) adds up its chunk of the rows for its tile of the channels    partial[chunk, c]
//     stage 2    a few blocks add up the chunks                                                    total[c]
#include "common.cuh"
#include "reduce.cuh"

// The rows and the channel of a thread in stage 1, and in the maps from rows to rows.
struct Share {
    int channel, begin, end;
};

__device__ inline Share own_share(int rows, int rows_per_chunk) {
    Share own;
    own.channel = int(blockIdx.y * blockDim.x + threadIdx.x);
    int begin = int(blockIdx.x) * rows_per_chunk;
    own.begin = begin + int(threadIdx.y);
    own.end = min(begin + rows_per_chunk, rows);
    return own;
}

__device__ inline A rectified(A v, bool relu) { return relu && v <= A(0) ? A(0) : v; }  // NaN stays

// Stage 1 of (1), (2): a number m_b near the mean of chunk b (its mean, rounded), and what is left when it is taken
// away, e_b = Σ (x - m_b) and q_b = Σ (x - m_b)².  The second look at the chunk finds it in the cache.
extern "C" __global__ void __launch_bounds__(256, BLOCKS) chunk_moments(
    const T* __restrict__ x, A* __restrict__ near_mean, A* __restrict__ rest, A* __restrict__ squares, int rows,
    int channels, int rows_per_chunk)
{
    Share own = own_share(rows, rows_per_chunk);
    bool exists = own.channel < channels;  // the others come along to the barriers of the sums
    int count = min(rows_per_chunk, rows - int(blockIdx.x) * rows_per_chunk);
    A sum = A(0);
    for (int row = own.begin; exists && row < own.end; row += int(blockDim.y))
        sum += load(x[(long long)row * channels + own.channel]);
    A m = column_sum(sum) / A(count), e = A(0), q = A(0);
    for (int row = own.begin; exists && row < own.end; row += int(blockDim.y)) {
        A centred = load(x[(long long)row * channels + own.channel]) - m;
        e += centred;
        q += centred * centred;
    }
    e = column_sum(e);
    q = column_sum(q);
    if (exists && threadIdx.y == 0) {
        long long at = (long long)blockIdx.x * channels + own.channel;
        near_mean[at] = m;
        rest[at] = e;
        squares[at] = q;
    }
}

// Stage 2.  With n_b rows in chunk b, and x - μ = (x - m_b) + d_b, d_b = m_b - μ,
//
//     M μ = Σ n_b m_b + e_b,          M v = Σ (x - μ)² = Σ q_b + d_b (2 e_b + n_b d_b)
//
// exactly, whatever m_b is; so rounding m_b costs no digits, and neither does a mean that is large beside √v.  Then
// scale = γ r of (3), (4).
extern "C" __global__ void __launch_bounds__(256, BLOCKS) channel_moments(
    const A* __restrict__ near_mean, const A* __restrict__ rest, const A* __restrict__ squares,
    const A* __restrict__ weight, A* __restrict__ mean, A* __restrict__ variance, A* __restrict__ scale, int rows,
    int channels, int rows_per_chunk, int chunks, A eps)
{
    int c = int(blockIdx.x * blockDim.x + threadIdx.x);
    bool exists = c < channels;
    A sum = A(0);
    for (int b = int(threadIdx.y); exists && b < chunks; b += int(blockDim.y)) {
        long long at = (long long)b * channels + c;
        sum += A(min(rows_per_chunk, rows - b * rows_per_chunk)) * near_mean[at] + rest[at];
    }
    A mu = column_sum(sum) / A(rows), square = A(0);
    for (int b = int(threadIdx.y); exists && b < chunks; b += int(blockDim.y)) {
        long long at = (long long)b * channels + c;
        A n = A(min(rows_per_chunk, rows - b * rows_per_chunk)), d = near_mean[at] - mu;
        square += squares[at] + d * (2 * rest[at] + n * d);
    }
    A v = column_sum(square) / A(rows);
    if (exists && threadIdx.y == 0) {
        mean[c] = mu;                          // (1)
        variance[c] = v;                       // (2)
        scale[c] = weight[c] / root(v + eps);  // γ r
    }
}

// (4), (15): y = scale (x - mean) + shift, cut at 0 if `relu`.
extern "C" __global__ void __launch_bounds__(256, BLOCKS) channel_affine(
    const T* __restrict__ x, T* __restrict__ y, const A* __restrict__ mean, const A* __restrict__ scale,
    const A* __restrict__ shift, bool relu, int rows, int channels, int rows_per_chunk)
{
    Share own = own_share(rows, rows_per_chunk);
    if (own.channel >= channels) return;
    A mu = mean[own.channel], factor = scale[own.channel], offset = shift[own.channel];
    for (int row = own.begin; row < own.end; row += int(blockDim.y)) {
        long long at = (long long)row * channels + own.channel;
        y[at] = store<T>(rectified(factor * (load(x[at]) - mu) + offset, relu));
    }
}

// Stage 1 of (5), (6): Σ gy and Σ gy (x - μ) of each chunk; gy counts where y > 0 if a relu came after (15).
extern "C" __global__ void __launch_bounds__(256, BLOCKS) chunk_products(
    const T* __restrict__ gy, const T* __restrict__ x, const T* __restrict__ y, const A* __restrict__ mean,
    A* __restrict__ sums, A* __restrict__ products, bool relu, int rows, int channels, int rows_per_chunk)
{
    Share own = own_share(rows, rows_per_chunk);
    bool exists = own.channel < channels;
    A mu = exists ? mean[own.channel] : A(0), sum = A(0), product = A(0);
    for (int row = own.begin; exists && row < own.end; row += int(blockDim.y)) {
        long long at = (long long)row * channels + own.channel;
        if (relu && !(load(y[at]) > A(0))) continue;
        A g = load(gy[at]);
        sum += g;
        product += g * (load(x[at]) - mu);
    }
    sum = column_sum(sum);
    product = column_sum(product);
    if (exists && threadIdx.y == 0) {
        long long at = (long long)blockIdx.x * channels + own.channel;
        sums[at] = sum;
        products[at] = product;
    }
}

// Stage 2: gβ = Σ gy (5), and Σ gy (x - μ), or r times that, gγ (6).
extern "C" __global__ void __launch_bounds__(256, BLOCKS) channel_products(
    const A* __restrict__ sums, const A* __restrict__ products, const A* __restrict__ r, A* __restrict__ total,
    A* __restrict__ product, bool times_r, int channels, int chunks)
{
    int c = int(blockIdx.x * blockDim.x + threadIdx.x);
    bool exists = c < channels;
    A sum = A(0), with_x = A(0);
    for (int b = int(threadIdx.y); exists && b < chunks; b += int(blockDim.y)) {
        sum += sums[(long long)b * channels + c];
        with_x += products[(long long)b * channels + c];
    }
    sum = column_sum(sum);
    with_x = column_sum(with_x);
    if (exists && threadIdx.y == 0) {
        total[c] = sum;
        product[c] = times_r ? r[c] * with_x : with_x;
    }
}

// (7): gx = γ r [gy - gβ/M - (x - μ) r gγ/M]
extern "C" __global__ void __launch_bounds__(256, BLOCKS) batch_norm_gx(
    const T* __restrict__ gy, const T* __restrict__ x, const T* __restrict__ y, T* __restrict__ gx,
    const A* __restrict__ mean, const A* __restrict__ r, const A* __restrict__ weight, const A* __restrict__ gw,
    const A* __restrict__ gb, bool relu, int rows, int channels, int rows_per_chunk)
{
    Share own = own_share(rows, rows_per_chunk);
    if (own.channel >= channels) return;
    int c = own.channel;
    A mu = mean[c], factor = weight[c] * r[c], average = gb[c] / A(rows), slope = r[c] * gw[c] / A(rows);
    for (int row = own.begin; row < own.end; row += int(blockDim.y)) {
        long long at = (long long)row * channels + c;
        A g = relu && !(load(y[at]) > A(0)) ? A(0) : load(gy[at]);
        gx[at] = store<T>(factor * (g - average - (load(x[at]) - mu) * slope));
    }
}

// (3): r = 1 / √(v + ε), an element a channel.
extern "C" __global__ void __launch_bounds__(256, BLOCKS) inverse_root(
    const T* __restrict__ v, T* __restrict__ r, A eps, int channels)
{
    int c = int(blockIdx.x * blockDim.x + threadIdx.x);
    if (c < channels) r[c] = store<T>(A(1) / root(load(v[c]) + eps));
}

// (9), (10): z = a x + b y, an element a channel.
extern "C" __global__ void __launch_bounds__(256, BLOCKS) weighted_sum(
    const T* __restrict__ x, const T* __restrict__ y, T* __restrict__ z, A a, A b, int channels)
{
    int c = int(blockIdx.x * blockDim.x + threadIdx.x);
    if (c < channels) z[c] = store<T>(a * load(x[c]) + b * load(y[c]));
}
