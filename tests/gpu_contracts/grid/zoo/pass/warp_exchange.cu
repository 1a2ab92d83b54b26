// pass
// launch: 1 blocks of 64 threads, 64 words
#include "grid.h"

// Shared memory between the lanes of a warp: __syncwarp is enough, and is needed.
extern "C" __global__ void warp_exchange(int *data, unsigned *)
{
    __shared__ int slots[64];
    slots[threadIdx.x] = threadIdx.x;
    __syncwarp();
    data[threadIdx.x] = slots[threadIdx.x ^ 1];
}
