// fail: deadlock
// launch: 2 blocks of 64 threads, 16 words
#include "grid.h"

// A barrier over the grid that half of each block's threads reach.
extern "C" __global__ void half_the_threads(int *data, unsigned *counter)
{
    unsigned rounds = 0;
    if (threadIdx.x < 32)
        grid_barrier(counter, rounds);
    if (threadIdx.x == 0)
        data[blockIdx.x] = 1;
}
