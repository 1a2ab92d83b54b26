"""The normaliser of a row of logits in compiled code, from exact or screened logits, good enough to be summed up."""

from __future__ import annotations

from math import exp, inf, log, sqrt
from typing import Any

import numpy as np

from ..vector.beam_rows import CUTS, cut_sums, mark_between, parted_sums
from ..vector.jit import inline
from ..vector.memory import get_float, keep_apart
from . import task as f
from .counters import count_up
from .joint import NORM_BYTES, SCREENED, best_survivor, full_row
from .scores import DEVIATIONS, ENTROPY_POWER, MAX_ERROR

# What a log-probability may be expected to be off: a hypothesis sums some hundreds of them up, whose errors are
# independent, and their sum is to be within 1e-3. The errors of a row's estimates lean to no side, but their
# exponentials do, by half of their variance; that is taken off, to a tenth or so, and this is how large it may be.
MAX_DEVIATION = 2.5e-5
MAX_LEANING = 1e-5
CUT_STEP = 1.0
ENTROPY_STEP = 3.0
MOST_CUTS = 16  # of CUTS steps; what is further below the top than all of them is not worth a row
FULL_SHARE = 4  # so many times fewer rows than there are, and they are computed one by one


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
    deviation = MAX_DEVIATION * total
    return variance * squares <= deviation * deviation and variance * far <= 2.0 * MAX_LEANING * total


@inline
def _measure(task: Any, b: int, top: Any, cut: float, variance: float) -> Any:
    """Return log Σ exp(logit) - top of row `b`, its entropy confidence, and whether either is good enough.

    Logits further than `cut` below the top are estimates whose errors are independent of one another.
    """
    keep_apart()
    sums, tokens = task[f.BEAM_SCRATCH], task[f.TOKENS]
    logits = task[f.LOGITS] + 4 * b * tokens
    parted_sums(logits, tokens, top, np.float32(ENTROPY_POWER), np.float32(cut), sums)
    far = get_float(sums, 2) * exp(-0.5 * variance)
    total = get_float(sums, 0) + far
    spread = (get_float(sums, 1) + get_float(sums, 3)) * exp(-ENTROPY_POWER * log(total))
    floor = exp((1.0 - float(task[f.BLANK] + 1) ** (1.0 - ENTROPY_POWER)) / (1.0 - ENTROPY_POWER))
    entropy = (exp((1.0 - spread) / (1.0 - ENTROPY_POWER)) - floor) / (1.0 - floor)
    part = ENTROPY_POWER * sqrt(variance * get_float(sums, 5)) * exp(-ENTROPY_POWER * log(total)) / (1.0 - ENTROPY_POWER)
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
        best_survivor(task, b)
    full_row(task, b)
    total, entropy, _, _ = _measure(task, b, top, inf, 0.0)
    return top + total, entropy
