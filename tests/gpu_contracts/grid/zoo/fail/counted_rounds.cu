// fail: race, tsan
// launch: 2 blocks of 32 threads, 64 words
#include "grid.h"

// A goal that is not moved on: from the second round on nobody waits.
__device__ void tired_barrier(unsigned *counter)
{
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        atomicAdd(counter, 1u);
        while (poll(counter) < gridDim.x) {}
        __threadfence();
    }
    __syncthreads();
}
extern "C" __global__ void counted_rounds(int *data, unsigned *counter)
{
    for (int round = 0; round < 2; ++round) {
        data[blockIdx.x * 32 + threadIdx.x] = round;
        tired_barrier(counter);
        const int other = fresh(data + (1 - blockIdx.x) * 32 + threadIdx.x);
        tired_barrier(counter);
        data[blockIdx.x * 32 + threadIdx.x] = other;
    }
}
