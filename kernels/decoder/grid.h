// What blocks that run at the same time need: a barrier over the grid, loads that bypass a block's own cache, streamed
// weights. All inline PTX of the project is here. No header is included: NVRTC is handed this file by name.
//
// For cooperative launches only: every block must be resident, or the barrier waits for ever.
#ifndef GRID_H
#define GRID_H

#ifndef GRID_HOST // the tests put twins of these in their place
// Add to a word: what this thread wrote or saw before, who acquires the sum sees too.
__device__ void add_released(unsigned *word, unsigned value)
{
    asm volatile("red.release.gpu.global.add.u32 [%0], %1;" : : "l"(word), "r"(value) : "memory");
}
// A word that other blocks change while this one looks; what they wrote before it is seen after it.
__device__ unsigned acquired(const unsigned *word)
{
    unsigned value;
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(word) : "memory");
    return value;
}
// Data that other blocks wrote before the last barrier: read where they meet (L2), not in this multiprocessor's cache.
__device__ float4 fresh(const float4 *data)
{
    float4 v;
    asm volatile("ld.global.cg.v4.f32 {%0, %1, %2, %3}, [%4];" : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w) : "l"(data) : "memory");
    return v;
}
__device__ int fresh(const int *data)
{
    int v;
    asm volatile("ld.global.cg.s32 %0, [%1];" : "=r"(v) : "l"(data) : "memory");
    return v;
}
// Weights: never written while the kernel runs, read once a step, so they need not push others out of the cache.
__device__ float4 streamed(const float4 *data)
{
    float4 v;
    asm("ld.global.nc.L1::no_allocate.v4.f32 {%0, %1, %2, %3}, [%4];" : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w) : "l"(data));
    return v;
}
__device__ uint4 streamed(const uint4 *data)
{
    uint4 v;
    asm("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(data));
    return v;
}
__device__ float from_half(unsigned short bits)
{
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}
#define DYNAMIC_SHARED(type, name) extern __shared__ type name[]
#endif

// Wait until every thread of every block is here; what each wrote before, all read after.
//
// The counter is zero at launch. Block 0 adds what makes the sum over the grid 2^31, so that each round flips the top bit
// and leaves the rest as it was: nothing overflows. `round` is the caller's, 0 at first: the top bit that its rounds have
// made, so that nobody has to read the counter before adding to it. The first __syncthreads is what lets one thread speak
// for its block (its other warps may not have written yet): what the block wrote comes before thread 0's release, what it
// reads after thread 0's acquire, and the last __syncthreads holds it back meanwhile.
__device__ void grid_barrier(unsigned *counter, unsigned &round)
{
    __syncthreads();
    round ^= 0x80000000u;
    if (threadIdx.x == 0) {
        const unsigned share = blockIdx.x == 0 ? 0x80000000u - (gridDim.x - 1) : 1u;
        add_released(counter, share);
        while (((acquired(counter) ^ round) & 0x80000000u) != 0) {}
    }
    __syncthreads();
}

#endif
