// pass
// launch: 2 blocks of 128 threads, 16 words
#include "grid.h"

// Shared memory, static and dynamic, between barriers of a block.
extern "C" __global__ void block_sum(int *data, unsigned *)
{
    __shared__ int sums[128];
    DYNAMIC_SHARED(int, doubled);
    sums[threadIdx.x] = threadIdx.x;
    __syncthreads();
    for (int half = 64; half > 0; half /= 2) {
        if (threadIdx.x < (unsigned)half)
            sums[threadIdx.x] += sums[threadIdx.x + half];
        __syncthreads();
    }
    doubled[threadIdx.x] = 2 * sums[0];
    __syncthreads();
    if (threadIdx.x == 0)
        data[blockIdx.x] = doubled[127] + __syncthreads_or(0);
    else
        __syncthreads_or(threadIdx.x == 5);
}
