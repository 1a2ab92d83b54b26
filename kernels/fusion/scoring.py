"""Scores of a given text by an automaton: for measuring language models, not for decoding."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..vector.jit import njit


@njit
def score_tokens(
    arc_starts: Any,
    labels: Any,
    targets: Any,
    weights: Any,
    backoffs: Any,
    backoff_weights: Any,
    root_weights: Any,
    root_targets: Any,
    state: int,
    tokens: Any,
    scores: Any,
) -> int:
    """Walk over tokens from a state; return the state after them.

    Parameters
    ----------
    arc_starts, labels, targets, weights, backoffs, backoff_weights, root_weights, root_targets : ndarray
        As in :class:`~tdt.kernels.fusion.automaton.Automaton`.
    state : int
    tokens : ndarray [shape=(n,)], int32
    scores : ndarray [shape=(n,)], float32
        Filled with each token's score, added up in the order that is stated there.
    """
    for place in range(len(tokens)):
        token, total = tokens[place], np.float32(0)
        while True:
            if state == 0:
                scores[place], state = total + root_weights[token], root_targets[token]
                break
            low, high = arc_starts[state], arc_starts[state + 1]
            end = high
            while low < high:
                middle = (low + high) >> 1
                if labels[middle] < token:
                    low = middle + 1
                else:
                    high = middle
            if low < end and labels[low] == token:
                scores[place], state = total + weights[low], targets[low]
                break
            total += backoff_weights[state]
            state = backoffs[state]
    return state
