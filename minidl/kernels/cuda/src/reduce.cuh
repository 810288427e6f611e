// Sums over the threads of one block, always in the same order.
//
// The values are laid in shared memory, and the upper half is added to the lower until one is left:
//
//     0 1 2 3 4 5 6 7   →   0+4 1+5 2+6 3+7   →   (0+4)+(2+6) (1+5)+(3+7)   →   the sum
//
// __syncthreads() between two steps: no thread may read what another has not written yet.  Every thread of the block
// must come here, also those with nothing to add (they bring 0), or the barrier would wait for ever.
#pragma once

#define BLOCK 256  // threads of a block that reduces

// Σ value over the block (BLOCK threads, x fastest); every thread gets it.
template <class V> __device__ inline V block_sum(V value) {
    __shared__ V partial[BLOCK];
    int thread = int(threadIdx.y * blockDim.x + threadIdx.x);
    __syncthreads();  // an earlier sum may still be read
    partial[thread] = value;
    __syncthreads();
    for (int half = BLOCK / 2; half > 0; half /= 2) {
        if (thread < half) partial[thread] += partial[thread + half];
        __syncthreads();
    }
    return partial[0];
}

// The largest value of the block; every thread gets it.
template <class V> __device__ inline V block_max(V value) {
    __shared__ V largest[BLOCK];
    int thread = int(threadIdx.y * blockDim.x + threadIdx.x);
    __syncthreads();
    largest[thread] = value;
    __syncthreads();
    for (int half = BLOCK / 2; half > 0; half /= 2) {
        if (thread < half && largest[thread + half] > largest[thread]) largest[thread] = largest[thread + half];
        __syncthreads();
    }
    return largest[0];
}

// Σ value over threadIdx.y of a block of BLOCK threads, blockDim.y a power of two: one sum for each threadIdx.x.
template <class V> __device__ inline V column_sum(V value) {
    __shared__ V partial[BLOCK];
    int thread = int(threadIdx.y * blockDim.x + threadIdx.x);
    __syncthreads();
    partial[thread] = value;
    __syncthreads();
    for (int half = int(blockDim.y) / 2; half > 0; half /= 2) {
        if (int(threadIdx.y) < half) partial[thread] += partial[thread + half * int(blockDim.x)];
        __syncthreads();
    }
    return partial[threadIdx.x];
}
