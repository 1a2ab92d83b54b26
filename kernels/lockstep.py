"""The greedy TDT loop over a batch, whole in compiled code: label looping in lockstep, finished utterances dropped.

The rule is NeMo's (GreedyBatchedTDTLabelLoopingComputer): a blank of duration 0 counts as 1; a token stands at the frame
before the clock advances; `max_symbols` tokens at one frame force the clock on by one. Utterances advance independently;
each round evaluates the joint for all that are active, then the prediction network for those that emitted.
"""

from __future__ import annotations

from typing import Any

from .dense import dense
from .jit import inline, njit, whole_folder_cache
from .joint import choose_duration, choose_token, confidence, joint_logits
from .predictor import run_predictor
from .rows import add_relu
from .simd import address_of, ticks

# Places in the counters.
ROUNDS, EVALUATIONS, PREDICTOR_ROUNDS, PREDICTIONS, EMISSIONS = 0, 1, 2, 3, 4
JOINT_TICKS, PREDICTOR_TICKS, TOTAL_TICKS = 8, 9, 10
PROJECTION_NS, DECODING_NS = 11, 12  # filled by the caller
COUNTERS = 14
NOT_FINITE = 1


@inline
def _emit(
    mode: int, rule: Any, weights: Any, work: Any, state: Any, out: Any, u: int, row: int, token: int, duration: int,
    counters: Any,
) -> None:  # fmt: skip
    """Record a token at the frame before the clock advances, and advance it."""
    at, time = state.counts[u], state.times[u]
    logprob, entropy = confidence(mode, weights, work, row, token, rule.blank + 1, counters)
    out.tokens[u, at], out.frames[u, at], out.durations[u, at] = token, time, duration
    out.logprobs[u, at], out.entropies[u, at] = logprob, entropy
    state.counts[u] = at + 1
    state.repeats[u] = state.repeats[u] + 1 if state.last_times[u] == time else 1
    state.last_times[u] = time
    if duration == 0 and state.repeats[u] >= rule.max_symbols:
        duration = 1
    state.times[u] = time + duration
    state.labels[u] = token
    state.hidden[u] = state.next_hidden[u]
    state.cell[u] = state.next_cell[u]


@inline
def _advance(
    mode: int, rule: Any, weights: Any, work: Any, state: Any, out: Any, u: int, first: int, counters: Any
) -> int:
    """Walk utterance `u` through the rows evaluated for it, up to its next token.

    Returns
    -------
    int
        1 if it emitted, 0 if not, -1 where the numbers are not finite.
    """
    begin = state.times[u]
    end = min(begin + rule.window, state.stops[u])
    while state.times[u] < end:
        row = first + state.times[u] - begin
        token = choose_token(mode, weights, work, row, rule.blank, counters)
        index = choose_duration(work, row, len(rule.durations))
        if token < 0 or index < 0:
            return -1
        duration = rule.durations[index]
        if token != rule.blank:
            _emit(mode, rule, weights, work, state, out, u, row, token, duration, counters)
            return 1
        state.times[u] += max(duration, 1)
    return 0


@inline
def _gather_hidden(frames: Any, work: Any, state: Any, rule: Any, active: int) -> int:
    """Fill work.hidden with ReLU(frame + prediction) for the next frames of each active utterance."""
    m, width = 0, frames.shape[1]
    for i in range(active):
        u = work.rows[i]
        count = min(rule.window, state.stops[u] - state.times[u])
        for step in range(count):
            frame_at = address_of(frames, (state.starts[u] + state.times[u] + step) * width)
            add_relu(frame_at, address_of(state.projected, u * width), width, address_of(work.hidden, m * width))
            m += 1
    return m


@inline
def _round(
    isa: int, mode: int, rule: Any, weights: Any, work: Any, state: Any, out: Any, active: int, counters: Any
) -> int:
    """Move every active utterance on after the joint was evaluated; list those whose predictor must run.

    Returns the number listed in work.emitted, or -1.
    """
    emitted, first = 0, 0
    for i in range(active):
        u = work.rows[i]
        count = min(rule.window, state.stops[u] - state.times[u])
        result = _advance(mode, rule, weights, work, state, out, u, first, counters)
        if result < 0:
            return -1
        counters[EMISSIONS] += result
        first += count
        # The state to carry is the one before the last label: a finished utterance needs no further step.
        if result == 1 and state.times[u] < state.stops[u]:
            work.emitted[emitted] = u
            emitted += 1
    return emitted


@inline
def _compact(work: Any, state: Any, active: int) -> int:
    kept = 0
    for i in range(active):
        u = work.rows[i]
        if state.times[u] < state.stops[u]:
            work.rows[kept] = u
            kept += 1
    return kept


def _decode(
    isa: int,
    mode: int,
    quantized: bool,  # noqa: FBT001
    rule: Any,
    weights: Any,
    work: Any,
    frames: Any,
    utterances: Any,
    state: Any,
    out: Any,
    counters: Any,
) -> int:
    """Decode the listed utterances to their ends.

    Parameters
    ----------
    isa, mode : int
        Instruction set of the 8-bit products (`simd`), evaluation of the output layer (`joint`).
    quantized : bool
        Whether LSTM and projections are 8-bit.
    frames : ndarray [shape=(R, J16)], float32
        Projected encoder frames of all utterances.
    utterances : ndarray [shape=(n,)], int64
        Which utterances of `state` to decode.

    Returns
    -------
    int
        0, or NOT_FINITE.
    """
    started = ticks()
    active = len(utterances)
    work.rows[:active] = utterances
    active = _compact(work, state, active)
    counters[PREDICTIONS] += active
    counters[PREDICTOR_ROUNDS] += 1
    run_predictor(isa, quantized, weights, work, state, work.rows, active, counters)
    now = ticks()
    counters[PREDICTOR_TICKS] += now - started
    while active > 0:
        m = _gather_hidden(frames, work, state, rule, active)
        counters[ROUNDS] += 1
        counters[EVALUATIONS] += m
        joint_logits(isa, mode, weights, work, m)
        after = ticks()
        counters[JOINT_TICKS] += after - now
        emitted = _round(isa, mode, rule, weights, work, state, out, active, counters)
        if emitted < 0:
            return NOT_FINITE
        active = _compact(work, state, active)
        now = ticks()
        if emitted > 0:
            counters[PREDICTOR_ROUNDS] += 1
            counters[PREDICTIONS] += emitted
            run_predictor(isa, quantized, weights, work, state, work.emitted, emitted, counters)
            after, now = now, ticks()
            counters[PREDICTOR_TICKS] += now - after
    counters[TOTAL_TICKS] += ticks() - started
    return 0


decode = whole_folder_cache(njit(_decode))


def _project_frames(isa: int, quantized: bool, weights: Any, scratch: Any, frames: Any, out: Any) -> None:  # noqa: FBT001
    """Write encoder frames [R, D16] through the joint's encoder projection to `out` [R, J16], block by block."""
    block = scratch.levels.shape[0]
    total = frames.shape[0]
    for start in range(0, total, block):
        stop = min(start + block, total)
        for r in range(start, stop):
            out[r, :] = weights.encoder_bias
        dense(isa, quantized, weights.encoder, 0, frames[start:stop], stop - start, out[start:stop], scratch)


project_frames = whole_folder_cache(njit(_project_frames))
