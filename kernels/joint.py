"""The joint's output layer in compiled code: logits, argmax and confidence, in float32, screened, or 8-bit.

Screened, each logit is estimated from 8-bit rows with a certified error; only rows whose upper bound reaches the best
lower bound are computed in float32, so that the argmax is float32's by construction, ties included (first index wins).
"""

from __future__ import annotations

from math import exp, inf, log, sqrt
from typing import Any

import numpy as np

from .buffers import CHUNK_ROWS
from .dense import multiply_bytes, multiply_floats, quantize_vectors, zero_shift
from .jit import inline
from .rows import estimate, exponential_sums, mark_candidates
from .simd import address_of, float_dot

FULL, SCREENED, BYTES = 0, 1, 2  # how the output layer is evaluated
SURVIVORS, FALLBACKS, REFINED = 5, 6, 13  # places in the counters
MAX_SURVIVORS = 512
# Confidence: rows within a cut of the token (nats) are exact; the cut grows until the deviation that is expected of the
# others, times a safety factor, is below the error allowed.
CUT_STEP = 3.0
DEVIATIONS = 4.0
CONFIDENCE_ERROR = 1e-3
# Σ of the float32 sums of squares: (K / 16 + 5) units at most; generous for any K below 100 000.
NORM_SLACK = 1.0 + 1e-3
ENTROPY_POWER = 0.33


@inline
def joint_logits(isa: int, mode: int, weights: Any, work: Any, m: int) -> None:
    """Evaluate the output layer on work.hidden[:m]: logits or estimates, best lower bounds, duration logits."""
    hidden, logits = work.hidden, work.logits
    for b in range(m):
        work.durations[b, :] = weights.duration_bias
    multiply_floats(weights.duration, False, hidden, m, work.durations)
    scratch = work.scratch
    quantize_vectors(hidden, m, scratch.levels, scratch.stats)
    for b in range(m):
        work.best[b] = -inf
        _norms(work.norms[b], scratch.stats[b], mode, work.bias_error)
    if mode == FULL:
        for b in range(m):
            logits[b, :] = weights.rows[1]
        multiply_floats(weights.output.values[0], False, hidden, m, logits)
        return
    shift = zero_shift(isa)
    levels, rows = weights.output.levels[0], weights.rows
    n = levels.shape[0]
    for start in range(0, n, CHUNK_ROWS):
        stop = min(start + CHUNK_ROWS, n)
        multiply_bytes(isa, levels, start, stop, scratch.levels, m, scratch.dots)
        for b in range(m):
            low = estimate(
                address_of(scratch.dots, b * scratch.dots.shape[1]),
                stop - start,
                int(scratch.stats[b, 1]) - shift,
                scratch.stats[b, 0],
                address_of(rows, start),
                n,
                address_of(work.norms, b * 4),
                address_of(logits, b * n + start),
            )
            work.best[b] = max(work.best[b], low)


@inline
def _norms(norms: Any, stats: Any, mode: int, bias_error: Any) -> None:
    """Bound |x| and the error of the quantised x from above; all zero where logits are taken as they are.

    |x| is NaN or infinite exactly when an activation is (or its square overflows), which `norms[3]` keeps in any mode.
    """
    norm = np.float32(np.sqrt(stats[2]) * NORM_SLACK)
    norms[3] = norm
    if mode == SCREENED:
        norms[0] = norm
        # The error was computed in float32 too: a few units of the norm cover it.
        norms[1] = np.float32(np.sqrt(stats[3]) * NORM_SLACK + norm * 1e-6)
        norms[2] = bias_error
    else:
        norms[:3] = np.float32(0)


@inline
def choose_token(mode: int, weights: Any, work: Any, b: int, blank: int, counters: Any) -> int:
    """Return the argmax of row `b` over the token slice; its logit in work.logits is exact unless it is the blank.

    Returns -1 where the numbers are not finite.
    """
    logits, n = work.logits, work.logits.shape[1]
    if not work.norms[b, 3] < inf:
        return -1
    if mode == FULL:
        return _first_largest(logits[b])
    at, rows = address_of(logits, b * n), address_of(weights.rows, 0)
    norms, masks = address_of(work.norms, b * 4), address_of(work.masks, 0)
    found = mark_candidates(at, n, rows, n, norms, work.best[b], masks)
    if mode == BYTES:
        return _first_marked(work.masks)
    counters[SURVIVORS] += found
    if found == 1:
        token = _first_marked(work.masks)
        if token != blank:
            logits[b, token] = _exact(weights, work, b, token)
        return token
    if found > MAX_SURVIVORS:
        _full_row(weights, work, b, counters)
        return _first_largest(logits[b])
    return _best_survivor(weights, work, b)


@inline
def _exact(weights: Any, work: Any, b: int, token: int) -> Any:
    """Return the float32 logit of one row, with the bits of the full product."""
    values, hidden = weights.output.values, work.hidden
    k = hidden.shape[1]
    return weights.rows[1, token] + float_dot(address_of(values, token * k), address_of(hidden, b * k), k)


@inline
def _best_survivor(weights: Any, work: Any, b: int) -> int:
    """Compute the marked rows in float32, put them in their places, and return the first of the largest."""
    token, best = -1, np.float32(-inf)
    for block in range(len(work.masks)):
        mask = work.masks[block]
        if mask == 0:
            continue
        for lane in range(16):
            if mask >> lane & 1:
                row = block * 16 + lane
                logit = _exact(weights, work, b, row)
                work.logits[b, row] = logit
                if logit > best:
                    token, best = row, logit
    return token


@inline
def _first_marked(masks: Any) -> int:
    for block in range(len(masks)):
        mask = masks[block]
        if mask != 0:
            lane = 0
            while not mask >> lane & 1:
                lane += 1
            return block * 16 + lane
    return -1


@inline
def _first_largest(values: Any) -> int:
    """Return the index of the first largest value, or -1 if any is NaN or the largest is infinite."""
    place, best = -1, np.float32(-inf)
    for index in range(len(values)):
        value = values[index]
        if value > best:
            place, best = index, value
        elif value != value:  # noqa: PLR0124
            return -1
    return place if best < inf else -1


@inline
def choose_duration(work: Any, b: int, count: int) -> int:
    """Return the argmax of the first `count` duration logits of row `b`."""
    return _first_largest(work.durations[b, :count])


@inline
def _measure(work: Any, b: int, token: int, classes: int, cut: float) -> Any:
    """Return log-probability and entropy confidence of `token`, and the expected error of either.

    NeMo's default confidence: Tsallis entropy with alpha 0.33 over the token slice, exponential normalisation. The
    logits further than `cut` below are estimates whose errors are independent of one another, of standard deviation
    work.norms[b, 3] × work.typical[0] and so on: what they add to the sums follows from the sums of squares.
    """
    logits, n, sums = work.logits, work.logits.shape[1], work.sums
    power, top = np.float32(ENTROPY_POWER), logits[b, token]
    exponential_sums(address_of(logits, b * n), n, top, power, np.float32(cut), address_of(sums, 0))
    logprob = -log(sums[0])
    shrink = exp(ENTROPY_POWER * logprob)
    floor = exp((1.0 - float(classes) ** (1.0 - ENTROPY_POWER)) / (1.0 - ENTROPY_POWER))
    entropy = (exp((1.0 - sums[1] * shrink) / (1.0 - ENTROPY_POWER)) - floor) / (1.0 - floor)
    weight_part = work.norms[b, 0] * work.typical[0]
    input_part = work.norms[b, 1] * work.typical[1]
    deviation = sqrt(weight_part * weight_part + input_part * input_part)
    spread_error = ENTROPY_POWER * sqrt(sums[3]) * shrink / (1.0 - ENTROPY_POWER) * entropy
    return logprob, entropy, deviation * max(spread_error, sqrt(sums[2]) / sums[0])


@inline
def confidence(mode: int, weights: Any, work: Any, b: int, token: int, classes: int, counters: Any) -> Any:
    """Return the log-probability of `token` and its entropy confidence.

    Screened logits are estimates but for the survivors: rows near the token are computed in float32, more and more of
    them, until what the others can add is small.
    """
    if mode != SCREENED:
        logprob, entropy, _ = _measure(work, b, token, classes, inf)
        return logprob, entropy
    n, top = work.logits.shape[1], work.logits[b, token]
    at, rows, masks = address_of(work.logits, b * n), address_of(weights.rows, 0), address_of(work.masks, 0)
    # Whatever reached the best lower bound is exact already.
    cut = float(top - work.best[b])
    while True:
        logprob, entropy, error = _measure(work, b, token, classes, cut)
        if error * DEVIATIONS <= CONFIDENCE_ERROR:
            return logprob, entropy
        cut = max(cut, 0.0) + CUT_STEP
        found = mark_candidates(at, n, rows, n, address_of(work.zeros, 0), top - np.float32(cut), masks)
        if found > MAX_SURVIVORS:
            break
        counters[REFINED] += found
        _best_survivor(weights, work, b)
    _full_row(weights, work, b, counters)
    logprob, entropy, _ = _measure(work, b, token, classes, inf)
    return logprob, entropy


@inline
def _full_row(weights: Any, work: Any, b: int, counters: Any) -> None:
    """Compute all logits of row `b` in float32."""
    counters[FALLBACKS] += 1
    work.logits[b, :] = weights.rows[1]
    multiply_floats(weights.output.values[0], False, work.hidden[b : b + 1], 1, work.logits[b : b + 1])
