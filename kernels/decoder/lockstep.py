"""The greedy TDT loop over a batch, whole in compiled code: label looping in lockstep, finished utterances dropped.

The rule is that of :mod:`.tdt_rule`. Utterances advance independently of one another; each round evaluates the joint
for all that are active, then the prediction network for those that emitted: each weight row is read once for all.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..vector.jit import by_type, expand, inline, njit
from ..vector.memory import get_int, keep_apart, set_int, ticks
from . import task as f
from .counters import count_up
from .dense import ZERO
from .helping import assist, do_row
from .predictor import run_predictor
from .projection import project_frames
from .team import fill_logits, let_wait, score_waiting
from .walking import activate_utterance, frames_ahead, walk_utterance

NOT_FINITE = 1
DECODE, PREDICT, CLOCK = 0, -1, -2


class Greedy(NamedTuple):
    """The mark of this search, which shares products only."""


GREEDY = Greedy()


@by_type(do_row, Greedy)
def _do_row(task: Any, row: int) -> None:
    """Do nothing."""


@expand
def _joint(task: Any, active: int) -> None:
    """Evaluate the joint at the next frames of the active utterances; FIRSTS says where the rows of each begin."""
    m = ZERO
    for i in range(active):
        set_int(task[f.FIRSTS], i, m)
        m += frames_ahead(task, get_int(task[f.ACTIVE], i))
    count_up(task, f.ROUNDS, 1)
    count_up(task, f.EVALUATIONS, m)
    for i in range(active):
        activate_utterance(task, i)
    fill_logits(task, m)


@expand
def _walk_all(task: Any, active: int) -> Any:
    """Move every active utterance on; list those whose predictor must run in EMITTED and return how many, or -1."""
    emitted = ZERO
    for i in range(active):
        walk_utterance(task, i)
        u, result = get_int(task[f.ACTIVE], i), get_int(task[f.RESULTS], i)
        if result < 0:
            return -1
        if result == 0:
            continue
        count_up(task, f.EMISSIONS, 1)
        let_wait(task, result - 1, u * task[f.CAPACITY] + get_int(task[f.COUNTS], u) - 1)
        # The state to carry is the one before the last label: a finished utterance needs no further step.
        if get_int(task[f.TIMES], u) < get_int(task[f.STOPS], u):
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


@expand
def _predict(task: Any, rows: int, m: int) -> None:
    started = ticks()
    count_up(task, f.PREDICTOR_ROUNDS, 1)
    count_up(task, f.PREDICTIONS, m)
    run_predictor(task, rows, m)
    count_up(task, f.PREDICTOR_TICKS, ticks() - started)


@expand
def _predict_first(task: Any, active: int) -> None:
    """Run the predictor for those of the active utterances whose prediction is not there yet."""
    waiting = ZERO
    for i in range(active):
        u = get_int(task[f.ACTIVE], i)
        if get_int(task[f.PREDICTED], u) == 0:
            set_int(task[f.EMITTED], waiting, u)
            waiting += 1
    if waiting > 0:
        _predict(task, task[f.EMITTED], waiting)


@inline
def _decode(task: Any) -> int:
    """Decode the COUNT utterances listed in ACTIVE to their ends; return 0 or NOT_FINITE."""
    keep_apart()
    active = _compact(task, task[f.COUNT])
    _predict_first(task, active)
    while active > 0:
        started = ticks()
        _joint(task, active)
        count_up(task, f.JOINT_TICKS, ticks() - started)
        emitted = _walk_all(task, active)
        if emitted < 0:
            return NOT_FINITE
        active = _compact(task, active)
        if emitted > 0:
            _predict(task, task[f.EMITTED], emitted)
        score_waiting(task)
    return 0


@njit
def run(task: Any, role: int) -> int:
    """Do a task: the one entry point, so that there is one thing to compile and to load.

    Parameters
    ----------
    task : ndarray [shape=(fields,)], int64
        See :mod:`.task`; the caller keeps alive what it points to.
    role : int
        DECODE, or PREDICT (only the prediction network, for all utterances listed in ACTIVE), or CLOCK; from 1 on, the
        number of a thread that assists whoever decodes.

    Returns
    -------
    int
        0, NOT_FINITE or, of who assists, helping.LEFT; for CLOCK, the time in ticks.
    """
    status = 0
    if role > 0:
        return int(assist(task, GREEDY, role))
    if role == CLOCK:
        return int(ticks())
    if role == PREDICT:
        run_predictor(task, task[f.ACTIVE], task[f.COUNT])
        return status
    begun = ticks()
    project_frames(task)
    status = int(_decode(task))
    count_up(task, f.TOTAL_TICKS, ticks() - begun)
    return status
