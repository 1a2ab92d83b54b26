"""The normaliser of a row of logits in compiled code, from exact or screened logits, good enough to be summed up."""

from __future__ import annotations

from math import exp, inf, log, sqrt
from typing import Any

import numpy as np

from ..vector.beam_rows import CUTS, cut_sums, mark_between, parted_sums
from ..vector.jit import inline
from ..vector.memory import get_float, get_int, get_mask, keep_apart, set_float, set_int
from ..vector.simd import float_dots
from . import task as f
from .counters import count_up
from .joint import BIAS_PLANE, NORM_BYTES, SCREENED, full_row
from .scores import DEVIATIONS, ENTROPY_POWER, MAX_ERROR, entropy_confidence

# What a log-probability may be expected to be off: STEADY, so that some hundreds of them that a hypothesis sums up are
# within 1e-3 (errors of rows are independent of one another, but much the same from step to step), and a share of what
# even the best token costs. Where models are sure of themselves, as trained ones are, the first is what counts and
# takes few rows; in flat distributions it would take a fifth of the vocabulary, and sums are in the thousands.
STEADY, SHARE = 3e-6, 2e-5
# In the thread's scratch, in bytes: products and places of four rows.
PRODUCTS, MARKED = 64, 96
CUT_STEP = 1.0
ENTROPY_STEP = 3.0
MOST_CUTS = 16  # of CUTS steps; what is further below the top than all of them is not worth a row
FULL_SHARE = 4  # so many times fewer rows than there are, and they are computed one by one


@inline
def compute_marked(task: Any, b: int) -> None:
    """Compute the marked rows of row `b` in float32, and put them in their places; four at a time."""
    keep_apart()
    rows, count = task[f.BEAM_SCRATCH] + MARKED, 0
    for block in range(task[f.TOKENS] // 16):
        mask = get_mask(task[f.MASKS], block)
        row = 16 * block
        while mask != 0:
            if mask & 1:
                set_int(rows, count, row)
                count += 1
                if count == 4:
                    _compute_four(task, b, rows)
                    count = 0
            mask >>= 1
            row += 1
    if count > 0:
        for spare in range(count, 4):
            set_int(rows, spare, get_int(rows, 0))
        _compute_four(task, b, rows)


@inline
def _compute_four(task: Any, b: int, rows: int) -> None:
    keep_apart()
    width, tokens = task[f.JOINT], task[f.TOKENS]
    values, x, out = task[f.OUTPUT_VALUES], task[f.ACTIVATIONS] + 4 * b * width, task[f.BEAM_SCRATCH] + PRODUCTS
    first, second = values + 4 * width * get_int(rows, 0), values + 4 * width * get_int(rows, 1)
    third, fourth = values + 4 * width * get_int(rows, 2), values + 4 * width * get_int(rows, 3)
    float_dots(first, second, third, fourth, x, width, out)
    for i in range(4):
        row = get_int(rows, i)
        logit = get_float(task[f.ROW_TABLES], BIAS_PLANE * tokens + row) + get_float(out, i)
        set_float(task[f.LOGITS] + 4 * b * tokens, row, logit)


@inline
def _variance(task: Any, b: int) -> Any:
    """Return the expected square of the error of row `b`'s estimates."""
    norms = task[f.NORMS] + NORM_BYTES * b
    weight_part = float(get_float(norms, 0)) * get_float(task[f.CONSTANTS], 1)
    input_part = float(get_float(norms, 1)) * get_float(task[f.CONSTANTS], 2)
    return weight_part * weight_part + input_part * input_part


@inline
def _is_good(variance: float, total: float, far: float, squares: float) -> Any:
    """Say whether estimates of Σ p = `far` and Σ p² = `squares` leave a sum of `total` as exact as it is to be."""
    allowed = (STEADY + SHARE * max(log(total), 0.0)) * total
    # Errors lean to no side, but their exponentials do, by half of their variance.
    return variance * squares <= allowed * allowed and 0.5 * variance * far <= allowed


@inline
def _measure(task: Any, b: int, top: Any, cut: float, variance: float) -> Any:
    """Return log Σ exp(logit) - top of row `b`, its entropy confidence, and whether either is good enough.

    Logits further than `cut` below the top are estimates whose errors are independent of one another.
    """
    keep_apart()
    sums, tokens = task[f.BEAM_SCRATCH], task[f.TOKENS]
    logits = task[f.LOGITS] + 4 * b * tokens
    parted_sums(logits, tokens, top, np.float32(ENTROPY_POWER), np.float32(cut), sums)
    total = float(get_float(sums, 0)) + get_float(sums, 2)
    spread = (get_float(sums, 1) + get_float(sums, 3)) * exp(-ENTROPY_POWER * log(total))
    entropy = entropy_confidence(spread, task[f.BLANK] + 1)
    part = (
        ENTROPY_POWER * sqrt(variance * get_float(sums, 5)) * exp(-ENTROPY_POWER * log(total)) / (1.0 - ENTROPY_POWER)
    )
    sharp = DEVIATIONS * part * entropy <= MAX_ERROR
    return log(total), entropy, _is_good(variance, total, get_float(sums, 2), get_float(sums, 4)), sharp


@inline
def _better_cut(task: Any, b: int, top: Any, cut: float, variance: float) -> Any:
    """Return from how far below the top on estimates are good enough; infinity where nothing is gained by any."""
    keep_apart()
    sums, tokens = task[f.BEAM_SCRATCH], task[f.TOKENS]
    logits = task[f.LOGITS] + 4 * b * tokens
    for _ in range(MOST_CUTS):
        cut_sums(logits, tokens, top, np.float32(cut + CUT_STEP), np.float32(CUT_STEP), sums)
        for i in range(CUTS):
            cut += CUT_STEP
            if _is_good(variance, get_float(sums, 0), get_float(sums, 1 + 2 * i), get_float(sums, 2 + 2 * i)):
                return cut
    return inf


@inline
def normaliser(task: Any, b: int, top: Any, known: Any) -> Any:
    """Return log Σ exp of row `b`'s logits and its entropy confidence.

    `top` is a logit near the largest; screened rows are exact from `known` on. Rows near the top are computed in
    float32, more and more of them, until what the others can add is known well enough.
    """
    keep_apart()
    variance = _variance(task, b)
    if task[f.MODE] != SCREENED:
        total, entropy, _, _ = _measure(task, b, top, inf, 0.0)
        return top + total, entropy
    tokens, before = task[f.TOKENS], np.float32(inf)
    logits = task[f.LOGITS] + 4 * b * tokens
    cut = float(top - known)
    while True:
        total, entropy, good, sharp = _measure(task, b, top, cut, variance)
        if good and sharp:
            return top + total, entropy
        if cut >= 0.0:
            before = top - np.float32(cut)
        cut = max(cut, 0.0)
        cut = cut + ENTROPY_STEP if good else _better_cut(task, b, top, cut, variance)
        found = mark_between(logits, tokens, top - np.float32(cut), before, task[f.MASKS])
        if FULL_SHARE * found > tokens or not cut < inf:  # a cut that is no number ends it, too
            break
        count_up(task, f.REFINED, found)
        compute_marked(task, b)
    full_row(task, b)
    total, entropy, _, _ = _measure(task, b, top, inf, 0.0)
    return top + total, entropy
