// The best of logits that come a few at a time, in any lane, warp or block: which, the first of equals, and the sums that
// its log-probability and its confidence need.
#ifndef GREEDY_PEAKS_H
#define GREEDY_PEAKS_H
#include "greedy_products.h"
#define ALPHA 0.33f // NeMo's order of the Tsallis entropy

// Best of some logits, -1 where there were none; sums of exp(x - value) and of exp(ALPHA * (x - value)).
struct Peak { float value; int index; float sum, power; };
struct Verdict { Peak token, duration; float bad; }; // bad: not 0 where a logit is not finite

__device__ __forceinline__ void see(Peak &peak, float x, int index)
{
    if (peak.index < 0) {
        peak = {x, index, 1.0f, 1.0f};
    } else if (x > peak.value) { // of equals the first stays: a lane's rows ascend
        peak = {x, index, peak.sum * expf(peak.value - x) + 1.0f, peak.power * expf(ALPHA * (peak.value - x)) + 1.0f};
    } else {
        peak.sum += expf(x - peak.value);
        peak.power += expf(ALPHA * (x - peak.value));
    }
}
__device__ __forceinline__ Peak merged(const Peak &a, const Peak &b)
{
    if (a.index < 0 || b.index < 0)
        return a.index < 0 ? b : a;
    const bool second = b.value > a.value || (b.value == a.value && b.index < a.index);
    const float value = second ? b.value : a.value, of_a = a.value - value, of_b = b.value - value; // one of the two is 0
    return {value, second ? b.index : a.index, a.sum * expf(of_a) + b.sum * expf(of_b),
            a.power * expf(ALPHA * of_a) + b.power * expf(ALPHA * of_b)};
}
__device__ __forceinline__ Verdict merged(const Verdict &a, const Verdict &b)
{
    return {merged(a.token, b.token), merged(a.duration, b.duration), a.bad + b.bad};
}
__device__ __forceinline__ Peak from_lane(const Peak &peak, int mask)
{
    return {__shfl_xor_sync(EVERY, peak.value, mask), __shfl_xor_sync(EVERY, peak.index, mask),
            __shfl_xor_sync(EVERY, peak.sum, mask), __shfl_xor_sync(EVERY, peak.power, mask)};
}
__device__ __forceinline__ Verdict from_lane(const Verdict &v, int mask)
{
    return {from_lane(v.token, mask), from_lane(v.duration, mask), __shfl_xor_sync(EVERY, v.bad, mask)};
}
__device__ __forceinline__ Verdict nothing()
{
    return {{0.0f, -1, 0.0f, 0.0f}, {0.0f, -1, 0.0f, 0.0f}, 0.0f};
}

#endif
