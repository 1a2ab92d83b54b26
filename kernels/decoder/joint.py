"""The joint's output layer in compiled code: logits and argmax, in float32, screened, or 8-bit.

Screened, each logit is estimated from 8-bit rows with a certified error; only rows whose upper bound reaches the best
lower bound are computed in float32, so that the argmax is float32's by construction, ties included (first index wins).
"""

from __future__ import annotations

from math import inf, sqrt
from typing import Any

import numpy as np

from ..vector.jit import inline
from ..vector.memory import copy_floats, get_float, get_mask, keep_apart, set_float
from ..vector.rows import add_relu, mark_candidates
from ..vector.simd import float_dot
from . import task as f
from .counters import count_up
from .dense import ONE, PLAIN, multiply_floats, quantize_vectors
from .roundings import ACTIVATION, DURATIONS, round_place

FULL, SCREENED, BYTES = 0, 1, 2  # how the output layer is evaluated
MAX_SURVIVORS = 512
BIAS_PLANE = 1  # of the row tables: scale, bias, sum of levels, weight error, row norm
# The norms are computed in float32, at most (K / 16 + 5) units of 2^-24 off: this covers any K below 100 000.
NORM_SLACK = 1.0 + 1e-3
ACTIVATION_SLACK = 1e-6
NORM_BYTES = 16  # four floats a row


@inline
def activate_row(task: Any, b: int, frame: int, prediction: int) -> None:
    """Make activation `b` = ReLU(frame + prediction) and all that needs no more than it: duration logits, bounds."""
    keep_apart()
    width, rows = task[f.JOINT], task[f.DURATION_ROWS]
    x, durations = task[f.ACTIVATIONS] + 4 * b * width, task[f.DURATION_LOGITS] + 4 * b * rows
    add_relu(frame, prediction, width, x)
    round_place(task, ACTIVATION, x, width)
    copy_floats(durations, task[f.DURATION_BIAS], rows)
    multiply_floats(task[f.DURATION_WEIGHTS], PLAIN, rows, width, x, width, ONE, durations, rows)
    round_place(task, DURATIONS, durations, task[f.DURATION_COUNT])
    quantize_vectors(task, task[f.ACTIVATIONS], width, b, ONE)
    _bound_norms(task, b)
    if task[f.MODE] == FULL:
        tokens = task[f.TOKENS]
        copy_floats(task[f.LOGITS] + 4 * b * tokens, task[f.ROW_TABLES] + 4 * BIAS_PLANE * tokens, tokens)


@inline
def _bound_norms(task: Any, b: int) -> None:
    """Bound |x| and the error of the quantised x from above; zero where logits are taken as they are.

    The fourth number keeps |x| in any mode: it is NaN or infinite where an activation is (or its square overflows).
    """
    stats, norms = task[f.STATS] + 16 * b, task[f.NORMS] + NORM_BYTES * b
    norm = np.float32(sqrt(get_float(stats, 2)) * NORM_SLACK)
    set_float(norms, 3, norm)
    if task[f.MODE] == SCREENED:
        set_float(norms, 0, norm)
        # The error was computed in float32 too: a few units of the norm cover it.
        set_float(norms, 1, np.float32(sqrt(get_float(stats, 3)) * NORM_SLACK + norm * ACTIVATION_SLACK))
        set_float(norms, 2, get_float(task[f.CONSTANTS], 0))
    else:
        for place in range(3):
            set_float(norms, place, np.float32(0))


@inline
def choose_token(task: Any, b: int) -> Any:
    """Return the argmax of row `b` over the token slice; its logit in LOGITS is exact unless it is the blank.

    Returns -1 where the numbers are not finite.
    """
    tokens = task[f.TOKENS]
    logits = task[f.LOGITS] + 4 * b * tokens
    norms = task[f.NORMS] + NORM_BYTES * b
    if not get_float(norms, 3) < inf:
        return -1
    if task[f.MODE] == FULL:
        return first_largest(logits, tokens)
    best = get_float(task[f.BEST], b)
    found = mark_candidates(logits, tokens, task[f.ROW_TABLES], tokens, norms, best, task[f.MASKS])
    if task[f.MODE] == BYTES:
        return _first_marked(task)
    count_up(task, f.SURVIVORS, found)
    if found > MAX_SURVIVORS:
        full_row(task, b)
        return first_largest(logits, tokens)
    if found == 1:
        token = _first_marked(task)
        if token == task[f.BLANK]:
            return token
    return best_survivor(task, b)


@inline
def full_row(task: Any, b: int) -> None:
    """Compute all logits of row `b` in float32."""
    count_up(task, f.FALLBACKS, 1)
    tokens, width = task[f.TOKENS], task[f.JOINT]
    logits, x = task[f.LOGITS] + 4 * b * tokens, task[f.ACTIVATIONS] + 4 * b * width
    copy_floats(logits, task[f.ROW_TABLES] + 4 * BIAS_PLANE * tokens, tokens)
    multiply_floats(task[f.OUTPUT_VALUES], PLAIN, tokens, width, x, width, ONE, logits, tokens)


@inline
def best_survivor(task: Any, b: int) -> Any:
    """Compute the marked rows of row `b` in float32, put them in their places, and return the first of the largest."""
    keep_apart()
    tokens, width = task[f.TOKENS], task[f.JOINT]
    logits, x = task[f.LOGITS] + 4 * b * tokens, task[f.ACTIVATIONS] + 4 * b * width
    token, best = -1, np.float32(-inf)
    for block in range(tokens // 16):
        mask = get_mask(task[f.MASKS], block)
        row = 16 * block
        while mask != 0:
            if mask & 1:
                product = float_dot(task[f.OUTPUT_VALUES] + 4 * row * width, x, width)
                logit = get_float(task[f.ROW_TABLES], BIAS_PLANE * tokens + row) + product
                set_float(logits, row, logit)
                if logit > best:
                    token, best = row, logit
            mask >>= 1
            row += 1
    return token


@inline
def _first_marked(task: Any) -> Any:
    for block in range(task[f.TOKENS] // 16):
        mask = get_mask(task[f.MASKS], block)
        if mask != 0:
            lane = 0
            while not mask >> lane & 1:
                lane += 1
            return block * 16 + lane
    return -1


@inline
def first_largest(values: int, count: int) -> Any:
    """Return the index of the first largest of `count` floats, or -1 if any is NaN or the largest is infinite."""
    place, best = -1, np.float32(-inf)
    for index in range(count):
        value = get_float(values, index)
        if value > best:
            place, best = index, value
        elif value != value:  # noqa: PLR0124
            return -1
    return place if best < inf else -1
