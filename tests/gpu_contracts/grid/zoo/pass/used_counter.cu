// pass
// launch: 3 blocks of 32 threads, 16 words
#include "grid.h"

// A counter that an odd number of rounds has left at 2^31 serves as well as one that is zero.
extern "C" __global__ void used_counter(int *data, unsigned *counter)
{
    unsigned rounds = 0;
    for (int launch = 0; launch < 3; ++launch) {
        if (threadIdx.x == 0)
            data[blockIdx.x] = launch;
        grid_barrier(counter, rounds);
        if (threadIdx.x == 0 && blockIdx.x == 0)
            data[3 + launch] = fresh(data + 1) + fresh(data + 2);
        grid_barrier(counter, rounds);
        grid_barrier(counter, rounds);
    }
}
