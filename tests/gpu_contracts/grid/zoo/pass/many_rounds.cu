// pass
// launch: 4 blocks of 32 threads, 64 words
#include "grid.h"

// The barrier's counter keeps no number of rounds; a word goes round the ring, a block further in each.
extern "C" __global__ void many_rounds(int *data, unsigned *counter)
{
    unsigned rounds = 0;
    for (unsigned round = 0; round < 40; ++round) {
        if (threadIdx.x == 0 && round % gridDim.x == blockIdx.x)
            data[0] = fresh(data) + 1;
        grid_barrier(counter, rounds);
    }
}
