// fail: race
// launch: 2 blocks of 32 threads, 64 words
#include "grid.h"

// The announcement may be seen before what was written: no fence stands between.
extern "C" __global__ void no_fence_before(int *data, unsigned *counter)
{
    data[blockIdx.x * 32 + threadIdx.x] = 1;
    __syncthreads();
    if (threadIdx.x == 0) {
        atomicAdd(counter, 1u);
        while (poll(counter) < gridDim.x) {}
        __threadfence();
    }
    __syncthreads();
    if (fresh(data + (1 - blockIdx.x) * 32 + threadIdx.x) == 0)
        data[0] = 2;
}
