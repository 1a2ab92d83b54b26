// fail: race, tsan
// launch: 1 blocks of 32 threads, 64 words
#include "grid.h"

// Lanes of a warp that trust lockstep; a shuffle between orders no memory.
extern "C" __global__ void warp_race(int *data, unsigned *)
{
    __shared__ int slots[32];
    slots[threadIdx.x] = threadIdx.x;
    const int one = __shfl_xor_sync(0xffffffffu, 1, 1);
    data[threadIdx.x] = slots[threadIdx.x ^ one];
}
