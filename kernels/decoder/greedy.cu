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
// the next frames too, which stand as long as the prediction does; a run of blanks then costs one evaluation. (A single
// utterance has a pass of 4 frames after a token, which is cheaper, and one of ROWS after a blank.)
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
// One utterance is bound by latency: a token is four stages, each a fill, a product and a barrier that wait for one
// another. Weights stay in shared memory as far as it goes (greedy_layout.kept), the prediction network's first; for what
// is left an H100's L2, twice 25 MB, has room, which it had not for all (29 % of reads hit). MEASURED on an H100 80GB HBM3
// at 1980 MHz, random frames, µs a token by tools/selftest/phases.py:
//                        float32     float16    (before weights stayed: 31.4, 21.1)
//     products                6.8         5.9
//     barriers                5.1         4.8
//     filling                 3.3         3.3    activations to shared memory
//     merging                 3.4         2.9    the best of lanes, warps and blocks
//     rule, start             1.2         1.1
//     altogether             19.8        18.0    8 utterances 4.5 and 4.4, 32 utterances 3.6 and 3.8
// What is left to read from L2 for a token, passes of 8 rows, MB; and µs a token: measured on the H100, for the others an
// ESTIMATE that was never measured: float16's 18 µs by their clocks (2.5 and 1.4 GHz), and the bytes at 3.5 and 4 TB/s:
//                        H100      RTX 4090      A100
//     float32        21.0  20      37.1  25     30.2  33
//     float16         0.0  18      15.3  18      9.4  27
// ROWS utterances in a pass cost the same bytes and ROWS times the arithmetic: 85 MFMA a token and 8 rows.
//
// Built with ROWS (8 or 16) and HALF_WEIGHTS (0 or 1), and for one model with HIDDEN_SIZE and JOINT_SIZE; the files that
// are included are handed to the compiler by name.
#include "greedy_joint.h"
#include "greedy_predictor.h"

// Hand back where each row stands: the state before its last label, which the next piece feeds.
__device__ __forceinline__ void end(const Greedy &a, const Shared &s, int barriers)
{
    for (int task = first_task(); task < a.layers * a.batch; task += all_tasks()) {
        const long long from = state_at(a, s.parity[task % a.batch], task / a.batch, task % a.batch);
        const long long to = (long long)task * hidden(a);
        for (int q = lane(); q < hidden(a) / 4; q += 32) {
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
    DYNAMIC_SHARED(float4, act); // [ROWS, stride] by all of the block, who read it; then the weights that are kept
    const int widest = a.layers > 1 ? 2 * hidden(a) : hidden(a);
    const int stride = (widest > joint_columns(a) ? widest : joint_columns(a)) / 4;
    int barriers = 0, turn = 0;
    unsigned round = 0;
    start_clocks();
    begin(a, s);
    keep_all(a, held_weights(act, stride));
    lap(BEGIN);
    while (uniform(s.n_running > 0 && s.first_halted < 0)) {
        const int n_fed = uniform(s.n_fed);
        if (n_fed == 1)
            predict<1>(a, s, act, stride, round);
        else if (n_fed > 1)
            predict<ROWS>(a, s, act, stride, round);
        // Two boards that take turns: a block may write its next line while another still gathers this one.
        float4 *const board = a.board + (long long)turn * gridDim.x * a.entries * 2;
        if (uniform(s.n_running * s.window) <= FEW_ROWS)
            joint<FEW_ROWS>(a, s, act, stride, board);
        else
            joint<ROWS>(a, s, act, stride, board);
        meet(a.barrier, round);
        barriers += 1 + (n_fed > 0 ? a.layers + 1 : 0), turn ^= 1;
        gather(a, s, board);
        for (int place_of_row = threadIdx.x; place_of_row < s.n_running; place_of_row += blockDim.x)
            walk(a, s, place_of_row);
        __syncthreads();
        list(a, s);
        lap(WALK);
    }
    end(a, s, barriers);
    hand_back_clocks(a.clocks);
}
