// fail: race, tsan
// launch: 1 blocks of 64 threads, 64 words
#include "grid.h"

// Shared memory read by another warp with no __syncthreads between.
extern "C" __global__ void shared_race(int *data, unsigned *)
{
    __shared__ int slots[64];
    slots[threadIdx.x] = threadIdx.x;
    if (threadIdx.x < 32)
        data[threadIdx.x] = slots[threadIdx.x];
    __syncwarp();
    if (threadIdx.x >= 32)
        slots[threadIdx.x - 32] = 0;
}
