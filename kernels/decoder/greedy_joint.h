// The joint: logits of the entries that are looked at (a running row and a frame each), and the best of them all.
#ifndef GREEDY_JOINT_H
#define GREEDY_JOINT_H
#include "greedy_shares.h"

// Four columns of a frame from `given` on, of which `left` are there.
__device__ __forceinline__ float4 frame_columns(const Greedy &a, const float *given, int left)
{
    if (a.vectors && left > 0)
        return *reinterpret_cast<const float4 *>(given);
    return make_float4(left > 0 ? given[0] : 0.0f, left > 1 ? given[1] : 0.0f, left > 2 ? given[2] : 0.0f,
                       left > 3 ? given[3] : 0.0f);
}

// Put the joint's hidden activations of R entries into shared memory: frame and prediction, added, through ReLU. The
// pass before has read its own when its warps met over their partial results.
template <int R> __device__ __forceinline__ void activate(const Greedy &a, const Shared &s, float4 *act, int stride, int from)
{
    const int AT_ONCE = Fill<R>::AT_ONCE, STEP = 32 * Fill<R>::SHARE, fours = joint_columns(a) / 4;
    ROLLED for (int job = warp(); job < R * Fill<R>::SHARE; job += warps()) {
        const int r = job % R, entry = from + r, row = entry < s.n_running * s.window ? s.running[entry / s.window] : -1;
        const int frame = row >= 0 ? s.time[row] + entry % s.window : 0;
        const bool there = row >= 0 && frame < s.stop[row]; // an entry beyond the end is looked at by nobody
        const float *const given = a.projected + ((long long)row * a.frames + frame) * a.frame_width;
        const float4 *const predicted = reinterpret_cast<const float4 *>(a.prediction + row * joint_columns(a));
        ROLLED for (int first = 32 * (job / R); first < fours; first += AT_ONCE * STEP) {
            float4 x[AT_ONCE], p[AT_ONCE];
            UNROLL for (int i = 0; i < AT_ONCE; ++i) {
                const int q = first + i * STEP + lane();
                x[i] = p[i] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
                if (there && q < fours)
                    x[i] = frame_columns(a, given + 4 * q, a.frame_width - 4 * q), p[i] = fresh(predicted + q);
            }
            UNROLL for (int i = 0; i < AT_ONCE; ++i) {
                const int q = first + i * STEP + lane();
                if (q < fours)
                    act[r * stride + place(q)] = make_float4(relu(x[i].x + p[i].x), relu(x[i].y + p[i].y),
                                                             relu(x[i].z + p[i].z), relu(x[i].w + p[i].w));
            }
        }
    }
    __syncthreads();
    lap(ACTIVATE);
}

// Where the blocks put what they found for an entry, two float4 each.
__device__ __forceinline__ float4 *lines_of(float4 *board, int entry) { return board + 2 * (long long)entry * gridDim.x; }

// Merge what the block's warps found, a lane a warp, and put it on the board.
template <int R> __device__ __forceinline__ void post(const Shared &s, float4 *board, int from, int entries)
{
    const int AT_ONCE = 32 / WARPS; // entries of a warp
    ROLLED for (int first = AT_ONCE * warp(); first < R; first += AT_ONCE * warps()) {
        const int of = lane() % WARPS, entry = first + lane() / WARPS;
        Verdict all = nothing();
        if (of < warps())
            all = s.partial[of][entry];
        all = merged<1, WARPS / 2>(all);
        float4 *const line = lines_of(board, from + entry) + 2 * blockIdx.x;
        if (of == 0 && from + entry < entries) {
            line[0] = make_float4(all.token.value, (float)all.token.index, all.sum, all.power);
            line[1] = make_float4(all.duration.value, (float)all.duration.index, all.bad, 0.0f);
        }
    }
    lap(MERGE);
}

// All logits of this block's share for the entries that run; the best of them to this turn's board.
template <int R> __device__ __forceinline__ void joint(const Greedy &a, Shared &s, float4 *act, int stride, float4 *board)
{
    const int EACH = Held<R>::EACH, entries = uniform(s.n_running * s.window);
    const Share share = output_share(a, held_weights(act, stride));
    ROLLED for (int from = 0; from < entries; from += R) {
        activate<R>(a, s, act, stride, from);
        Verdict mine[EACH];
        UNROLL for (int c = 0; c < EACH; ++c)
            mine[c] = nothing();
        ROLLED for (int own = warp(); task_of(own) < share.tasks; own += warps()) {
            const int logit = 4 * task_of(own) + lane() / 8, duration = logit - a.class_rows;
            const float bias = a.output_bias[logit];
            float logits[4 * R];
            share_products<R>(share, own, act, stride, logits);
            if (duration < 0 ? logit >= a.classes : duration >= a.duration_count)
                continue; // padding
            UNROLL for (int c = 0; c < EACH; ++c) {
                const float x = logits[c] + bias;
                if (duration < 0)
                    see_token(mine[c], x, logit);
                else
                    mine[c].duration = better(mine[c].duration, {x, duration});
                mine[c].bad += x - x == 0.0f ? 0.0f : 1.0f;
            }
        }
        Verdict *const found = s.partial[warp()];
        UNROLL for (int c = 0; c < EACH; ++c) {
            mine[c] = merged<8, 16>(mine[c]);
            if (lane() < 8 && counts<R>())
                found[held_row<R>() + c] = mine[c];
        }
        lap(JOINT);
        __syncthreads();
        post<R>(s, board, from, entries);
    }
}

// Gather the blocks' best of every entry, a warp an entry; each block does the same.
__device__ __forceinline__ void gather(const Greedy &a, Shared &s, float4 *board)
{
    const int AT_ONCE = 5; // lines of a lane: 160 blocks at once
    const int entries = uniform(s.n_running * s.window);
    ROLLED for (int entry = warp(); entry < entries; entry += warps()) {
        const float4 *const lines = lines_of(board, entry);
        Verdict all = nothing();
        ROLLED for (int first = 0; first < (int)gridDim.x; first += 32 * AT_ONCE) {
            float4 token[AT_ONCE], rest[AT_ONCE];
            UNROLL for (int i = 0; i < AT_ONCE; ++i) {
                const int block = first + 32 * i + lane();
                token[i] = rest[i] = make_float4(0.0f, -1.0f, 0.0f, 0.0f);
                if (block < (int)gridDim.x)
                    token[i] = fresh(lines + 2 * block), rest[i] = fresh(lines + 2 * block + 1);
            }
            const Best before = all.token;
            UNROLL for (int i = 0; i < AT_ONCE; ++i) {
                all.token = better(all.token, {token[i].x, (int)token[i].y});
                all.duration = better(all.duration, {rest[i].x, (int)rest[i].y});
                all.bad += rest[i].z;
            }
            all.sum *= rescaled(before, all.token, 1.0f);
            all.power *= rescaled(before, all.token, ALPHA);
            UNROLL for (int i = 0; i < AT_ONCE; ++i) {
                const Best its = {token[i].x, (int)token[i].y};
                all.sum += token[i].z * rescaled(its, all.token, 1.0f);
                all.power += token[i].w * rescaled(its, all.token, ALPHA);
            }
        }
        all = merged<1, 16>(all);
        if (lane() == 0)
            s.chosen[entry] = {all.token.index, step_of(a, s, all.duration.index), all.bad != 0.0f, all.sum, all.power};
    }
    __syncthreads();
    lap(GATHER);
}

#endif
