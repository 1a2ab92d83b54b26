"""What every step of the loop is measured by, blanks and durations as well, in compiled code; only where asked for.

A step is an evaluation of the joint that moved an utterance on: it gave a token or a blank, and a duration. Tokens are
measured anyway (:mod:`.scores`); here it is the rest that NeMo's confidences can count.

Source: NeMo `tdt_label_looping.py: _get_step_confidence`, `asr_confidence_utils.py`.
"""

from __future__ import annotations

from math import exp, inf, log
from typing import Any, NamedTuple

import numpy as np

from ..vector.jit import inline
from ..vector.memory import get_float, get_int, keep_apart, set_float
from . import task as f
from .joint import SCREENED, best_survivor, choose_token
from .scores import ENTROPY_POWER, confidence, entropy_confidence

BLANK_PLACES, DURATION_PLACES = 4, 2


class Measured(NamedTuple):
    """Measures of a run over B utterances of at most T frames; log-probability and entropy confidence of the best.

    Attributes
    ----------
    blanks : ndarray [shape=(B, T, 4)], float32
        Of the frames at which a blank was found, at most one each: the token slice's two, the durations' two. Elsewhere
        NaN.
    durations : ndarray [shape=(B, capacity, 2)], float32
        Of each token the durations' two.
    """

    blanks: Any
    durations: Any


def step_measures(batch: int, frames: int, capacity: int) -> Measured:
    """Return room for the steps of `batch` utterances; memory is taken as tokens are written."""
    blanks = np.full((batch, frames, BLANK_PLACES), np.nan, np.float32)
    return Measured(blanks, np.empty((batch, capacity, DURATION_PLACES), np.float32))


@inline
def measure_step(task: Any, u: int, row: int, token: int) -> None:
    """Write down what the evaluation in `row` says of utterance `u`'s step, before it is taken."""
    keep_apart()
    if token != task[f.BLANK]:
        place = u * task[f.CAPACITY] + get_int(task[f.COUNTS], u)
        _measure_duration(task, row, task[f.STEP_DURATIONS] + 4 * DURATION_PLACES * place)
        return
    at = task[f.STEP_BLANKS] + 4 * BLANK_PLACES * (u * task[f.STEP_FRAMES] + get_int(task[f.TIMES], u))
    # With a mask the blank need not be the best of the row, which is measured as if nothing had been added.
    top = choose_token(task, row)
    if task[f.MODE] == SCREENED and top == task[f.BLANK]:
        best_survivor(task, row)  # of a row whose blank stood out, that logit is an estimate yet
    logprob, entropy = confidence(task, row, top)
    set_float(at, 0, logprob)
    set_float(at, 1, entropy)
    _measure_duration(task, row, at + 8)


@inline
def _measure_duration(task: Any, row: int, out: int) -> None:
    """Measure the durations of a row; as NeMo does, against a uniform guess among all tokens and the blank."""
    logits, count = task[f.DURATION_LOGITS] + 4 * row * task[f.DURATION_ROWS], task[f.DURATION_COUNT]
    top = -inf
    for index in range(count):
        top = max(top, float(get_float(logits, index)))
    total = powered = 0.0
    for index in range(count):
        below = float(get_float(logits, index)) - top
        total += exp(below)
        powered += exp(ENTROPY_POWER * below)
    logprob = -log(total)
    set_float(out, 0, np.float32(logprob))
    spread = powered * exp(ENTROPY_POWER * logprob)
    set_float(out, 1, np.float32(entropy_confidence(spread, task[f.BLANK] + 1)))
