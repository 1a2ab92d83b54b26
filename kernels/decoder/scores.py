"""Log-probability and confidence of an emitted token in compiled code, from exact or screened logits."""

from __future__ import annotations

from math import exp, inf, log, sqrt
from typing import Any

import numpy as np

from ..vector.jit import inline
from ..vector.memory import get_float, get_int, get_int32, keep_apart, set_float, ticks
from ..vector.rows import exponential_sums, mark_candidates
from . import task as f
from .counters import count_up
from .joint import MAX_SURVIVORS, NORM_BYTES, SCREENED, best_survivor, choose_token, full_row

ENTROPY_POWER = 0.33
# Rows within a cut of the token (nats) are exact; the cut grows until the deviation that is expected of what the others
# add, times a safety factor, is below the error allowed.
CUT_STEP, LAST_CUT = 3.0, 60.0
DEVIATIONS = 4.0
MAX_ERROR = 7e-4  # of the 1e-3 that a confidence may differ from NeMo's


@inline
def entropy_confidence(spread: float, classes: int) -> Any:
    """Return NeMo's entropy confidence for Σ p^0.33 = `spread`: 0 for a uniform guess among `classes`, 1 for none."""
    floor = exp((1.0 - float(classes) ** (1.0 - ENTROPY_POWER)) / (1.0 - ENTROPY_POWER))
    return (exp((1.0 - spread) / (1.0 - ENTROPY_POWER)) - floor) / (1.0 - floor)


@inline
def _measure(task: Any, b: int, token: int, cut: float) -> Any:
    """Return log-probability and entropy confidence of `token`, and the expected error of either.

    NeMo's default confidence: Tsallis entropy with alpha 0.33 over the token slice, exponential normalisation. Logits
    further than `cut` below are estimates whose errors are independent of one another; what they add to the sums
    follows from the sums of squares.
    """
    tokens, sums, norms = task[f.TOKENS], task[f.SUMS], task[f.NORMS] + NORM_BYTES * b
    logits = task[f.LOGITS] + 4 * b * tokens
    top = get_float(logits, token)
    exponential_sums(logits, tokens, top, np.float32(ENTROPY_POWER), np.float32(cut), sums)
    logprob = -log(get_float(sums, 0))
    shrink = exp(ENTROPY_POWER * logprob)
    spread = get_float(sums, 1) * shrink
    entropy = entropy_confidence(spread, task[f.BLANK] + 1)
    weight_part = get_float(norms, 0) * get_float(task[f.CONSTANTS], 1)
    input_part = get_float(norms, 1) * get_float(task[f.CONSTANTS], 2)
    deviation = sqrt(weight_part * weight_part + input_part * input_part)
    entropy_part = ENTROPY_POWER * sqrt(get_float(sums, 3)) * shrink / (1.0 - ENTROPY_POWER) * entropy
    logprob_part = sqrt(get_float(sums, 2)) / get_float(sums, 0)
    return logprob, entropy, deviation * max(entropy_part, logprob_part)


@inline
def confidence(task: Any, b: int, token: int) -> Any:
    """Return the log-probability of `token`, which has the largest logit, and its entropy confidence.

    Screened logits are estimates but for the survivors: rows near the token are computed in float32, more and more of
    them, until what the others can add is small.
    """
    keep_apart()
    if task[f.MODE] != SCREENED:
        logprob, entropy, _ = _measure(task, b, token, inf)
        return logprob, entropy
    tokens = task[f.TOKENS]
    logits = task[f.LOGITS] + 4 * b * tokens
    top = get_float(logits, token)
    # Whatever reached the best lower bound is exact already.
    cut = float(top - get_float(task[f.BEST], b))
    while True:
        logprob, entropy, error = _measure(task, b, token, cut)
        if error * DEVIATIONS <= MAX_ERROR:
            return logprob, entropy
        cut = max(cut, 0.0) + CUT_STEP
        limit = top - np.float32(cut)
        found = mark_candidates(logits, tokens, task[f.ROW_TABLES], tokens, task[f.ZEROS], limit, task[f.MASKS])
        if found > MAX_SURVIVORS or not cut <= LAST_CUT:  # a cut that is no number ends it, too
            break
        count_up(task, f.REFINED, found)
        best_survivor(task, b)
    full_row(task, b)
    logprob, entropy, _ = _measure(task, b, token, inf)
    return logprob, entropy


@inline
def score_emission(task: Any, pending: int) -> None:
    """Compute log-probability and confidence of an emission that waits for them: its logits are still there."""
    keep_apart()
    started = ticks()
    b, at = get_int(task[f.PENDING_ROWS], pending), get_int(task[f.PENDING_PLACES], pending)
    token = get_int32(task[f.OUT_TOKENS], at)
    # With something added, the token need not be the one of the largest logit, which confidences are about; what is
    # near that one must be exact, and masks may have hidden it.
    top = token if task[f.SLOTS] == 0 else choose_token(task, b)
    logprob, entropy = confidence(task, b, top)
    if task[f.SLOTS] != 0:
        logits = task[f.LOGITS] + 4 * b * task[f.TOKENS]
        set_float(task[f.OUT_TOPS], at, logprob)
        logprob += get_float(logits, token) - get_float(logits, top)
    set_float(task[f.OUT_LOGPROBS], at, logprob)
    set_float(task[f.OUT_ENTROPIES], at, entropy)
    count_up(task, f.SCORE_TICKS, ticks() - started)
