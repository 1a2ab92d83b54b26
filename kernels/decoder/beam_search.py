"""Beam search over a batch, whole in compiled code: NeMo's `malsd_batch`, a step of all hypotheses at a time.

Each round evaluates the joint for all places that are new, then the prediction network for all labels that are new, of
all utterances together: each weight row is read once for all. The rule is in :mod:`.beam_choice` and
:mod:`.beam_step`; how hypotheses are kept, in :mod:`.beam_task`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..fusion.walking import advance_states, fill_bonus
from ..vector.jit import by_type, expand, inline, njit
from ..vector.memory import get_int, keep_apart, set_int, set_int32, ticks
from . import beam_task as g
from . import task as f
from .beam_choice import activate_hypothesis, choose_candidates
from .beam_step import has_room, is_active, list_rows, step_utterance
from .counters import count_up
from .dense import ZERO
from .helping import assist, do_row, share_rows
from .predictor import run_predictor
from .projection import project_frames
from .team import fill_logits

NOT_FINITE, NO_ROOM = 1, 2
SEARCH, COLLECT = 0, -1


class Beam(NamedTuple):
    """The mark of this search."""


BEAM = Beam()


@by_type(do_row, Beam)
def _do_row(task: Any, row: int) -> None:
    """Choose the candidates of a row."""
    choose_candidates(task, row)


@inline
def _fuse_slot(task: Any, slot: int) -> None:
    """Move the automata of a slot on by its label, from where those of its prefix stand, and make its bonuses."""
    keep_apart()
    models, tokens = g.of(task, g.MODELS), task[f.TOKENS]
    u = slot // g.of(task, g.SLOTS)
    if not g.has_models(task, u):
        return
    states, source = g.of(task, g.MODEL_STATES) + 8 * models * slot, get_int(task[f.SOURCES], slot)
    listed = g.of(task, g.LISTED) + 8 * models * u
    if source != slot:  # else it is the first
        for place in range(models):
            set_int(states, place, get_int(g.of(task, g.MODEL_STATES) + 8 * models * source, place))
        advance_states(g.of(task, g.DESCRIPTORS), listed, states, models, get_int(task[f.LABELS], slot))
    mask, bonus = get_int(g.of(task, g.MASKS), u), g.of(task, g.BONUSES) + 4 * tokens * slot
    fill_bonus(g.of(task, g.DESCRIPTORS), listed, states, models, mask, task[f.BLANK], tokens, task[f.SCRATCH], bonus)


@inline
def _fuse_all(task: Any, count: int) -> None:
    """Make the bonuses of the slots in EMITTED."""
    for i in range(count):
        _fuse_slot(task, get_int(task[f.EMITTED], i))


@expand
def _joint(task: Any, m: int) -> None:
    """Evaluate the joint for `m` rows, and write what they offer."""
    started = ticks()
    count_up(task, f.ROUNDS, 1)
    count_up(task, f.EVALUATIONS, m)
    for row in range(m):
        activate_hypothesis(task, row)
    fill_logits(task, m)
    count_up(task, f.JOINT_TICKS, ticks() - started)


@expand
def _predict(task: Any, m: int) -> None:
    """Run the predictor, and the automata, for the `m` slots in EMITTED."""
    started = ticks()
    count_up(task, f.PREDICTOR_ROUNDS, 1)
    count_up(task, f.PREDICTIONS, m)
    run_predictor(task, task[f.EMITTED], m)
    if g.of(task, g.MODELS) > 0:
        _fuse_all(task, m)
    count_up(task, f.PREDICTOR_TICKS, ticks() - started)


@inline
def _list_all(task: Any, active: int) -> Any:
    """List the rows of a round; return how many there are, or -1 where there is no room for what comes of them."""
    keep_apart()
    for a in range(active):
        if not has_room(task, get_int(task[f.ACTIVE], a)):
            return -1
    m = ZERO
    for a in range(active):
        m = list_rows(task, get_int(task[f.ACTIVE], a), m)
    return m


@inline
def _step_all(task: Any, active: int) -> Any:
    """Take all active utterances a step on; return how many slots are new."""
    keep_apart()
    set_int(task[f.BEAM], g.ROUND, g.of(task, g.ROUND) + 1)
    emitted = ZERO
    for a in range(active):
        emitted = step_utterance(task, get_int(task[f.ACTIVE], a), emitted)
    return emitted


@inline
def _compact(task: Any, active: int) -> Any:
    """Drop utterances that have ended from ACTIVE."""
    kept = 0
    for a in range(active):
        u = get_int(task[f.ACTIVE], a)
        if is_active(task, u):
            set_int(task[f.ACTIVE], kept, u)
            kept += 1
    return kept


@inline
def _all_finite(task: Any, m: int) -> Any:
    least = 0
    for b in range(m):
        least = min(least, get_int(task[f.RESULTS], b))
    return least == 0


@inline
def _search(task: Any) -> int:
    """Decode the COUNT utterances listed in ACTIVE to their ends; return 0, NOT_FINITE, or NO_ROOM to be called again.

    On a first call FIRSTS slots stand in EMITTED, whose automata are at their starts.
    """
    keep_apart()
    firsts = g.of(task, g.FIRSTS)
    if firsts > 0:
        _fuse_all(task, firsts)
        set_int(task[f.BEAM], g.FIRSTS, 0)
    active = _compact(task, task[f.COUNT])
    while active > 0:
        m = _list_all(task, active)
        if m < 0:
            return NO_ROOM
        if m > 0:
            _joint(task, m)
            share_rows(task, BEAM, m)
            if not _all_finite(task, m):
                return NOT_FINITE
        emitted = _step_all(task, active)
        count_up(task, f.EMISSIONS, emitted)
        active = _compact(task, active)
        if emitted > 0:
            _predict(task, emitted)
    return 0


@inline
def _collect(task: Any) -> None:
    """Write the paths of all hypotheses of the listed utterances, first label first, each to a row of its own."""
    keep_apart()
    size, capacity = g.of(task, g.SIZE), task[f.CAPACITY]
    for a in range(task[f.COUNT]):
        u = get_int(task[f.ACTIVE], a)
        for h in range(get_int(g.of(task, g.LIVE), u)):
            row = u * size + h
            path = get_int(g.of(task, g.PATHS), row)
            while path >= 0:
                at = g.path_at(task, u, path)
                place = row * capacity + get_int(at, g.LENGTH) - 1
                set_int32(task[f.OUT_TOKENS], place, get_int(at, g.TOKEN))
                set_int32(task[f.OUT_FRAMES], place, get_int(at, g.FRAME))
                set_int32(task[f.OUT_DURATIONS], place, get_int(at, g.DURATION))
                set_int32(task[f.OUT_LOGPROBS], place, get_int(at, g.FLOATS) & 0xFFFFFFFF)
                set_int32(task[f.OUT_ENTROPIES], place, get_int(at, g.FLOATS) >> 32)
                path = get_int(at, g.BEFORE)
            set_int(g.of(task, g.OUT_ROOTS), row, -1 - path)


@njit
def run(task: Any, role: int) -> int:
    """Do a task: the one entry point of beam search.

    Parameters
    ----------
    task : ndarray [shape=(fields,)], int64
        See :mod:`.task` and :mod:`.beam_task`; the caller keeps alive what they point to.
    role : int
        SEARCH, or COLLECT (write the paths of the utterances in ACTIVE down); from 1 on, the number of a thread that
        assists whoever searches.

    Returns
    -------
    int
        0, NOT_FINITE, or NO_ROOM: to be called again with more room for nodes and entries, without frames to project.
    """
    status = 0
    if role > 0:
        return int(assist(task, BEAM, role))
    if role == COLLECT:
        _collect(task)
        return status
    begun = ticks()
    if task[f.ENCODER_ROWS] > 0:
        project_frames(task)
    status = int(_search(task))
    count_up(task, f.TOTAL_TICKS, ticks() - begun)
    return status
