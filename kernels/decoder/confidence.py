"""What the logits of one evaluation say about the token chosen: log-probability and NeMo's default confidence.

Source: NeMo `asr_confidence_utils.py`, method entropy, Tsallis, alpha 0.33, exponential normalisation.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..vector.jit import njit
from .constants import ALPHA


@njit
def row_statistics(logits: Any) -> Any:
    """Return what a confidence needs of one row of token logits.

    Parameters
    ----------
    logits : ndarray [shape=(V,)], float32
        The token slice, blank included.

    Returns
    -------
    best : int
        Index of the largest logit; the first of equals. -1 where a logit is NaN or infinite.
    logprob : float
        Log-softmax of that entry.
    power_sum : float
        Sum of the probabilities, each to the power of alpha.
    """
    best = 0
    for index in range(logits.shape[0]):
        if not np.isfinite(logits[index]):
            return -1, math.nan, math.nan
        if logits[index] > logits[best]:
            best = index
    total = 0.0
    powered = 0.0
    for index in range(logits.shape[0]):
        below = np.float64(logits[index]) - np.float64(logits[best])
        total += math.exp(below)
        powered += math.exp(ALPHA * below)
    return best, -math.log(total), powered * total**-ALPHA


def tsallis_confidence(power_sum: Any, classes: int) -> Any:
    """Return NeMo's default token confidence.

    Parameters
    ----------
    power_sum : ndarray or float
        Sum over the token slice of p to the power of alpha.
    classes : int
        Size of the token slice, blank included.

    Returns
    -------
    ndarray or float, float32
        0 for a uniform distribution, 1 for certainty.
    """
    least = math.exp((1.0 - classes ** (1.0 - ALPHA)) / (1.0 - ALPHA))
    entropy = (1.0 - np.asarray(power_sum, np.float64)) / (1.0 - ALPHA)
    return np.clip((np.exp(entropy) - least) / (1.0 - least), 0.0, 1.0).astype(np.float32)
