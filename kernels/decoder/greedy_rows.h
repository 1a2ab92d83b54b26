// Where each utterance stands, a copy in every block; and NeMo's rule, which moves it on. All blocks are given the same
// results and take the same decisions, in the same order.
#ifndef GREEDY_ROWS_H
#define GREEDY_ROWS_H
#include "greedy_peaks.h"
#include "greedy_fields.h" // what a Weight is comes from above
#define MOST_ROWS 128      // utterances of a launch
#define FEW_ROWS 4           // rows of a pass with one utterance, right after a token
#define KEPT_DURATIONS 64    // as many of the table are kept in shared memory; a longer one is read where it lies
#define WARPS 8 // most that a block has: 255 registers a thread, so that many loads are on their way at once
static_assert(ROWS == 8 || ROWS == 16, "a warp's 32 lanes share the 4 * ROWS sums of a pass");
static_assert(MOST_ROWS % 32 == 0 && MOST_ROWS >= ROWS, "lists are made by whole warps, a pass is not larger than a list");

// Columns of the state and of the joint. A kernel that is built for one model has them as constants: strides, and how
// often a loop goes round, are then known to the compiler.
#ifdef HIDDEN_SIZE
__device__ __forceinline__ constexpr int hidden(const Greedy &) { return HIDDEN_SIZE; }
__device__ __forceinline__ constexpr int joint_columns(const Greedy &) { return JOINT_SIZE; }
#else
__device__ __forceinline__ int hidden(const Greedy &a) { return a.hidden_size; }
__device__ __forceinline__ int joint_columns(const Greedy &a) { return a.joint_size; }
#endif

// How warps share R activation rows while these are put into shared memory: so many have a row together, and a lane has
// so many loads of four columns on their way at once (enough for 640 columns).
template <int R> struct Fill {
    static const int SHARE = R < WARPS ? WARPS / R : 1, AT_ONCE = SHARE == 1 ? 5 : SHARE == 2 ? 3 : 2;
};

struct Choice { int token, step, bad; float sum, power; };

struct Shared { // each block has its own, all hold the same
    int time[MOST_ROWS], stop[MOST_ROWS], last[MOST_ROWS], repeats[MOST_ROWS], label[MOST_ROWS]; // [B] clocks
    int parity[MOST_ROWS];        // [B] which half of hidden and cell holds the state before `label`
    int feeds[MOST_ROWS];         // [B] whether `label` is still to be fed
    int count[MOST_ROWS];         // [B] emissions
    int halted[MOST_ROWS];        // [B] status
    int fed[MOST_ROWS];           // [n_fed] rows of the next prediction, ascending; by warp 0
    int running[MOST_ROWS];       // [n_running] rows of the next joint, ascending; by warp 0
    int durations[KEPT_DURATIONS]; // constant
    int n_fed, n_running, window, first_halted; // by warp 0
    Choice chosen[MOST_ROWS];     // [n_running, window] by the warp that gathered it
    Verdict partial[WARPS][ROWS]; // by each warp; read by the thread of an entry
};

__device__ __forceinline__ int step_of(const Greedy &a, const Shared &s, int duration)
{
    return duration < KEPT_DURATIONS ? s.durations[duration] : a.durations[duration];
}
__device__ __forceinline__ int fed_row(const Shared &s, int place) { return place < s.n_fed ? s.fed[place] : -1; }

// Move a row on through the frames that were looked at, until it emits a token, leaves them, or ends. A blank moves by
// its duration, by one where that is 0; a token stands at the frame that was looked at, and too many at one frame force
// the clock on (NeMo's label looping).
__device__ __forceinline__ void walk(const Greedy &a, Shared &s, int place_of_row)
{
    const int row = s.running[place_of_row], base = s.time[row];
    s.feeds[row] = 0;
    for (int ahead = 0; ahead < s.window; ++ahead) {
        const Choice &choice = s.chosen[place_of_row * s.window + ahead];
        const int now = s.time[row];
        if (now >= s.stop[row])
            return;
        if (now != base + ahead)
            continue; // jumped over
        if (choice.bad || s.count[row] == a.capacity) {
            s.halted[row] = choice.bad ? NOT_FINITE : FULL;
            return;
        }
        const int step = choice.step;
        if (choice.token == a.blank) {
            s.time[row] = now + (step > 1 ? step : 1);
            continue;
        }
        s.repeats[row] = s.last[row] == now ? s.repeats[row] + 1 : 1;
        s.last[row] = now;
        s.time[row] = now + step + (step == 0 && a.max_symbols > 0 && s.repeats[row] >= a.max_symbols);
        s.label[row] = choice.token;
        s.parity[row] ^= 1; // the state after the label before is the one before this label
        s.feeds[row] = s.time[row] < s.stop[row];
        if (blockIdx.x == 0) {
            const long long at = (long long)row * a.capacity + s.count[row];
            a.tokens[3 * at] = choice.token, a.tokens[3 * at + 1] = now, a.tokens[3 * at + 2] = step;
            const float logprob = -logf(choice.sum);
            a.scores[2 * at] = logprob, a.scores[2 * at + 1] = choice.power * expf(ALPHA * logprob);
        }
        ++s.count[row];
        return;
    }
}

// How many frames the joint looks at: a pass's free rows look ahead. After a token blanks are few, and a small pass is
// cheaper; after a blank more may follow.
__device__ __forceinline__ int window_of(int n_fed, int n_running)
{
    if (n_running == 1 && n_fed == 1)
        return FEW_ROWS;
    return n_running > 0 && n_running <= ROWS / 2 ? ROWS / n_running : 1;
}

// List who runs and who is to be fed; by warp 0.
__device__ __forceinline__ void list(const Greedy &a, Shared &s)
{
    if (warp() == 0) {
        int n_fed = 0, n_running = 0, halted = -1;
        for (int base = 0; base < a.batch; base += 32) {
            const int row = base + lane();
            const bool runs = row < a.batch && s.time[row] < s.stop[row], feeds = runs && s.feeds[row];
            const unsigned run = __ballot_sync(EVERY, runs), feed = __ballot_sync(EVERY, feeds);
            const unsigned halt = __ballot_sync(EVERY, row < a.batch && s.halted[row]), before = (1u << lane()) - 1;
            if (runs)
                s.running[n_running + __popc(run & before)] = row;
            if (feeds)
                s.fed[n_fed + __popc(feed & before)] = row;
            n_running += __popc(run), n_fed += __popc(feed);
            halted = halted < 0 && halt ? base + __ffs(halt) - 1 : halted;
        }
        if (lane() == 0)
            s.n_running = n_running, s.n_fed = n_fed, s.first_halted = halted,
            s.window = window_of(n_fed, n_running);
    }
    __syncthreads();
}

__device__ __forceinline__ void begin(const Greedy &a, Shared &s)
{
    for (int row = threadIdx.x; row < a.batch; row += blockDim.x) {
        const int *const clock = a.clock + 4 * row;
        s.time[row] = clock[0], s.last[row] = clock[1], s.repeats[row] = clock[2], s.label[row] = clock[3];
        s.stop[row] = a.lengths[row], s.parity[row] = 0, s.feeds[row] = 1, s.count[row] = 0, s.halted[row] = DONE;
    }
    for (int duration = threadIdx.x; duration < a.duration_count && duration < KEPT_DURATIONS; duration += blockDim.x)
        s.durations[duration] = a.durations[duration];
    __syncthreads();
    list(a, s);
}

#endif
