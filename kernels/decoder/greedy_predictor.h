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
    const int AT_ONCE = Pass<R>::AT_ONCE, below = layer ? hidden(a) / 4 : 0;
    __syncthreads(); // slower warps may still read the pass before
    ROLLED for (int first = threadIdx.x; first < R * fours; first += AT_ONCE * blockDim.x) {
        const float4 *source[AT_ONCE];
        float4 x[AT_ONCE];
        UNROLL for (int i = 0; i < AT_ONCE; ++i) {
            const int at = first + i * blockDim.x, r = R == 1 ? 0 : at / fours, q = at - r * fours;
            const int row = at < R * fours ? fed_row(s, from + r) : -1;
            source[i] = nullptr;
            if (row >= 0)
                source[i] = reinterpret_cast<const float4 *>(
                    q < below ? a.hidden + state_at(a, s.parity[row] ^ 1, layer - 1, row)
                              : a.hidden + state_at(a, s.parity[row], layer, row) - 4 * below) + q;
        }
        UNROLL for (int i = 0; i < AT_ONCE; ++i)
            x[i] = source[i] ? fresh(source[i]) : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        UNROLL for (int i = 0; i < AT_ONCE; ++i) {
            const int at = first + i * blockDim.x, r = R == 1 ? 0 : at / fours;
            if (at < R * fours)
                act[r * stride + place(at - r * fours)] = x[i];
        }
    }
    __syncthreads();
    lap(STAGE);
}

// One LSTM layer for the rows in `fed`: from the state of their parity to the other one.
template <int R> __device__ __forceinline__ void lstm(const Greedy &a, const Shared &s, float4 *act, int stride, int layer)
{
    const int EACH = Held<R>::EACH, width = layer ? 2 * hidden(a) : hidden(a);
    const int gate = lane() / 8, same = lane() % 8;
    const Share share = layer_share(a, held_weights(act, stride), layer);
    const int n_fed = uniform(s.n_fed);
    ROLLED for (int from = 0; from < n_fed; from += R) {
        stage<R>(a, s, act, stride, from, layer, width / 4);
        ROLLED for (int own = warp(); task_of(own) < share.tasks; own += warps()) {
            const int unit = task_of(own);
            float gates[4 * R], added[EACH], cell[EACH];
            UNROLL for (int c = 0; c < EACH; ++c) { // asked for now, needed when the products are there
                const int row = fed_row(s, from + held_row<R>() + c);
                added[c] = cell[c] = 0.0f;
                if (row >= 0)
                    added[c] = layer ? a.upper_bias[((layer - 1) * hidden(a) + unit) * 4 + gate]
                                     : a.table[((long long)s.label[row] * hidden(a) + unit) * 4 + gate];
                if (gate == 0 && row >= 0 && counts<R>())
                    cell[c] = a.cell[state_at(a, s.parity[row], layer, row) + unit];
            }
            share_products<R>(share, own, act, stride, gates);
            UNROLL for (int c = 0; c < EACH; ++c) {
                const int row = fed_row(s, from + held_row<R>() + c);
                float x = gates[c] + added[c];
                x = gate == 3 ? tanhf(x) : sigmoid(x);
                const float in = __shfl_sync(EVERY, x, same), out = __shfl_sync(EVERY, x, 8 + same);
                const float keep = __shfl_sync(EVERY, x, 16 + same), news = __shfl_sync(EVERY, x, 24 + same);
                if (gate == 0 && row >= 0 && counts<R>()) {
                    const long long after = state_at(a, s.parity[row] ^ 1, layer, row) + unit;
                    const float now = keep * cell[c] + in * news;
                    a.cell[after] = now;
                    a.hidden[after] = out * tanhf(now);
                }
            }
        }
        lap(layer ? LAYERS_ABOVE : LAYER_0);
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
    ROLLED for (int layer = 0; layer < a.layers; ++layer) {
        lstm<R>(a, s, act, stride, layer);
        meet(a.barrier, round);
    }
    project<R>(a, s, act, stride);
    meet(a.barrier, round);
}

#endif
