// pass
// launch: 3 blocks of 64 threads, 96 words
#include "grid.h"

// Each block writes its words; after a barrier over the grid each reads its neighbour's.
extern "C" __global__ void neighbours(int *data, unsigned *counter)
{
    unsigned rounds = 0;
    const int own = blockIdx.x * 16 + threadIdx.x;
    if (threadIdx.x < 16)
        data[own] = 100 * blockIdx.x + threadIdx.x;
    grid_barrier(counter, rounds);
    if (threadIdx.x < 16) {
        const int other = (blockIdx.x + 1) % gridDim.x * 16 + threadIdx.x;
        data[48 + own] = fresh(data + other);
    }
}
