// fail: out of bounds
// launch: 2 blocks of 32 threads, 63 words
#include "grid.h"

// One word too many.
extern "C" __global__ void stray_index(int *data, unsigned *)
{
    data[blockIdx.x * 32 + threadIdx.x] = 1;
}
