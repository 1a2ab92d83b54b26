// The prediction network: LSTM layers and the joint's projection, for the rows whose label is to be fed.
#ifndef GREEDY_PREDICTOR_H
#define GREEDY_PREDICTOR_H
#include "greedy_shares.h"

__device__ __forceinline__ long long state_at(const Greedy &a, int parity, int layer, int row)
{
    return (((long long)parity * a.layers + layer) * a.batch + row) * hidden(a);
}

// Put what a layer reads for R rows of `fed` into shared memory: the layer below after the label, then (not for the
// projection, which is layer L here) its own state before it.
template <int R>
__device__ __forceinline__ void stage(const Greedy &a, const Shared &s, float4 *act, int stride, int from, int layer, int fours)
{
    const int AT_ONCE = Fill<R>::AT_ONCE, STEP = 32 * Fill<R>::SHARE, below = layer ? hidden(a) / 4 : 0;
    __syncthreads(); // slower warps may still read the pass before
    ROLLED for (int job = warp(); job < R * Fill<R>::SHARE; job += warps()) {
        const int r = job % R, row = fed_row(s, from + r), parity = row >= 0 ? s.parity[row] : 0;
        const float4 *const under = reinterpret_cast<const float4 *>(a.hidden + state_at(a, parity ^ 1, layer - 1, row));
        const float4 *const own = reinterpret_cast<const float4 *>(a.hidden + state_at(a, parity, layer, row)) - below;
        ROLLED for (int first = 32 * (job / R); first < fours; first += AT_ONCE * STEP) {
            float4 x[AT_ONCE];
            UNROLL for (int i = 0; i < AT_ONCE; ++i) {
                const int q = first + i * STEP + lane();
                x[i] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
                if (row >= 0 && q < fours)
                    x[i] = fresh((q < below ? under : own) + q);
            }
            UNROLL for (int i = 0; i < AT_ONCE; ++i) {
                const int q = first + i * STEP + lane();
                if (q < fours)
                    act[r * stride + place(q)] = x[i];
            }
        }
    }
    __syncthreads();
    lap(STAGE);
}

// What is added to a unit's gates, and its cell before, for this lane's rows.
template <int R> struct Terms { float added[Held<R>::EACH], cell[Held<R>::EACH]; };

template <int R, bool ABOVE>
__device__ __forceinline__ void ask(Terms<R> &terms, const Greedy &a, const Shared &s, int from, int layer, int unit)
{
    const int gate = lane() / 8;
    UNROLL for (int c = 0; c < Held<R>::EACH; ++c) {
        const int row = unit < hidden(a) ? fed_row(s, from + held_row<R>() + c) : -1;
        terms.added[c] = terms.cell[c] = 0.0f;
        if (row >= 0)
            terms.added[c] = ABOVE ? a.upper_bias[((layer - 1) * hidden(a) + unit) * 4 + gate]
                                   : a.table[((long long)s.label[row] * hidden(a) + unit) * 4 + gate];
        if (gate == 0 && row >= 0 && counts<R>())
            terms.cell[c] = a.cell[state_at(a, s.parity[row], layer, row) + unit];
    }
}

// The sums of a unit's four gates, each in a quarter of the warp, to its cell and its output.
template <int R>
__device__ __forceinline__ void gates(const Greedy &a, const Shared &s, const Terms<R> &terms, const float (&sum)[4 * R],
                                      int from, int layer, int unit)
{
    const int gate = lane() / 8, same = lane() % 8;
    UNROLL for (int c = 0; c < Held<R>::EACH; ++c) {
        const int row = fed_row(s, from + held_row<R>() + c);
        float x = sum[c] + terms.added[c];
        x = gate == 3 ? tanhf(x) : sigmoid(x);
        const float in = __shfl_sync(EVERY, x, same), out = __shfl_sync(EVERY, x, 8 + same);
        const float keep = __shfl_sync(EVERY, x, 16 + same), news = __shfl_sync(EVERY, x, 24 + same);
        if (gate == 0 && row >= 0 && counts<R>()) {
            const long long after = state_at(a, s.parity[row] ^ 1, layer, row) + unit;
            const float cell = keep * terms.cell[c] + in * news;
            a.cell[after] = cell;
            a.hidden[after] = out * tanhf(cell);
        }
    }
}

// One LSTM layer (the first, or one ABOVE it) for the rows in `fed`: from the state of their parity to the other one.
template <int R, bool ABOVE>
__device__ __forceinline__ void lstm(const Greedy &a, const Shared &s, float4 *act, int stride, int layer)
{
    Load *const held = held_weights(act, stride);
    const Share share = ABOVE ? upper_share(a, held, layer) : first_share(a, held);
    const int n_fed = uniform(s.n_fed);
    ROLLED for (int from = 0; from < n_fed; from += R) {
        int own = warp();
        Terms<R> terms; // asked for long before they are needed
        ask<R, ABOVE>(terms, a, s, from, layer, task_of(own));
        stage<R>(a, s, act, stride, from, layer, share.width / 4);
        ROLLED for (; task_of(own) < share.tasks; own += warps()) {
            float sum[4 * R];
            share_products<R>(share, own, act, stride, sum);
            gates<R>(a, s, terms, sum, from, layer, task_of(own));
            ask<R, ABOVE>(terms, a, s, from, layer, task_of(own + warps()));
        }
        lap(ABOVE ? LAYERS_ABOVE : LAYER_0);
    }
}

// The joint's projection of the top layer's output, for the rows in `fed`.
template <int R> __device__ __forceinline__ void project(const Greedy &a, const Shared &s, float4 *act, int stride)
{
    const Share share = predictor_share(a, held_weights(act, stride));
    const int n_fed = uniform(s.n_fed);
    ROLLED for (int from = 0; from < n_fed; from += R) {
        stage<R>(a, s, act, stride, from, a.layers, hidden(a) / 4);
        ROLLED for (int own = warp(); task_of(own) < share.tasks; own += warps()) {
            const int column = 4 * task_of(own) + lane() / 8;
            const float bias = a.predictor_bias[column];
            float sums[4 * R];
            share_products<R>(share, own, act, stride, sums);
            UNROLL for (int c = 0; c < Held<R>::EACH; ++c) {
                const int row = fed_row(s, from + held_row<R>() + c);
                if (row >= 0 && counts<R>())
                    a.prediction[row * joint_columns(a) + column] = sums[c] + bias;
            }
        }
        lap(PROJECTION);
    }
}

template <int R>
__device__ __forceinline__ void predict(const Greedy &a, const Shared &s, float4 *act, int stride, unsigned &round)
{
    lstm<R, false>(a, s, act, stride, 0);
    meet(a.barrier, round);
    ROLLED for (int layer = 1; layer < a.layers; ++layer) {
        lstm<R, true>(a, s, act, stride, layer);
        meet(a.barrier, round); // every layer's own
    }
    project<R>(a, s, act, stride);
    meet(a.barrier, round);
}

#endif
