// pass
// launch: 2 blocks of 64 threads, 64 words
#include "grid.h"

// One block tells the other: written, fenced, announced; polled, fenced, read.
extern "C" __global__ void announced(int *data, unsigned *counter)
{
    if (blockIdx.x == 0 && threadIdx.x < 32)
        data[threadIdx.x] = 7;
    __syncthreads();
    if (blockIdx.x == 0 && threadIdx.x == 0) {
        __threadfence();
        atomicAdd(counter, 1u);
    }
    if (blockIdx.x == 1 && threadIdx.x == 0) {
        while (poll(counter) == 0) {}
        __threadfence();
        data[40] = fresh(data + 3);
    }
}
