"""The greedy TDT rule as NeMo's label looping has it: what one evaluation of the joint means for an utterance's clock.

Source: `GreedyBatchedTDTLabelLoopingComputer` in NeMo, tdt_label_looping.py. No model is needed to run or test it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..vector.jit import inline, njit

# Columns of the clock table, one row an utterance.
TIME, LENGTH, LAST_TIME, REPEATS, COUNT, LABEL = 0, 1, 2, 3, 4, 5
CLOCK_COLUMNS = 6
# Columns of the scores of one evaluation.
LOGPROB, POWER_SUM, MAGNITUDE = 0, 1, 2
SCORE_COLUMNS = 3


@inline
def advance(token: int, step: int, blank: int, max_symbols: int, time: int, last_time: int, repeats: int) -> Any:
    """Return an utterance's clock after one evaluation of the joint.

    Parameters
    ----------
    token : int
        Best token of the token slice.
    step : int
        Encoder frames that the duration table holds for the best duration.
    blank : int
    max_symbols : int
        Tokens allowed at one frame before the clock is forced on; 0 or less for no limit.
    time : int
        Frame that was evaluated.
    last_time : int
        Frame of the last emitted token, -1 before any.
    repeats : int
        Tokens emitted in a row at `last_time`.

    Returns
    -------
    time, last_time, repeats : int
        A blank leaves the last two alone; a token stands at the frame that was evaluated.
    """
    if token == blank:
        return time + (step if step > 0 else 1), last_time, repeats
    repeats = repeats + 1 if last_time == time else 1
    if step == 0 and 0 < max_symbols <= repeats:
        return time + 1, time, repeats
    return time + step, time, repeats


@njit
def scan_windows(
    choices: Any, scores: Any, rows: Any, clock: Any, durations: Any, blank: int, max_symbols: int, out: Any, stats: Any
) -> Any:
    """Walk each active utterance through its window until it emits a token, leaves the window, or ends.

    Parameters
    ----------
    choices : ndarray [shape=(A, W, 2)], int64
        Best token and best duration index of the W frames from each utterance's time on.
    scores : ndarray [shape=(A, W, 3)], float32
        Log-probability of the best token, sum of powered probabilities, magnitude of all logits (not finite where a
        logit is not).
    rows : ndarray [shape=(A,)], int64
        Utterance behind each entry; overwritten with those still active, in order.
    clock : ndarray [shape=(B, 6)], int64
        Time, length, time of the last token, repeats there, tokens so far, last label; updated in place.
    durations : ndarray [shape=(N,)], int64
    blank, max_symbols : int
    out : ndarray [shape=(B, C, 3)], int32
        Token, frame, duration of each emission; C exceeds every count.
    stats : ndarray [shape=(B, C, 2)], float32
        Log-probability and power sum of each emission.

    Returns
    -------
    active, emitted : ndarray, int64
        Utterances that go on; utterances that emitted.
    failed : int
        Utterance whose logits were not finite, or -1.
    evaluations : int
        Window entries that were used.
    """
    emitted = np.empty(rows.shape[0], np.int64)
    active = n_emitted = evaluations = 0
    for entry in range(rows.shape[0]):
        row = rows[entry]
        base = clock[row, TIME]
        for offset in range(choices.shape[1]):
            time = clock[row, TIME]
            if time >= clock[row, LENGTH] or time > base + offset:
                continue
            if not np.isfinite(scores[entry, offset, MAGNITUDE]):
                return rows[:0], emitted[:0], row, evaluations
            evaluations += 1
            token = choices[entry, offset, 0]
            step = durations[choices[entry, offset, 1]]
            clock[row, TIME], clock[row, LAST_TIME], clock[row, REPEATS] = advance(
                token, step, blank, max_symbols, time, clock[row, LAST_TIME], clock[row, REPEATS]
            )
            if token != blank:
                count = clock[row, COUNT]
                out[row, count, 0], out[row, count, 1], out[row, count, 2] = token, time, step
                stats[row, count, 0] = scores[entry, offset, LOGPROB]
                stats[row, count, 1] = scores[entry, offset, POWER_SUM]
                clock[row, COUNT] = count + 1
                clock[row, LABEL] = token
                emitted[n_emitted] = row
                n_emitted += 1
                break
        if clock[row, TIME] < clock[row, LENGTH]:
            rows[active] = row
            active += 1
    return rows[:active], emitted[:n_emitted], -1, evaluations


@njit
def gather_windows(projected: Any, rows: Any, clock: Any, window: Any) -> None:
    """Copy the next frames of each active utterance; beyond its end the last frame stands.

    Parameters
    ----------
    projected : ndarray [shape=(B, T, J)], float32
    rows : ndarray [shape=(A,)], int64
    clock : ndarray [shape=(B, 6)], int64
    window : ndarray [shape=(A, W, J)], float32
        Written.
    """
    for entry in range(rows.shape[0]):
        row = rows[entry]
        last = clock[row, LENGTH] - 1
        for offset in range(window.shape[1]):
            frame = max(min(clock[row, TIME] + offset, last), 0)
            for channel in range(window.shape[2]):
                window[entry, offset, channel] = projected[row, frame, channel]
