// fail: race, tsan
// launch: 2 blocks of 64 threads, 128 words
#include "grid.h"

// Without the last __syncthreads the other warps read on while thread 0 still waits.
__device__ void open_barrier(unsigned *counter)
{
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        atomicAdd(counter, 1u);
        while (poll(counter) < gridDim.x) {}
        __threadfence();
    }
}
extern "C" __global__ void late_release(int *data, unsigned *counter)
{
    data[blockIdx.x * 64 + threadIdx.x] = 1;
    open_barrier(counter);
    const int seen = fresh(data + (1 - blockIdx.x) * 64 + threadIdx.x);
    __syncthreads();
    data[blockIdx.x * 64 + threadIdx.x] = seen;
}
