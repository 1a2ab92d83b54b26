// fail: stale
// launch: 2 blocks of 32 threads, 64 words
#include "grid.h"

// Ordered by a barrier, but read through this block's own cache.
extern "C" __global__ void stale_read(int *data, unsigned *counter)
{
    data[blockIdx.x * 32 + threadIdx.x] = 1;
    grid_barrier(counter);
    const int other = data[(1 - blockIdx.x) * 32 + threadIdx.x];
    grid_barrier(counter);
    data[blockIdx.x * 32 + threadIdx.x] = other;
}
