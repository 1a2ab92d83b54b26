// pass
// launch: 3 blocks of 32 threads, 64 words
#include "grid.h"

// Two boards that take turns: a block may write the next round while another still reads this one.
extern "C" __global__ void two_boards(int *data, unsigned *counter)
{
    unsigned rounds = 0;
    int value = blockIdx.x + 1;
    for (int round = 0; round < 5; ++round) {
        int *const board = data + 3 * (round % 2);
        if (threadIdx.x == 0)
            board[blockIdx.x] = value;
        grid_barrier(counter, rounds);
        value = fresh(board + (blockIdx.x + 1) % gridDim.x) + 1;
    }
    if (threadIdx.x == 0)
        data[8 + blockIdx.x] = value;
}
