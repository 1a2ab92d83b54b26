// fail: deadlock
// launch: 4 blocks of 32 threads, 16 words
#include "grid.h"

// A barrier over the grid that half of the blocks reach.
extern "C" __global__ void half_the_blocks(int *data, unsigned *counter)
{
    unsigned rounds = 0;
    if (blockIdx.x % 2 == 0)
        grid_barrier(counter, rounds);
    if (threadIdx.x == 0)
        data[blockIdx.x] = 1;
}
