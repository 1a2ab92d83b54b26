"""The normaliser of a row of logits in compiled code, from exact or screened logits, good enough to be summed up."""

from __future__ import annotations

from math import exp, inf, log, sqrt
from typing import Any

import numpy as np

from ..vector.beam_rows import parted_sums
from ..vector.jit import inline
from ..vector.memory import get_float, keep_apart
from ..vector.rows import mark_candidates
from . import task as f
from .counters import count_up
from .joint import MAX_SURVIVORS, NORM_BYTES, SCREENED, best_survivor, full_row
from .scores import CUT_STEP, DEVIATIONS, ENTROPY_POWER, LAST_CUT

# What a log-probability may be expected to be off: a hypothesis sums some hundreds of them up, and their sum is to be
# within 1e-3. The errors of a row's estimates lean to no side, but their exponentials do, by half of their variance;
# that is taken off, and this is how large it may be.
MAX_DEVIATION = 4e-5
MAX_LEANING = 1e-5


@inline
def _measure(task: Any, b: int, top: Any, cut: float) -> Any:
    """Return log Σ exp(logit) - top of row `b`, its entropy confidence, and whether both are good enough.

    Logits further than `cut` below the top are estimates whose errors are independent of one another.
    """
    sums, norms = task[f.SUMS], task[f.NORMS] + NORM_BYTES * b
    parted_sums(task[f.LOGITS] + 4 * b * task[f.TOKENS], task[f.TOKENS], top, np.float32(ENTROPY_POWER),
                np.float32(cut), sums)  # fmt: skip
    weight_part = get_float(norms, 0) * get_float(task[f.CONSTANTS], 1)
    input_part = get_float(norms, 1) * get_float(task[f.CONSTANTS], 2)
    variance = float(weight_part) * weight_part + float(input_part) * input_part
    far = get_float(sums, 2) * exp(-0.5 * variance)
    total = get_float(sums, 0) + far
    spread = (get_float(sums, 1) + get_float(sums, 3)) * exp(-ENTROPY_POWER * log(total))
    floor = exp((1.0 - float(task[f.BLANK] + 1) ** (1.0 - ENTROPY_POWER)) / (1.0 - ENTROPY_POWER))
    entropy = (exp((1.0 - spread) / (1.0 - ENTROPY_POWER)) - floor) / (1.0 - floor)
    deviation = sqrt(variance * get_float(sums, 4)) / total
    good = DEVIATIONS * deviation <= MAX_DEVIATION and variance * far <= 2.0 * MAX_LEANING * total
    return log(total), entropy, good


@inline
def normaliser(task: Any, b: int, top: Any, known: Any) -> Any:
    """Return log Σ exp of row `b`'s logits and its entropy confidence.

    `top` is a logit near the largest; screened rows are exact from `known` on. Rows near the top are computed in
    float32, more and more of them, until what the others can add is known well enough.
    """
    keep_apart()
    if task[f.MODE] != SCREENED:
        total, entropy, _ = _measure(task, b, top, inf)
        return top + total, entropy
    tokens = task[f.TOKENS]
    logits = task[f.LOGITS] + 4 * b * tokens
    cut = float(top - known)
    while True:
        total, entropy, good = _measure(task, b, top, cut)
        if good:
            return top + total, entropy
        cut = max(cut, 0.0) + CUT_STEP
        limit = top - np.float32(cut)
        found = mark_candidates(logits, tokens, task[f.ROW_TABLES], tokens, task[f.ZEROS], limit, task[f.MASKS])
        if found > MAX_SURVIVORS or not cut <= LAST_CUT:  # a cut that is no number ends it, too
            break
        count_up(task, f.REFINED, found)
        best_survivor(task, b)
    full_row(task, b)
    total, entropy, _ = _measure(task, b, top, inf)
    return top + total, entropy
