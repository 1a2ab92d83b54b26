// fail: deadlock
// launch: 3 blocks of 32 threads, 16 words
#include "grid.h"

// A loop around the barrier that ends in one block before it ends in the others.
extern "C" __global__ void uneven_rounds(int *data, unsigned *counter)
{
    unsigned rounds = 0;
    for (unsigned round = 0; round < 3 - (blockIdx.x == 1); ++round)
        grid_barrier(counter, rounds);
    if (threadIdx.x == 0)
        data[blockIdx.x] = 1;
}
