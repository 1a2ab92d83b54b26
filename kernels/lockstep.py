"""The greedy TDT loop over a batch, whole in compiled code: label looping in lockstep, finished utterances dropped.

The rule is that of :mod:`.tdt_rule`. Utterances advance independently of one another; each round evaluates the joint
for all that are active, then the prediction network for those that emitted: each weight row is read once for all.
"""

from __future__ import annotations

from typing import Any

from . import task as f
from .buffers import FRAME_BLOCK
from .jit import inline, njit, whole_folder_cache
from .joint import choose_token, count_up, first_largest, joint_logits
from .memory import copy_floats, get_int, keep_apart, set_float, set_int, set_int32, ticks
from .predictor import run_predictor
from .rows import add_relu
from .scores import confidence
from .tdt_rule import advance
from .team import assist, dense

NOT_FINITE = 1
DECODE, PROJECT = 0, -1


@inline
def _copy_state(task: Any, u: int) -> None:
    """Make the state after the last label the state before the next."""
    count = task[f.LAYERS] * task[f.HIDDEN]
    at = 4 * u * count
    copy_floats(task[f.STATE_HIDDEN] + at, task[f.NEXT_HIDDEN] + at, count)
    copy_floats(task[f.STATE_CELL] + at, task[f.NEXT_CELL] + at, count)


@inline
def _record(task: Any, u: int, row: int, token: int, duration: int) -> None:
    """Write down a token at the frame that was evaluated."""
    place = get_int(task[f.COUNTS], u)
    at = u * task[f.CAPACITY] + place
    logprob, entropy = confidence(task, row, token)
    set_int32(task[f.OUT_TOKENS], at, token)
    set_int32(task[f.OUT_FRAMES], at, get_int(task[f.TIMES], u))
    set_int32(task[f.OUT_DURATIONS], at, duration)
    set_float(task[f.OUT_LOGPROBS], at, logprob)
    set_float(task[f.OUT_ENTROPIES], at, entropy)
    set_int(task[f.COUNTS], u, place + 1)
    set_int(task[f.LABELS], u, token)
    _copy_state(task, u)


@inline
def _walk(task: Any, u: int, first: int) -> int:
    """Walk utterance `u` through the rows evaluated for it, up to its next token.

    Returns
    -------
    int
        1 if it emitted, 0 if not, -1 where the numbers are not finite.
    """
    keep_apart()
    begin = get_int(task[f.TIMES], u)
    end = min(begin + task[f.WINDOW], get_int(task[f.STOPS], u))
    time = begin
    while time < end:
        row = first + time - begin
        token = choose_token(task, row)
        index = first_largest(task[f.DURATION_LOGITS] + 4 * row * task[f.DURATION_ROWS], task[f.DURATION_COUNT])
        if token < 0 or index < 0:
            return -1
        duration = get_int(task[f.DURATION_TABLE], index)
        if token != task[f.BLANK]:
            _record(task, u, row, token, duration)
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
            return 1
    return 0


@inline
def _frames_ahead(task: Any, u: int) -> Any:
    return min(task[f.WINDOW], get_int(task[f.STOPS], u) - get_int(task[f.TIMES], u))


@inline
def _gather_activations(task: Any, active: int) -> int:
    """Fill ACTIVATIONS with ReLU(frame + prediction) for the next frames of each active utterance."""
    m, width = 0, task[f.JOINT]
    for i in range(active):
        u = get_int(task[f.ACTIVE], i)
        frame = get_int(task[f.STARTS], u) + get_int(task[f.TIMES], u)
        for step in range(_frames_ahead(task, u)):
            frame_at, prediction_at = task[f.FRAMES] + 4 * (frame + step) * width, task[f.PROJECTED] + 4 * u * width
            add_relu(frame_at, prediction_at, width, task[f.ACTIVATIONS] + 4 * m * width)
            m += 1
    return m


@inline
def _walk_all(task: Any, active: int) -> int:
    """Move every active utterance on; list those whose predictor must run in EMITTED and return how many, or -1."""
    emitted, first = 0, 0
    for i in range(active):
        u = get_int(task[f.ACTIVE], i)
        count = _frames_ahead(task, u)
        result = _walk(task, u, first)
        if result < 0:
            return -1
        count_up(task, f.EMISSIONS, result)
        first += count
        # The state to carry is the one before the last label: a finished utterance needs no further step.
        if result == 1 and get_int(task[f.TIMES], u) < get_int(task[f.STOPS], u):
            set_int(task[f.EMITTED], emitted, u)
            emitted += 1
    return emitted


@inline
def _compact(task: Any, active: int) -> int:
    """Drop finished utterances from ACTIVE."""
    kept = 0
    for i in range(active):
        u = get_int(task[f.ACTIVE], i)
        if get_int(task[f.TIMES], u) < get_int(task[f.STOPS], u):
            set_int(task[f.ACTIVE], kept, u)
            kept += 1
    return kept


@inline
def _predict(task: Any, rows: int, m: int) -> None:
    started = ticks()
    count_up(task, f.PREDICTOR_ROUNDS, 1)
    count_up(task, f.PREDICTIONS, m)
    run_predictor(task, rows, m)
    count_up(task, f.PREDICTOR_TICKS, ticks() - started)


@inline
def _decode(task: Any) -> int:
    """Decode the COUNT utterances listed in ACTIVE to their ends; return 0 or NOT_FINITE."""
    keep_apart()
    begun = ticks()
    active = _compact(task, task[f.COUNT])
    if active > 0:
        _predict(task, task[f.ACTIVE], active)
    while active > 0:
        started = ticks()
        m = _gather_activations(task, active)
        count_up(task, f.ROUNDS, 1)
        count_up(task, f.EVALUATIONS, m)
        joint_logits(task, m)
        count_up(task, f.JOINT_TICKS, ticks() - started)
        emitted = _walk_all(task, active)
        if emitted < 0:
            return NOT_FINITE
        active = _compact(task, active)
        if emitted > 0:
            _predict(task, task[f.EMITTED], emitted)
    count_up(task, f.TOTAL_TICKS, ticks() - begun)
    return 0


@inline
def _project_frames(task: Any) -> None:
    """Put COUNT rows of ENCODER_FRAMES through the joint's encoder projection to FRAMES, block by block."""
    keep_apart()
    joint, width = task[f.JOINT], task[f.ENCODER]
    for start in range(0, task[f.COUNT], FRAME_BLOCK):
        count = min(FRAME_BLOCK, task[f.COUNT] - start)
        out = task[f.FRAMES] + 4 * start * joint
        for row in range(count):
            copy_floats(out + 4 * row * joint, task[f.ENCODER_BIAS], joint)
        frames = task[f.ENCODER_FRAMES] + 4 * start * width
        dense(task, 2 * task[f.LAYERS], joint, width, frames, count, out)


@whole_folder_cache
@njit
def run(task: Any, role: int) -> int:
    """Do a task: the one entry point, so that there is one thing to compile and to load.

    Parameters
    ----------
    task : ndarray [shape=(fields,)], int64
        See :mod:`.task`; the caller keeps alive what it points to.
    role : int
        DECODE or PROJECT; from 1 on, the number of a thread that assists whoever decodes or projects.

    Returns
    -------
    int
        0, or NOT_FINITE.
    """
    status = 0
    if role > 0:
        assist(task, role)
        return status
    if role == PROJECT:
        _project_frames(task)
    else:
        status = _decode(task)
    return status
