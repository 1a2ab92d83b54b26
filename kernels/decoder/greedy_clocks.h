// Where the time of a launch goes: cycles by phase (greedy_fields.PHASES), as the first thread of a block sees them.
//
// Built with GREEDY_CLOCKS (tools/selftest/phases.py) only; otherwise all of this is nothing.
#ifndef GREEDY_CLOCKS_H
#define GREEDY_CLOCKS_H
#include "greedy_rows.h"

#ifdef GREEDY_CLOCKS
struct Laps { unsigned before, sum[PHASES]; }; // when the last phase ended; cycles
__device__ __forceinline__ Laps &laps()
{
    __shared__ Laps held; // the first thread's
    return held;
}
#endif

__device__ __forceinline__ void start_clocks()
{
#ifdef GREEDY_CLOCKS
    if (threadIdx.x == 0) {
        for (int phase = 0; phase < PHASES; ++phase)
            laps().sum[phase] = 0;
        laps().before = (unsigned)clock64();
    }
#endif
}

// What has passed since the last phase ended was this one.
__device__ __forceinline__ void lap(int phase)
{
#ifdef GREEDY_CLOCKS
    if (threadIdx.x == 0) {
        const unsigned now = (unsigned)clock64();
        laps().sum[phase] += now - laps().before;
        laps().before = now;
    }
#endif
    (void)phase;
}

// A barrier over the grid: waiting for this block's own warps is told from waiting for the others.
__device__ __forceinline__ void meet(unsigned *counter, unsigned &round)
{
#ifdef GREEDY_CLOCKS
    __syncthreads();
    lap(OWN_BLOCK);
#endif
    grid_barrier(counter, round);
    lap(BARRIER);
}

// The first block's and the last's.
__device__ __forceinline__ void hand_back_clocks(unsigned *clocks)
{
#ifdef GREEDY_CLOCKS
    if (threadIdx.x == 0)
        for (int phase = 0; phase < PHASES; ++phase) {
            if (blockIdx.x == 0)
                clocks[phase] = laps().sum[phase];
            if (blockIdx.x == gridDim.x - 1)
                clocks[PHASES + phase] = laps().sum[phase];
        }
#endif
    (void)clocks;
}

#endif
