// fail: race, tsan
// launch: 2 blocks of 64 threads, 128 words
#include "grid.h"

// Thread 0 announces its block before the other warps have written: calm's barrier, four times of seven.
__device__ void early_barrier(unsigned *counter)
{
    if (threadIdx.x == 0) {
        __threadfence();
        atomicAdd(counter, 1u);
        while (poll(counter) < gridDim.x) {}
        __threadfence();
    }
    __syncthreads();
}
extern "C" __global__ void calm_barrier(int *data, unsigned *counter)
{
    data[blockIdx.x * 64 + threadIdx.x] = 1;
    early_barrier(counter);
    if (fresh(data + (1 - blockIdx.x) * 64 + 63) == 0)
        data[63] = 2;
}
