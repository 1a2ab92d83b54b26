// fail: hang
// launch: 1 blocks of 32 threads, 16 words
#include "grid.h"

// A thread that waits for another of its own warp, without giving way.
extern "C" __global__ void endless(int *data, unsigned *)
{
    volatile int *const word = data;
    while (threadIdx.x == 0 && word[1] == 0) {}
    if (threadIdx.x == 1)
        word[1] = 1;
}
