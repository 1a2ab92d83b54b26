// A block's share of each stage's weights, and how much of it stays in shared memory for the whole launch.
//
// A task is four weight rows: the gates of a unit, or four columns of the projection, or four logits. Tasks are dealt to
// blocks first and to their warps then: a block's j-th is j * blocks + block, and its first few stay (greedy_layout.kept
// decides how many). The others come from L2 each time, which has room for the rest.
#ifndef GREEDY_SHARES_H
#define GREEDY_SHARES_H
#include "greedy_clocks.h"

struct Share {
    const Weight *rows; // [tasks, 4, width] in global memory; constant
    Load *held;         // [kept, 4, width] in shared memory; by all of the block before its first pass, then constant
    int tasks, width, kept;
};

__device__ __forceinline__ int task_loads(const Share &share) { return 4 * share.width / COLUMNS; }
__device__ __forceinline__ Load *behind(const Share &share) { return share.held + share.kept * task_loads(share); }
__device__ __forceinline__ int task_of(int own) { return own * gridDim.x + blockIdx.x; }

// Where what is kept begins: behind the activations of a pass.
__device__ __forceinline__ Load *held_weights(float4 *act, int stride)
{
    return reinterpret_cast<Load *>(act + ROWS * stride);
}
// Stages: LSTM layer 0, the layers above, the projection, the joint.
__device__ __forceinline__ Share first_share(const Greedy &a, Load *held)
{
    return {a.recurrent, held, hidden(a), hidden(a), a.kept_recurrent};
}
__device__ __forceinline__ Share upper_share(const Greedy &a, Load *held, int layer) // from 1 on
{
    Share share = {a.upper, behind(first_share(a, held)), hidden(a), 2 * hidden(a), a.kept_upper};
    share.rows += (long long)(layer - 1) * share.tasks * 4 * share.width;
    share.held += (layer - 1) * share.kept * task_loads(share);
    return share;
}
__device__ __forceinline__ Share predictor_share(const Greedy &a, Load *held)
{
    Load *const place = upper_share(a, held, a.layers).held; // where one more layer's would lie
    return {a.predictor, place, joint_columns(a) / 4, hidden(a), a.kept_predictor};
}
__device__ __forceinline__ Share output_share(const Greedy &a, Load *held)
{
    return {a.output, behind(predictor_share(a, held)), (a.class_rows + a.duration_rows) / 4, joint_columns(a), a.kept_output};
}

__device__ __forceinline__ void keep(const Share &share)
{
    const int AT_ONCE = 8, loads = task_loads(share), all = share.kept * loads;
    const Load *const rows = reinterpret_cast<const Load *>(share.rows);
    ROLLED for (int first = threadIdx.x; first < all; first += AT_ONCE * blockDim.x) {
        Load x[AT_ONCE];
        UNROLL for (int i = 0; i < AT_ONCE; ++i) {
            const int at = first + i * blockDim.x, task = task_of(at / loads);
            if (at < all && task < share.tasks)
                x[i] = streamed(rows + (long long)task * loads + at % loads);
        }
        UNROLL for (int i = 0; i < AT_ONCE; ++i) {
            const int at = first + i * blockDim.x;
            if (at < all && task_of(at / loads) < share.tasks)
                share.held[at] = x[i];
        }
    }
}

__device__ __forceinline__ void keep_all(const Greedy &a, Load *held)
{
    keep(first_share(a, held));
    ROLLED for (int layer = 1; layer < a.layers; ++layer)
        keep(upper_share(a, held, layer));
    keep(predictor_share(a, held));
    keep(output_share(a, held)); // the block meets before it reads: when activations are there
}

// The products of this block's task `own` with R activation rows; see products.
template <int R>
__device__ __forceinline__ void share_products(const Share &share, int own, const float4 *act, int stride, float (&sum)[4 * R])
{
    const int loads = task_loads(share);
    products<R>(reinterpret_cast<const Load *>(share.rows) + (long long)task_of(own) * loads, share.held + own * loads,
                own < share.kept, loads / 4, act, stride, sum);
}

#endif
