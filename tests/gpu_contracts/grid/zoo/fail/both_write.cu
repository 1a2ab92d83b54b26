// fail: race, tsan
// launch: 2 blocks of 32 threads, 16 words
#include "grid.h"

// Two blocks write one word, if only the same value.
extern "C" __global__ void both_write(int *data, unsigned *)
{
    if (threadIdx.x == 0)
        data[5] = 1;
}
