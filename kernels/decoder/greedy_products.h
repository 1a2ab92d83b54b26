// How a warp multiplies: four weight rows with R activation rows, each sum left with the lanes that go on with it.
//
// Built with HALF_WEIGHTS (0 or 1). Weight rows are padded to whole loads of 16 bytes; activations are float32 in shared
// memory, products are summed in float32 whatever the weights are.
#ifndef GREEDY_PRODUCTS_H
#define GREEDY_PRODUCTS_H
#include "grid.h"

#if HALF_WEIGHTS
typedef unsigned short Weight;
#else
typedef float Weight;
#endif
#define COLUMNS (16 / (int)sizeof(Weight)) // of a weight row in one load
#define EVERY 0xffffffffu                  // lane of a warp
#ifdef GRID_HOST
#define UNROLL
#else
#define UNROLL _Pragma("unroll")
#endif

__device__ __forceinline__ int lane() { return threadIdx.x % 32; }
__device__ __forceinline__ int warp() { return threadIdx.x / 32; }
__device__ __forceinline__ int warps() { return blockDim.x / 32; }
// Work is dealt to blocks first and to their warps then: however little there is, every multiprocessor has a share.
__device__ __forceinline__ int first_task() { return warp() * gridDim.x + blockIdx.x; }
__device__ __forceinline__ int all_tasks() { return warps() * gridDim.x; }
// Where the q-th four columns lie in shared memory: lanes that read every second four meet no bank twice.
__device__ __forceinline__ int place(int q) { return q ^ (q >> 3 & 1); }
__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }
__device__ __forceinline__ float relu(float x) { return x > 0.0f ? x : x == x ? 0.0f : x; } // lets NaN through

// After a product, lane l holds the sums of weight row l / 8 and of EACH activation rows from held_row on; with R below 8
// some lanes hold the same one, and the first of them counts.
template <int R> struct Held { static const int EACH = R < 8 ? 1 : R / 8, SAME = R < 8 ? 8 / R : 1; };
template <int R> __device__ __forceinline__ int held_row() { return lane() % 8 / Held<R>::SAME * Held<R>::EACH; }
template <int R> __device__ __forceinline__ bool counts() { return lane() % 8 % Held<R>::SAME == 0; }

template <int R>
__device__ __forceinline__ void add_products(const float4 (&w)[4], const float4 *act, int stride, int q, float (&sum)[4 * R])
{
    UNROLL for (int b = 0; b < R; ++b) {
        const float4 x = act[b * stride + place(q)];
        UNROLL for (int r = 0; r < 4; ++r) {
            float &s = sum[r * R + b];
            s += w[r].x * x.x;
            s += w[r].y * x.y;
            s += w[r].z * x.z;
            s += w[r].w * x.w;
        }
    }
}

#if HALF_WEIGHTS
__device__ __forceinline__ float4 two_pairs(unsigned low, unsigned high)
{
    return make_float4(from_half((unsigned short)low), from_half((unsigned short)(low >> 16)),
                       from_half((unsigned short)high), from_half((unsigned short)(high >> 16)));
}
#endif

// Add up over the warp: each exchange halves what a lane holds, until one sum or two are left; then the lanes that hold
// the same one add up. A recursion, so that every index is known when it is compiled and the sums stay in registers.
template <int HELD, int MASK, int N> __device__ __forceinline__ void spread(float (&sum)[N])
{
    if constexpr (MASK > 0) {
        const bool upper = lane() & MASK;
        UNROLL for (int i = 0; i < HELD / 2; ++i) {
            const float given = upper ? sum[i] : sum[i + HELD / 2], kept = upper ? sum[i + HELD / 2] : sum[i];
            sum[i] = kept + __shfl_xor_sync(EVERY, given, MASK);
        }
        if constexpr (HELD == 1)
            sum[0] += __shfl_xor_sync(EVERY, sum[0], MASK);
        spread<(HELD > 1 ? HELD / 2 : 1), MASK / 2>(sum);
    }
}

// Four weight rows of `width` columns each, one after the other, with R activation rows; sums over the warp are left
// as Held says. `stride`: of an activation row, in fours.
template <int R>
__device__ __forceinline__ void products(const Weight *rows, int width, const float4 *act, int stride, float (&sum)[4 * R])
{
    UNROLL for (int i = 0; i < 4 * R; ++i)
        sum[i] = 0.0f;
    for (int k = lane() * COLUMNS; k < width; k += 32 * COLUMNS) {
        float4 w[4];
#if HALF_WEIGHTS
        uint4 raw[4];
        UNROLL for (int r = 0; r < 4; ++r)
            raw[r] = streamed(reinterpret_cast<const uint4 *>(rows + r * width + k));
        UNROLL for (int r = 0; r < 4; ++r)
            w[r] = two_pairs(raw[r].x, raw[r].y);
        add_products<R>(w, act, stride, k / 4, sum);
        UNROLL for (int r = 0; r < 4; ++r)
            w[r] = two_pairs(raw[r].z, raw[r].w);
        add_products<R>(w, act, stride, k / 4 + 1, sum);
#else
        UNROLL for (int r = 0; r < 4; ++r)
            w[r] = streamed(reinterpret_cast<const float4 *>(rows + r * width + k));
        add_products<R>(w, act, stride, k / 4, sum);
#endif
    }
    spread<4 * R, 16>(sum);
}

#endif
