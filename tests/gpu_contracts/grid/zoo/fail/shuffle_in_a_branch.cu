// fail: deadlock
// launch: 1 blocks of 32 threads, 32 words
#include "grid.h"

// A shuffle of all lanes that half of them reach.
extern "C" __global__ void shuffle_in_a_branch(int *data, unsigned *)
{
    int value = threadIdx.x;
    if (threadIdx.x < 16)
        value += __shfl_xor_sync(0xffffffffu, value, 8);
    data[threadIdx.x] = value;
}
