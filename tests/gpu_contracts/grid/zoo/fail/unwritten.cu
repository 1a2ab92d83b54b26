// fail: unwritten
// launch: 1 blocks of 64 threads, 64 words
#include "grid.h"

// Shared memory read where nobody wrote.
extern "C" __global__ void unwritten(int *data, unsigned *)
{
    __shared__ int slots[65];
    slots[threadIdx.x] = threadIdx.x;
    __syncthreads();
    data[threadIdx.x] = slots[threadIdx.x + 1];
}
