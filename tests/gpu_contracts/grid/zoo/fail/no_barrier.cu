// fail: race, tsan
// launch: 2 blocks of 32 threads, 64 words
#include "grid.h"

// A neighbour's words read with no barrier at all, and past this block's cache, which does not help.
extern "C" __global__ void no_barrier(int *data, unsigned *)
{
    data[blockIdx.x * 32 + threadIdx.x] = 1;
    const int other = fresh(data + (1 - blockIdx.x) * 32 + threadIdx.x);
    data[blockIdx.x * 32 + threadIdx.x] = 1 + (other & 0);
}
