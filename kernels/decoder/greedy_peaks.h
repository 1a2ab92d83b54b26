// The best of logits that come a few at a time, in any lane, warp or block: which, the first of equals, and the sums that
// its log-probability and its confidence need.
#ifndef GREEDY_PEAKS_H
#define GREEDY_PEAKS_H
#include "greedy_products.h"
#define ALPHA 0.33f // NeMo's order of the Tsallis entropy

struct Best { float value; int index; }; // -1 where there were none
// Of some logits: the best token and duration; over tokens, sums of exp(x - value) and of exp(ALPHA * (x - value)); how
// many are not finite.
struct Verdict { Best token, duration; float sum, power, bad; };

__device__ __forceinline__ Verdict nothing() { return {{0.0f, -1}, {0.0f, -1}, 0.0f, 0.0f, 0.0f}; }

__device__ __forceinline__ Best better(const Best &one, const Best &other)
{
    const bool larger = other.value > one.value || (other.value == one.value && other.index < one.index); // equals: the first
    return one.index < 0 || (other.index >= 0 && larger) ? other : one;
}
// What sums over the peak `from` are to be multiplied by where `to` is the peak.
__device__ __forceinline__ float rescaled(const Best &from, const Best &to, float alpha)
{
    return from.index < 0 ? 0.0f : expf(alpha * (from.value - to.value));
}
__device__ __forceinline__ void see_token(Verdict &v, float x, int index)
{
    const Best before = v.token;
    v.token = better(before, {x, index});
    v.sum = v.sum * rescaled(before, v.token, 1.0f) + expf(x - v.token.value);
    v.power = v.power * rescaled(before, v.token, ALPHA) + expf(ALPHA * (x - v.token.value));
}
__device__ __forceinline__ Best from_lane(const Best &best, int mask)
{
    return {__shfl_xor_sync(EVERY, best.value, mask), __shfl_xor_sync(EVERY, best.index, mask)};
}
// Merge what lanes have that differ in the bits FIRST to LAST of their number: peaks first, then sums, brought to the
// peak of all.
template <int FIRST, int LAST> __device__ __forceinline__ Verdict merged(const Verdict &own)
{
    Verdict all = own;
    UNROLL for (int mask = FIRST; mask <= LAST; mask *= 2) {
        all.token = better(all.token, from_lane(all.token, mask));
        all.duration = better(all.duration, from_lane(all.duration, mask));
    }
    all.sum *= rescaled(own.token, all.token, 1.0f);
    all.power *= rescaled(own.token, all.token, ALPHA);
    UNROLL for (int mask = FIRST; mask <= LAST; mask *= 2) {
        all.sum += __shfl_xor_sync(EVERY, all.sum, mask);
        all.power += __shfl_xor_sync(EVERY, all.power, mask);
        all.bad += __shfl_xor_sync(EVERY, all.bad, mask);
    }
    return all;
}

#endif
