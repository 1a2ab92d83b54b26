// fail: hang
// launch: 2 blocks of 32 threads, 16 words
#include "grid.h"

// Waiting on a word by plain loads: nothing here gives way, nothing orders what follows.
extern "C" __global__ void plain_poll(int *data, unsigned *counter)
{
    if (threadIdx.x == 0) {
        atomicAdd(counter, 1u);
        const volatile unsigned *const word = counter;
        while (*word < gridDim.x)
            data[blockIdx.x] += 1;
    }
}
