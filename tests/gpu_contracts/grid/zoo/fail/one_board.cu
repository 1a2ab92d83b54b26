// fail: race
// launch: 3 blocks of 32 threads, 64 words
#include "grid.h"

// One board instead of two: a block writes its next value while another still reads this one's.
extern "C" __global__ void one_board(int *data, unsigned *counter)
{
    unsigned rounds = 0;
    int value = blockIdx.x + 1;
    for (int round = 0; round < 5; ++round) {
        if (threadIdx.x == 0)
            data[blockIdx.x] = value;
        grid_barrier(counter, rounds);
        if (threadIdx.x == 0)
            value = fresh(data + (blockIdx.x + 1) % gridDim.x) + 1;
    }
    if (threadIdx.x == 0)
        data[8 + blockIdx.x] = value;
}
