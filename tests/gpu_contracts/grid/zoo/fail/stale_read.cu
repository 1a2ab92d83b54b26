// fail: stale
// launch: 2 blocks of 32 threads, 64 words
#include "grid.h"

// Ordered by a barrier, but read through this block's own cache.
extern "C" __global__ void stale_read(int *data, unsigned *counter)
{
    unsigned rounds = 0;
    data[blockIdx.x * 32 + threadIdx.x] = 1;
    grid_barrier(counter, rounds);
    const int other = data[(1 - blockIdx.x) * 32 + threadIdx.x];
    grid_barrier(counter, rounds);
    data[blockIdx.x * 32 + threadIdx.x] = other;
}
