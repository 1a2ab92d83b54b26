"""What one evaluation of the joint offers a beam search: the best pairs of token and duration, in compiled code.

Source: NeMo `tdt_malsd_batched_computer.py: modified_alsd_torch, topk_fusion_model`. Of equals the first in the order
of tokens, then of durations, is taken.
"""

from __future__ import annotations

from math import exp, inf, log
from typing import Any

import numpy as np

from ..vector.fused_rows import lane_bounds, mark_reaching
from ..vector.jit import inline
from ..vector.memory import get_double, get_float, get_int, get_mask, keep_apart, set_double, set_float, set_int
from ..vector.simd import float_dot
from . import beam_task as g
from . import task as f
from .beam_scores import compute_marked, normaliser
from .counters import count_up
from .fusing import least_reaching
from .joint import BIAS_PLANE, MAX_SURVIVORS, NORM_BYTES, SCREENED, activate_row, first_largest, full_row

LANES = 16
LEAST = np.float32(-3.4e38)  # what is not allowed is -inf, and reaches it never
# In the thread's scratch: the 16 bounds, then pieces by what they are chosen by: float64 value, token, float64 logit.
PIECES, PIECE_FIELDS = 16, 3


@inline
def activate_hypothesis(task: Any, b: int) -> None:
    """Make the activations of row `b`."""
    slot, width = get_int(g.of(task, g.ROW_SLOTS), b), task[f.JOINT]
    frame = task[f.FRAMES] + 4 * get_int(g.of(task, g.ROW_FRAMES), b) * width
    activate_row(task, b, frame, task[f.PROJECTED] + 4 * slot * width)


@inline
def choose_candidates(task: Any, b: int) -> None:
    """Write what row `b` offers to its entry; RESULTS[b] becomes 0, or -1 where the numbers are not finite."""
    keep_apart()
    set_int(task[f.RESULTS], b, -1)
    if not get_float(task[f.NORMS] + NORM_BYTES * b, 3) < inf:
        return
    slot, size, tokens = get_int(g.of(task, g.ROW_SLOTS), b), g.of(task, g.SIZE), task[f.TOKENS]
    u = slot // g.of(task, g.SLOTS)
    fused, early = g.has_models(task, u), g.of(task, g.EARLY) != 0
    bonus = g.of(task, g.BONUSES) + 4 * slot * tokens
    added = g.of(task, g.PLAIN)
    if fused and not early:
        added = bonus
    elif get_int(g.of(task, g.MASKS), u) != 0:
        added = get_int(g.of(task, g.MASKS), u)
    top, known = _make_exact(task, b, added, size)
    count = _best_pieces(task, b, added, size)
    blank = _exact(task, b, task[f.BLANK])
    total, entropy = normaliser(task, b, max(top, blank), inf if added != g.of(task, g.PLAIN) else known)
    entry = get_int(g.of(task, g.ROW_ENTRIES), b)
    set_float(entry, 2 * g.CONFIDENCE, np.float32(entropy))
    if not abs(total) < inf:
        return
    if early:
        count = _insert_piece(task, count, size, float(blank), task[f.BLANK], blank)
    weight = get_double(g.of(task, g.WEIGHTS), u)
    if _offer_pairs(task, b, entry, count, total, blank, weight, bonus if fused else 0):
        set_int(task[f.RESULTS], b, 0)


@inline
def _make_exact(task: Any, b: int, added: int, size: int) -> Any:
    """Compute and mark what may be among the best `size` of row `b`; return its top, and from where on it is exact."""
    keep_apart()
    tokens, norms, bounds = task[f.TOKENS], task[f.NORMS] + NORM_BYTES * b, task[f.BEAM_SCRATCH]
    logits = task[f.LOGITS] + 4 * b * tokens
    top = lane_bounds(logits, tokens, task[f.ROW_TABLES], tokens, norms, added, bounds)
    limit = least_reaching(_nth_largest(bounds, size))
    found = mark_reaching(logits, tokens, task[f.ROW_TABLES], tokens, norms, added, limit, task[f.MASKS])
    if task[f.MODE] == SCREENED:
        count_up(task, f.SURVIVORS, found)
        if found > MAX_SURVIVORS:
            full_row(task, b)
            limit = LEAST
        else:
            compute_marked(task, b)
    return top, limit


@inline
def _nth_largest(bounds: int, n: int) -> Any:
    """Return the n-th largest of the 16 floats at `bounds`, which is used up; the least number beyond the sixteenth."""
    if n > LANES:
        return LEAST
    best = np.float32(-inf)
    for _ in range(n):
        place, best = 0, get_float(bounds, 0)
        for lane in range(1, LANES):
            if get_float(bounds, lane) > best:
                place, best = lane, get_float(bounds, lane)
        set_float(bounds, place, np.float32(-inf))
    return max(best, LEAST)


@inline
def _exact(task: Any, b: int, token: int) -> Any:
    """Return the logit of a token, in float32 where there are float32 weights."""
    logits, width = task[f.LOGITS] + 4 * b * task[f.TOKENS], task[f.JOINT]
    if task[f.MODE] != SCREENED:
        return get_float(logits, token)
    product = float_dot(task[f.OUTPUT_VALUES] + 4 * token * width, task[f.ACTIVATIONS] + 4 * b * width, width)
    logit = get_float(task[f.ROW_TABLES], BIAS_PLANE * task[f.TOKENS] + token) + product
    set_float(logits, token, logit)
    return logit


@inline
def _best_pieces(task: Any, b: int, added: int, size: int) -> Any:
    """List the best of the marked pieces of row `b`, the blank left out, by logit + what is added; return how many."""
    keep_apart()
    logits, count = task[f.LOGITS] + 4 * b * task[f.TOKENS], 0
    for block in range(task[f.TOKENS] // LANES):
        mask = get_mask(task[f.MASKS], block)
        token = LANES * block
        while mask != 0:
            if mask & 1 and token < task[f.BLANK]:
                logit = get_float(logits, token)
                count = _insert_piece(task, count, size, float(logit) + get_float(added, token), token, logit)
            mask >>= 1
            token += 1
    return count


@inline
def _insert_piece(task: Any, count: int, size: int, value: float, token: int, logit: Any) -> Any:
    """Insert a piece into the list of at most `size`, after its equals; return how many are listed."""
    pieces = task[f.BEAM_SCRATCH] + 8 * PIECES
    if not value > -inf or (count == size and not value > get_double(pieces, PIECE_FIELDS * (size - 1))):
        return count
    place = min(count, size - 1)
    while place > 0 and value > get_double(pieces, PIECE_FIELDS * (place - 1)):
        for field in range(PIECE_FIELDS):
            set_int(pieces, PIECE_FIELDS * place + field, get_int(pieces, PIECE_FIELDS * (place - 1) + field))
        place -= 1
    set_double(pieces, PIECE_FIELDS * place, value)
    set_int(pieces, PIECE_FIELDS * place + 1, token)
    set_double(pieces, PIECE_FIELDS * place + 2, float(logit))
    return min(count + 1, size)


@inline
def _offer_pairs(task: Any, b: int, entry: int, count: int, total: float, blank: Any, weight: float, bonus: int) -> Any:
    """Write the best pairs of the listed pieces, or the blank, with durations to the entry; False if not finite."""
    keep_apart()
    durations = task[f.DURATION_LOGITS] + 4 * b * task[f.DURATION_ROWS]
    longest = first_largest(durations, task[f.DURATION_COUNT])
    if longest < 0:
        return False
    steps = 0.0
    for d in range(task[f.DURATION_COUNT]):
        steps += exp(float(get_float(durations, d)) - get_float(durations, longest))
    steps = get_float(durations, longest) + log(steps)
    plain = float(blank) - total
    shift, value = 0.0, plain
    if bonus != 0 and g.of(task, g.WEIGHTED) != 0:
        shift, value = weight * log(1.0 - min(exp(plain), 0.99)), (1.0 + weight) * plain
    set_int(entry, g.COUNT, 0)
    pieces = task[f.BEAM_SCRATCH] + 8 * PIECES
    listed = False
    for i in range(count):
        token, logprob = get_int(pieces, PIECE_FIELDS * i + 1), get_double(pieces, PIECE_FIELDS * i + 2) - total
        if token == task[f.BLANK]:
            listed = True
            continue
        fused = logprob + shift
        if bonus != 0:
            fused += get_float(bonus, token)
        _offer_durations(task, entry, token, fused, logprob, durations, steps)
    early = g.of(task, g.EARLY) != 0
    if listed or not early:
        _offer_durations(task, entry, task[f.BLANK], value, plain, durations, steps)
    forced = (plain if early else value) + get_float(durations, longest) - steps
    _write(g.candidate_at(entry, g.of(task, g.SIZE)), forced, task[f.BLANK], longest, plain)
    return True


@inline
def _offer_durations(
    task: Any, entry: int, token: int, value: float, logprob: float, durations: int, steps: float
) -> None:
    """Insert a token with each duration into the entry's list, by value, then by token and duration."""
    keep_apart()
    size = g.of(task, g.SIZE)
    for d in range(task[f.DURATION_COUNT]):
        whole = value + (get_float(durations, d) - steps)
        count = get_int(entry, g.COUNT)
        place = count
        while place > 0 and _before(task, whole, token, d, g.candidate_at(entry, place - 1)):
            place -= 1
        if place >= size or not whole > -inf:
            continue
        count = min(count + 1, size)
        for later in range(count - 1, place, -1):
            target, source = g.candidate_at(entry, later), g.candidate_at(entry, later - 1)
            for field in range(g.CANDIDATE_FIELDS):
                set_int(target, field, get_int(source, field))
        _write(g.candidate_at(entry, place), whole, token, d, logprob)
        set_int(entry, g.COUNT, count)


@inline
def _before(task: Any, value: float, token: int, step: int, other: int) -> Any:
    """Say whether a pair comes before the candidate at `other`."""
    if value != get_double(other, g.VALUE):
        return value > get_double(other, g.VALUE)
    count = task[f.DURATION_COUNT]
    return token * count + step < get_int(other, g.CANDIDATE_TOKEN) * count + get_int(other, g.STEP)


@inline
def _write(candidate: int, value: float, token: int, step: int, logprob: float) -> None:
    set_double(candidate, g.VALUE, value)
    set_int(candidate, g.CANDIDATE_TOKEN, token)
    set_int(candidate, g.STEP, step)
    set_float(candidate, 2 * g.LOGPROB, np.float32(logprob))
