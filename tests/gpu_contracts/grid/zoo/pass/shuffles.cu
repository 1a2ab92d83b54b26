// pass
// launch: 2 blocks of 64 threads, 160 words
#include "grid.h"

// A warp's sum by exchange, a value from one lane, and a vote.
extern "C" __global__ void shuffles(int *data, unsigned *)
{
    const int lane = threadIdx.x % 32, place = blockIdx.x * 64 + threadIdx.x;
    int sum = lane;
    for (int mask = 16; mask > 0; mask /= 2)
        sum += __shfl_xor_sync(0xffffffffu, sum, mask);
    const int third = __shfl_sync(0xffffffffu, 10 * lane, 3);
    const int odd = __popc(__ballot_sync(0xffffffffu, lane % 2));
    data[place] = sum + 1000 * third + odd;
}
