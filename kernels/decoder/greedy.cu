// Greedy TDT decoding of a whole batch in one cooperative launch: prediction network, joint, argmax, rule, emissions.
//
// Every block keeps a copy of all clocks and takes the same decisions from the same partial results, so that blocks
// exchange activations and best logits alone, at barriers over the grid, and the host is not asked until the end:
//
//     after a token   LSTM layer 0 | … | layer L - 1 | projection | joint        L + 2 barriers
//     after a blank                                                 joint        1 barrier
//
// A warp multiplies four weight rows (the four gates of a unit, or four logits) with ROWS activation rows at once, so a
// pass over the weights serves ROWS utterances. Where fewer run, the free rows look ahead: the joint is evaluated for
// the next frames too, which stand as long as the prediction does; a run of blanks then costs one evaluation.
// A row's numbers depend neither on the other rows nor on its place among them. Only the sums behind a log-probability
// are gathered in an order that depends on the grid.
//
// Arithmetic for parakeet-tdt-0.6b-v3 (L 2, H 640, J 640, 8193 tokens, 5 durations), bytes of weights that are read:
//                        float32     float16
//     layer 0            6.55 MB     3.28 MB
//     layer 1           13.11 MB     6.55 MB
//     projection         1.64 MB     0.82 MB
//     joint             21.00 MB    10.50 MB     also for a blank
//     a token           42.30 MB    21.15 MB     4 barriers; with 0.07 joints more a token for blanks that were not
//                                                looked ahead to (1.07 evaluations a token were counted at window 4)
// One utterance is bound by the bandwidth of the L2 cache, where the weights stay: 72 MB on an RTX 4090, 50 MB on an
// H100; of an A100's 40 MB float32 weights do not quite fit, float16 weights do. ESTIMATES, not measurements, taking
// 3.5, 5.5 and 4 TB/s from L2, 1.4 TB/s from an A100's memory for what L2 misses, and 1.2 µs a barrier; µs a token:
//                        RTX 4090    H100      A100
//     float32                  17      13     18 … 36
//     float16                  11       9      10
// ROWS utterances in a pass cost the same bytes and ROWS times the arithmetic: 85 MFMA a token and 8 rows.
//
// Built with ROWS (8 or 16) and HALF_WEIGHTS (0 or 1); the files included are handed to the compiler by name.
#include "greedy_clocks.h"
#include "greedy_peaks.h"
#include "greedy_products.h"
#include "greedy_rows.h"

__device__ __forceinline__ long long state_at(const Greedy &a, int parity, int layer, int row)
{
    return (((long long)parity * a.layers + layer) * a.batch + row) * a.hidden_size;
}

// --- prediction network --------------------------------------------------------------------------------------------------

// Put what a layer reads for R rows of `fed` into shared memory: the layer below after the label, then (not for the
// projection, which is layer L here) its own state before it.
template <int R>
__device__ __forceinline__ void stage(const Greedy &a, const Shared &s, float4 *act, int stride, int from, int layer, int fours)
{
    const int below = layer ? a.hidden_size / 4 : 0;
    __syncthreads(); // slower warps may still read the pass before
    for (int r = warp(); r < R; r += warps()) {
        const int row = fed_row(s, from + r);
        for (int q = lane(); q < fours; q += 32) {
            float4 x = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
            if (row >= 0) {
                const float *const source = q < below ? a.hidden + state_at(a, s.parity[row] ^ 1, layer - 1, row)
                                                      : a.hidden + state_at(a, s.parity[row], layer, row) - 4 * below;
                x = fresh(reinterpret_cast<const float4 *>(source) + q);
            }
            act[r * stride + place(q)] = x;
        }
    }
    __syncthreads();
    lap(STAGE);
}

// One LSTM layer for the rows in `fed`: from the state of their parity to the other one.
template <int R> __device__ __forceinline__ void lstm(const Greedy &a, const Shared &s, float4 *act, int stride, int layer)
{
    const int width = layer ? 2 * a.hidden_size : a.hidden_size;
    const Weight *const weights = layer ? a.upper + (long long)(layer - 1) * a.hidden_size * 4 * width : a.recurrent;
    for (int from = 0; from < s.n_fed; from += R) {
        stage<R>(a, s, act, stride, from, layer, width / 4);
        for (int unit = first_task(); unit < a.hidden_size; unit += all_tasks()) {
            float gates[4 * R];
            products<R>(weights + (long long)unit * 4 * width, width, act, stride, gates);
            UNROLL for (int c = 0; c < Held<R>::EACH; ++c) {
                const int gate = lane() / 8, same = lane() % 8, row = fed_row(s, from + held_row<R>() + c);
                float x = gates[c];
                if (row >= 0)
                    x += layer ? a.upper_bias[((layer - 1) * a.hidden_size + unit) * 4 + gate]
                               : a.table[((long long)s.label[row] * a.hidden_size + unit) * 4 + gate];
                x = gate == 3 ? tanhf(x) : sigmoid(x);
                const float in = __shfl_sync(EVERY, x, same), out = __shfl_sync(EVERY, x, 8 + same);
                const float keep = __shfl_sync(EVERY, x, 16 + same), news = __shfl_sync(EVERY, x, 24 + same);
                if (gate == 0 && row >= 0 && counts<R>()) {
                    const long long after = state_at(a, s.parity[row] ^ 1, layer, row) + unit;
                    const float cell = keep * a.cell[state_at(a, s.parity[row], layer, row) + unit] + in * news;
                    a.cell[after] = cell;
                    a.hidden[after] = out * tanhf(cell);
                }
            }
        }
        lap(layer ? LAYERS_ABOVE : LAYER_0);
    }
}

// The joint's projection of the top layer's output, for the rows in `fed`.
template <int R> __device__ __forceinline__ void project(const Greedy &a, const Shared &s, float4 *act, int stride)
{
    for (int from = 0; from < s.n_fed; from += R) {
        stage<R>(a, s, act, stride, from, a.layers, a.hidden_size / 4);
        for (int group = first_task(); group < a.joint_size / 4; group += all_tasks()) {
            float sums[4 * R];
            products<R>(a.predictor + (long long)group * 4 * a.hidden_size, a.hidden_size, act, stride, sums);
            const int column = 4 * group + lane() / 8;
            UNROLL for (int c = 0; c < Held<R>::EACH; ++c) {
                const int row = fed_row(s, from + held_row<R>() + c);
                if (row >= 0 && counts<R>())
                    a.prediction[row * a.joint_size + column] = sums[c] + a.predictor_bias[column];
            }
        }
        lap(PROJECTION);
    }
}

template <int R> __device__ __forceinline__ void predict(const Greedy &a, const Shared &s, float4 *act, int stride, unsigned &round)
{
    for (int layer = 0; layer < a.layers; ++layer) {
        lstm<R>(a, s, act, stride, layer);
        meet(a.barrier, round);
    }
    project<R>(a, s, act, stride);
    meet(a.barrier, round);
}

// --- joint -------------------------------------------------------------------------------------------------------------

// Put the joint's hidden activations of ROWS entries into shared memory: frame and prediction, added, through ReLU. The
// pass before has read its own when its warps met over their partial results.
__device__ __forceinline__ void activate(const Greedy &a, const Shared &s, float4 *act, int stride, int from)
{
    for (int r = warp(); r < ROWS; r += warps()) {
        const int entry = from + r, row = entry < s.n_running * s.window ? s.running[entry / s.window] : -1;
        const int frame = row >= 0 ? s.time[row] + entry % s.window : 0;
        const bool there = row >= 0 && frame < s.stop[row]; // an entry beyond the end is looked at by nobody
        for (int q = lane(); q < a.joint_size / 4; q += 32) {
            float4 x = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
            if (there) {
                const float *const given = a.projected + ((long long)row * a.frames + frame) * a.frame_width + 4 * q;
                const int left = a.frame_width - 4 * q;
                if (a.vectors && left > 0)
                    x = *reinterpret_cast<const float4 *>(given);
                else if (left > 0)
                    x = make_float4(given[0], left > 1 ? given[1] : 0.0f, left > 2 ? given[2] : 0.0f, left > 3 ? given[3] : 0.0f);
                const float4 p = fresh(reinterpret_cast<const float4 *>(a.prediction + row * a.joint_size) + q);
                x = make_float4(relu(x.x + p.x), relu(x.y + p.y), relu(x.z + p.z), relu(x.w + p.w));
            }
            act[r * stride + place(q)] = x;
        }
    }
    __syncthreads();
    lap(ACTIVATE);
}

// All logits of this block's share for the entries that run; the best of them to this turn's board.
__device__ __forceinline__ void joint(const Greedy &a, Shared &s, float4 *act, int stride, float4 *board)
{
    const int EACH = Held<ROWS>::EACH, entries = s.n_running * s.window;
    for (int from = 0; from < entries; from += ROWS) {
        activate(a, s, act, stride, from);
        Verdict mine[EACH];
        UNROLL for (int c = 0; c < EACH; ++c)
            mine[c] = nothing();
        for (int group = first_task(); group < (a.class_rows + a.duration_rows) / 4; group += all_tasks()) {
            float logits[4 * ROWS];
            products<ROWS>(a.output + (long long)group * 4 * a.joint_size, a.joint_size, act, stride, logits);
            const int logit = 4 * group + lane() / 8;
            const bool of_token = logit < a.class_rows;
            if (of_token ? logit >= a.classes : logit - a.class_rows >= a.duration_count)
                continue; // padding
            UNROLL for (int c = 0; c < EACH; ++c) {
                const float x = logits[c] + a.output_bias[logit];
                if (of_token)
                    see(mine[c].token, x, logit);
                else
                    see(mine[c].duration, x, logit - a.class_rows);
                mine[c].bad += x - x == 0.0f ? 0.0f : 1.0f;
            }
        }
        lap(JOINT);
        UNROLL for (int c = 0; c < EACH; ++c) {
            mine[c] = merged(mine[c], from_lane(mine[c], 8));
            mine[c] = merged(mine[c], from_lane(mine[c], 16));
            if (lane() < 8)
                s.partial[warp()][held_row<ROWS>() + c] = mine[c];
        }
        __syncthreads();
        const int entry = from + threadIdx.x;
        if (threadIdx.x < ROWS && entry < entries) {
            Verdict all = s.partial[0][threadIdx.x];
            for (int w = 1; w < warps(); ++w)
                all = merged(all, s.partial[w][threadIdx.x]);
            float4 *const line = board + 2 * ((long long)blockIdx.x * a.entries + entry);
            line[0] = make_float4(all.token.value, (float)all.token.index, all.token.sum, all.token.power);
            line[1] = make_float4(all.duration.value, (float)all.duration.index, all.bad, 0.0f);
        }
        lap(MERGE);
    }
}

// Gather the blocks' best of every entry, a warp an entry; each block does the same.
__device__ __forceinline__ void gather(const Greedy &a, Shared &s, const float4 *board)
{
    for (int entry = warp(); entry < s.n_running * s.window; entry += warps()) {
        Verdict all = nothing();
        for (int block = lane(); block < (int)gridDim.x; block += 32) {
            const float4 *const line = board + 2 * ((long long)block * a.entries + entry);
            const float4 token = fresh(line), rest = fresh(line + 1);
            all = merged(all, {{token.x, (int)token.y, token.z, token.w}, {rest.x, (int)rest.y, 0.0f, 0.0f}, rest.z});
        }
        UNROLL for (int mask = 16; mask > 0; mask /= 2)
            all = merged(all, from_lane(all, mask));
        if (lane() == 0)
            s.chosen[entry] = {all.token.index, all.duration.index, all.bad != 0.0f, -logf(all.token.sum),
                               all.token.power * expf(-ALPHA * logf(all.token.sum))};
    }
    __syncthreads();
}

// --- the loop ----------------------------------------------------------------------------------------------------------

// Hand back where each row stands: the state before its last label, which the next piece feeds.
__device__ __forceinline__ void end(const Greedy &a, const Shared &s, int barriers)
{
    for (int task = first_task(); task < a.layers * a.batch; task += all_tasks()) {
        const long long from = state_at(a, s.parity[task % a.batch], task / a.batch, task % a.batch);
        const long long to = (long long)task * a.hidden_size;
        for (int q = lane(); q < a.hidden_size / 4; q += 32) {
            reinterpret_cast<float4 *>(a.hidden_end + to)[q] = fresh(reinterpret_cast<const float4 *>(a.hidden + from) + q);
            reinterpret_cast<float4 *>(a.cell_end + to)[q] = fresh(reinterpret_cast<const float4 *>(a.cell + from) + q);
        }
    }
    if (blockIdx.x != 0)
        return;
    for (int row = threadIdx.x; row < a.batch; row += blockDim.x) {
        a.counts[row] = s.count[row];
        if (barriers == 0)
            continue; // nothing has moved, and another block may still be reading
        int *const clock = a.clock + 4 * row;
        clock[0] = s.time[row], clock[1] = s.last[row], clock[2] = s.repeats[row], clock[3] = s.label[row];
    }
    if (threadIdx.x == 0) {
        const int row = s.first_halted;
        a.report[0] = row < 0 ? DONE : s.halted[row], a.report[1] = row;
        a.report[2] = row < 0 ? 0 : s.time[row], a.report[3] = barriers;
    }
}

extern "C" __global__ void __launch_bounds__(WARPS * 32, 1) greedy(const __grid_constant__ Greedy a)
{
    __shared__ Shared s;
    DYNAMIC_SHARED(float4, act); // [ROWS, stride] by the warp of a row; all of the block read it
    const int widest = a.layers > 1 ? 2 * a.hidden_size : a.hidden_size;
    const int stride = (widest > a.joint_size ? widest : a.joint_size) / 4;
    int barriers = 0, turn = 0;
    unsigned round = 0;
    start_clocks();
    begin(a, s);
    lap(BEGIN);
    while (s.n_running > 0 && s.first_halted < 0) {
        if (s.n_fed == 1)
            predict<1>(a, s, act, stride, round);
        else if (s.n_fed > 1)
            predict<ROWS>(a, s, act, stride, round);
        // Two boards that take turns: a block may write its next line while another still gathers this one.
        float4 *const board = a.board + (long long)turn * gridDim.x * a.entries * 2;
        joint(a, s, act, stride, board);
        meet(a.barrier, round);
        barriers += 1 + (s.n_fed > 0 ? a.layers + 1 : 0), turn ^= 1;
        gather(a, s, board);
        lap(GATHER);
        for (int place_of_row = threadIdx.x; place_of_row < s.n_running; place_of_row += blockDim.x)
            walk(a, s, place_of_row);
        __syncthreads();
        list(a, s);
        lap(WALK);
    }
    end(a, s, barriers);
    hand_back_clocks(a.clocks);
}
