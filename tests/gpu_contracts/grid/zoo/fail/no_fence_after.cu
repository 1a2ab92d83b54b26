// fail: race
// launch: 2 blocks of 32 threads, 64 words
#include "grid.h"

// What follows the wait may be read before it: no fence stands between.
extern "C" __global__ void no_fence_after(int *data, unsigned *counter)
{
    data[blockIdx.x * 32 + threadIdx.x] = 1;
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        atomicAdd(counter, 1u);
        while (poll(counter) < gridDim.x) {}
    }
    __syncthreads();
    if (fresh(data + (1 - blockIdx.x) * 32 + threadIdx.x) == 0)
        data[0] = 2;
}
