"""What one evaluation of the joint means for one utterance, in compiled code: its clock and its tokens."""

from __future__ import annotations

from typing import Any

from ..vector.jit import inline
from ..vector.memory import copy_floats, get_int, keep_apart, set_int, set_int32
from . import task as f
from .fusing import choose_fused, fuse_emission
from .joint import activate_row, choose_token, first_largest
from .step_measures import measure_step
from .tdt_rule import advance


@inline
def frames_ahead(task: Any, u: int) -> Any:
    """Return how many frames of utterance `u` are evaluated at once."""
    return min(task[f.WINDOW], get_int(task[f.STOPS], u) - get_int(task[f.TIMES], u))


@inline
def activate_utterance(task: Any, i: int) -> None:
    """Make the activations of the next frames of active utterance `i`."""
    u, width = get_int(task[f.ACTIVE], i), task[f.JOINT]
    frame = get_int(task[f.STARTS], u) + get_int(task[f.TIMES], u)
    prediction = task[f.PROJECTED] + 4 * u * width
    for step in range(frames_ahead(task, u)):
        activate_row(task, get_int(task[f.FIRSTS], i) + step, task[f.FRAMES] + 4 * (frame + step) * width, prediction)


@inline
def _copy_state(task: Any, u: int) -> None:
    """Make the state after the last label the state before the next."""
    count = task[f.LAYERS] * task[f.HIDDEN]
    at = 4 * u * count
    copy_floats(task[f.STATE_HIDDEN] + at, task[f.NEXT_HIDDEN] + at, count)
    copy_floats(task[f.STATE_CELL] + at, task[f.NEXT_CELL] + at, count)


@inline
def _record(task: Any, u: int, token: int, duration: int) -> None:
    """Write down a token at the frame that was evaluated."""
    place = get_int(task[f.COUNTS], u)
    at = u * task[f.CAPACITY] + place
    set_int32(task[f.OUT_TOKENS], at, token)
    set_int32(task[f.OUT_FRAMES], at, get_int(task[f.TIMES], u))
    set_int32(task[f.OUT_DURATIONS], at, duration)
    set_int(task[f.COUNTS], u, place + 1)
    set_int(task[f.LABELS], u, token)
    if task[f.SLOTS] != 0:
        fuse_emission(task, u, token, at)
    _copy_state(task, u)


@inline
def walk_utterance(task: Any, i: int) -> None:
    """Walk active utterance `i` through the rows evaluated for it, up to its next token.

    RESULTS[i] becomes 1 + the row that emitted, 0 where none did, -1 where the numbers are not finite.
    """
    set_int(task[f.RESULTS], i, _walk(task, get_int(task[f.ACTIVE], i), get_int(task[f.FIRSTS], i)))


@inline
def _walk(task: Any, u: int, first: int) -> Any:
    keep_apart()
    begin = get_int(task[f.TIMES], u)
    end = min(begin + task[f.WINDOW], get_int(task[f.STOPS], u))
    time = begin
    while time < end:
        row = first + time - begin
        token = choose_token(task, row) if task[f.SLOTS] == 0 else choose_fused(task, u, row)
        index = first_largest(task[f.DURATION_LOGITS] + 4 * row * task[f.DURATION_ROWS], task[f.DURATION_COUNT])
        if token < 0 or index < 0:
            return -1
        if task[f.STEP_BLANKS] != 0:
            measure_step(task, u, row, token)
        duration = get_int(task[f.DURATION_TABLE], index)
        if token != task[f.BLANK]:
            _record(task, u, token, duration)
        time, last_time, repeats = advance(
            token,
            duration,
            task[f.BLANK],
            task[f.MAX_SYMBOLS],
            time,
            get_int(task[f.LAST_TIMES], u),
            get_int(task[f.REPEATS], u),
        )
        set_int(task[f.TIMES], u, time)
        set_int(task[f.LAST_TIMES], u, last_time)
        set_int(task[f.REPEATS], u, repeats)
        if token != task[f.BLANK]:
            return 1 + row
    return 0
