// CUDA's model on the host with every block resident: a kernel's source compiles behind this header with g++.
//
// A CUDA thread is a fibre; a warp's lanes meet at shuffles, a block's threads at __syncthreads. Fibres change only
// there, and at atomics, polls and fresh loads; plain accesses between are not interleaved, and need not be: a checked
// run (grid_check.cpp) reports every pair of them that no barrier, and no fence with an atomic, puts in order.
// Not modelled: words torn in two, caches (a plain load sees the latest value; that it might not is what the order of
// accesses is checked for), the scopes of fences, more than 32 lanes in lockstep, time.
#pragma once
#define GRID_HOST
#include "grid_machine.h"
#include <cmath>
#include <cstring>
#include <utility>

#define __global__
#define __device__ static
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__
#ifdef GRID_THREADS
#define __shared__ static thread_local
#define GRID_SHARED nullptr, nullptr
#else // one OS thread: the machine exchanges the section's bytes when it changes blocks
#define __shared__ static __attribute__((section("grid_shared")))
extern "C" char __start_grid_shared[] __attribute__((weak)), __stop_grid_shared[] __attribute__((weak));
#define GRID_SHARED __start_grid_shared, __stop_grid_shared
#endif
#ifdef GRID_CHECK // the words themselves are told to the checker, their own accesses are not
#define GRID_WORD static __attribute__((noinline, unused, no_sanitize_thread))
#else
#define GRID_WORD static __attribute__((noinline, unused))
#endif
#define GRID_HERE __builtin_return_address(0)

#define blockIdx grid::block_index
#define threadIdx grid::thread_index
#define blockDim grid::block_size
#define gridDim grid::grid_size

struct alignas(16) float4 { float x, y, z, w; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

GRID_WORD void __syncthreads() { grid::block_barrier(GRID_HERE); }
GRID_WORD int __syncthreads_or(int given) { return grid::block_any(given, GRID_HERE); }
GRID_WORD void __syncwarp(unsigned = 0xffffffffu) { grid::warp_barrier(GRID_HERE); }
GRID_WORD void __threadfence() { grid::fence(); }
GRID_WORD unsigned atomicAdd(unsigned *word, unsigned value) { return grid::atomic_add(word, value, GRID_HERE); }
GRID_WORD long long clock64()
{
    static thread_local long long calls;
    return ++calls; // time is not modelled; that it goes on is
}
GRID_WORD int __popc(unsigned bits) { return __builtin_popcount(bits); }
GRID_WORD int __ffs(unsigned bits) { return __builtin_ffs(int(bits)); }

template <typename T> GRID_WORD T grid_from_lane(T value, unsigned lane, const void *at)
{
    std::uint32_t bits;
    static_assert(sizeof(T) == 4, "shuffles are of 32 bits");
    memcpy(&bits, &value, 4);
    const std::uint32_t got = grid::gather(bits, at)[lane % 32];
    memcpy(&value, &got, 4);
    return value;
}
template <typename T> GRID_WORD T __shfl_xor_sync(unsigned, T value, int mask)
{
    return grid_from_lane(value, (grid::thread_index.x % 32) ^ unsigned(mask), GRID_HERE);
}
template <typename T> GRID_WORD T __shfl_sync(unsigned, T value, int lane)
{
    return grid_from_lane(value, unsigned(lane), GRID_HERE);
}
GRID_WORD unsigned __ballot_sync(unsigned, int given)
{
    const std::uint32_t *all = grid::gather(given != 0, GRID_HERE);
    unsigned bits = 0;
    for (unsigned lane = 0; lane < 32; ++lane)
        bits |= (all[lane] & 1u) << lane;
    return bits;
}

// A look that orders nothing: kernels of the zoo, and breaks, use it.
GRID_WORD unsigned poll(const unsigned *word) { return grid::poll(word, GRID_HERE); }
// The twins of what grid.h writes in PTX.
GRID_WORD void add_released(unsigned *word, unsigned value)
{
    grid::fence();
    grid::atomic_add(word, value, GRID_HERE);
}
GRID_WORD unsigned acquired(const unsigned *word)
{
    const unsigned value = grid::poll(word, GRID_HERE);
    grid::fence();
    return value;
}
template <typename T> GRID_WORD T fresh(const T *data)
{
    grid::fresh(data, sizeof(T), GRID_HERE);
    return *data;
}
template <typename T> GRID_WORD T streamed(const T *data)
{
    grid::constant(data, sizeof(T), GRID_HERE);
    return *data;
}
static inline float from_half(unsigned short bits)
{
    const unsigned sign = (bits & 0x8000u) << 16, exponent = bits >> 10 & 31u, fraction = bits & 1023u;
    if (exponent == 0) // zero and what is below the normal numbers: fraction * 2^-24
        return (sign ? -1.0f : 1.0f) * float(fraction) * 5.9604644775390625e-8f;
    const unsigned out = sign | (exponent == 31 ? 255u : exponent + 112u) << 23 | fraction << 13;
    float value;
    memcpy(&value, &out, 4);
    return value;
}
#define DYNAMIC_SHARED(type, name) type *const name = reinterpret_cast<type *>(grid::dynamic_shared())

namespace grid {
template <typename... A, std::size_t... I>
GRID_WORD void unpack(void (*kernel)(A...), void **arguments, std::index_sequence<I...>)
{
    kernel(*static_cast<A *>(arguments[I])...);
}
template <typename... A> GRID_WORD void unpack(void (*kernel)(A...), void **arguments)
{
    unpack(kernel, arguments, std::index_sequence_for<A...>());
}
} // namespace grid

#define GRID_KERNEL(name)                                                                                              \
    static const grid::Kernel grid_kernel_##name(#name, [](void **arguments) { grid::unpack(name, arguments); },      \
                                                 GRID_SHARED);
