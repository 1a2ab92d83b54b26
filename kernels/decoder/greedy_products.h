// How a warp multiplies: four weight rows with R activation rows, each sum left with the lanes that go on with it.
//
// Built with HALF_WEIGHTS (0 or 1). Weight rows are padded to whole loads of 16 bytes; activations are float32 in shared
// memory, products are summed in float32 whatever the weights are.
#ifndef GREEDY_PRODUCTS_H
#define GREEDY_PRODUCTS_H
#include "grid.h"

#if HALF_WEIGHTS
typedef unsigned short Weight;
typedef uint4 Load; // what is read of a weight row at once
#else
typedef float Weight;
typedef float4 Load;
#endif
#define COLUMNS (16 / (int)sizeof(Weight)) // of a weight row in one load
#define EVERY 0xffffffffu                  // lane of a warp
#ifdef GRID_HOST
#define UNROLL
#define ROLLED
#else
#define UNROLL _Pragma("unroll")
#define ROLLED _Pragma("unroll 1")
#endif

__device__ __forceinline__ int lane() { return threadIdx.x % 32; }
// A number that all lanes of the warp have: what branches and loops hang on it is then compiled as for a warp, without
// paths for lanes that went different ways. All lanes must ask together.
__device__ __forceinline__ int uniform(int number) { return __shfl_sync(EVERY, number, 0); }
__device__ __forceinline__ int warp() { return uniform(threadIdx.x / 32); }
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

// Add what the `at`-th load of four weight rows gives.
#if HALF_WEIGHTS
__device__ __forceinline__ float4 two_pairs(unsigned low, unsigned high)
{
    return make_float4(from_half((unsigned short)low), from_half((unsigned short)(low >> 16)),
                       from_half((unsigned short)high), from_half((unsigned short)(high >> 16)));
}
template <int R>
__device__ __forceinline__ void add_load(const Load (&raw)[4], const float4 *act, int stride, int at, float (&sum)[4 * R])
{
    float4 w[4];
    UNROLL for (int r = 0; r < 4; ++r)
        w[r] = two_pairs(raw[r].x, raw[r].y);
    add_products<R>(w, act, stride, 2 * at, sum);
    UNROLL for (int r = 0; r < 4; ++r)
        w[r] = two_pairs(raw[r].z, raw[r].w);
    add_products<R>(w, act, stride, 2 * at + 1, sum);
}
#else
template <int R>
__device__ __forceinline__ void add_load(const Load (&raw)[4], const float4 *act, int stride, int at, float (&sum)[4 * R])
{
    add_products<R>(raw, act, stride, at, sum);
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

// Loads of a weight row that are on their way at once: a warp waits for L2 once in so many, and 640 columns are five in
// float32, three in float16. As many as registers allow beside 4 * R sums; what is compiled for sm_120 needs more of them.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
template <int R> struct Depth { static const int OF = R > 4 || COLUMNS == 8 ? 1 : 2; };
#else
template <int R> struct Depth { static const int OF = R > 8 ? 2 : COLUMNS == 4 ? 5 : 3; };
#endif

// Four weight rows of `loads` loads each, one after the other, with R activation rows; sums over the warp are left as
// Held says. The rows lie in global memory, or in shared memory where they are `kept` there. `stride`: of an activation
// row, in fours.
template <int R>
__device__ __forceinline__ void products(const Load *rows, const Load *held, bool kept, int loads, const float4 *act,
                                         int stride, float (&sum)[4 * R])
{
    const int DEPTH = Depth<R>::OF;
    UNROLL for (int i = 0; i < 4 * R; ++i)
        sum[i] = 0.0f;
    ROLLED for (int first = 0; first < loads; first += 32 * DEPTH) {
        Load raw[DEPTH][4];
        if (kept)
            UNROLL for (int d = 0; d < DEPTH; ++d) {
                const int at = first + 32 * d + lane();
                if (at < loads)
                    UNROLL for (int r = 0; r < 4; ++r)
                        raw[d][r] = held[r * loads + at];
            }
        else
            UNROLL for (int d = 0; d < DEPTH; ++d) {
                const int at = first + 32 * d + lane();
                if (at < loads)
                    UNROLL for (int r = 0; r < 4; ++r)
                        raw[d][r] = streamed(rows + r * loads + at);
            }
        UNROLL for (int d = 0; d < DEPTH; ++d) {
            const int at = first + 32 * d + lane();
            if (at < loads)
                add_load<R>(raw[d], act, stride, at, sum);
        }
    }
    spread<4 * R, 16>(sum);
}

#endif
