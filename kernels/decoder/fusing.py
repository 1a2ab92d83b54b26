"""The choice of a token with something added to the logits, in compiled code: phrases, language models, masks.

Whether there is a token at all is decided without bonuses, as NeMo does, and with a mask's permission; which one it is,
by logit + bonus over the pieces. Screened, both are float32's choices by construction: bounds carry the bonuses.

Source: NeMo `tdt_label_looping.py: _before_inner_loop_get_joint_output`, `_inner_loop_step_find_next_non_blank`.
"""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np

from ..fusion.automaton import LANES
from ..fusion.walking import advance_states, fill_bonus
from ..vector.fused_rows import ADDED_SLACK, lane_bounds, mark_reaching
from ..vector.jit import inline
from ..vector.memory import get_float, get_int, get_mask, keep_apart, set_int, set_int32
from . import task as f
from .counters import count_up
from .joint import FULL, MAX_SURVIVORS, NORM_BYTES, SCREENED, best_survivor, choose_token, full_row

# What is to be done for an utterance, bits: leave out masked pieces before it is asked whether there is a token; add
# bonuses (or a mask) once there is one.
MASK_FIRST, ADD = 1, 2


@inline
def choose_fused(task: Any, u: int, b: int) -> Any:
    """Return the token of row `b` for utterance `u`; its logit in LOGITS is exact unless it is the blank.

    Returns -1 where the numbers are not finite.
    """
    keep_apart()
    way, mask = get_int(task[f.WAYS], u), get_int(task[f.TOKEN_MASKS], u)
    token = choose_added(task, b, mask) if way & MASK_FIRST else choose_token(task, b)
    set_int(task[f.PLAIN_TOKENS], u, token)
    if token < 0 or token == task[f.BLANK] or not way & ADD:
        return token
    bonus = task[f.BONUSES] + 4 * u * task[f.TOKENS]
    if get_int(task[f.BONUS_MADE], u) == 0:
        slots = task[f.SLOTS]
        listed, states = task[f.LISTED] + 8 * u * slots, task[f.MODEL_STATES] + 8 * u * slots
        fill_bonus(task[f.MODELS], listed, states, slots, mask, task[f.BLANK], task[f.TOKENS], task[f.SCRATCH], bonus)
        set_int(task[f.BONUS_MADE], u, 1)
    return choose_added(task, b, bonus)


@inline
def fuse_emission(task: Any, u: int, token: int, at: int) -> None:
    """Move the automata of utterance `u` on by an emitted token, whose place among the results is `at`."""
    slots = task[f.SLOTS]
    listed, states = task[f.LISTED] + 8 * u * slots, task[f.MODEL_STATES] + 8 * u * slots
    advance_states(task[f.MODELS], listed, states, slots, token)
    set_int(task[f.BONUS_MADE], u, 0)
    set_int32(task[f.OUT_CHANGED], at, int(token != get_int(task[f.PLAIN_TOKENS], u)))


@inline
def choose_added(task: Any, b: int, added: int) -> Any:
    """Return the first of the largest logit + added of row `b`, where `added` [V16] holds -inf for what is out.

    Its logit is exact. -1 where the numbers are not finite.
    """
    tokens = task[f.TOKENS]
    logits, norms = task[f.LOGITS] + 4 * b * tokens, task[f.NORMS] + NORM_BYTES * b
    if not get_float(norms, 3) < inf:
        return -1
    if task[f.MODE] == FULL:
        return _first_largest_sum(logits, added, tokens)
    lane_bounds(logits, tokens, task[f.ROW_TABLES], tokens, norms, added, task[f.SUMS])
    best = np.float32(-inf)
    for lane in range(LANES):
        best = max(best, get_float(task[f.SUMS], lane))
    limit = least_reaching(best)
    found = mark_reaching(logits, tokens, task[f.ROW_TABLES], tokens, norms, added, limit, task[f.MASKS])
    if task[f.MODE] == SCREENED:
        count_up(task, f.SURVIVORS, found)
    if found > MAX_SURVIVORS and task[f.MODE] == SCREENED:
        full_row(task, b)
        return _first_largest_sum(logits, added, tokens)
    return _best_marked(task, b, added)


@inline
def least_reaching(bound: Any) -> Any:
    """Return what upper bounds must reach where lower ones reach `bound`: less by what additions may be off."""
    return np.float32(bound - abs(bound) * ADDED_SLACK)


@inline
def _first_largest_sum(logits: int, added: int, count: int) -> Any:
    place, best = -1, np.float32(-inf)
    for index in range(count):
        total = np.float32(get_float(logits, index) + get_float(added, index))
        if total > best:
            place, best = index, total
        elif total != total:  # noqa: PLR0124
            return -1
    return place if best < inf else -1


@inline
def _best_marked(task: Any, b: int, added: int) -> Any:
    """Compute the marked rows of row `b` in float32 where they are screened; return the first of the largest sums."""
    keep_apart()
    if task[f.MODE] == SCREENED:
        best_survivor(task, b)
    logits, token, best = task[f.LOGITS] + 4 * b * task[f.TOKENS], -1, np.float32(-inf)
    for block in range(task[f.TOKENS] // LANES):
        mask = get_mask(task[f.MASKS], block)
        row = LANES * block
        while mask != 0:
            if mask & 1:
                total = np.float32(get_float(logits, row) + get_float(added, row))
                if total > best:
                    token, best = row, total
            mask >>= 1
            row += 1
    return token
