"""Scores of a given text by an automaton: for measuring language models, not for decoding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..vector.jit import njit
from .walking import describe_model, follow

if TYPE_CHECKING:
    from .automaton import Automaton


def score_tokens(model: Automaton, state: int, tokens: Any) -> Any:
    """Return the score of each token of a text that begins in a state.

    Parameters
    ----------
    model : Automaton
    state : int
    tokens : ndarray [shape=(n,)], int32
        Tokens of the automaton.

    Returns
    -------
    ndarray [shape=(n,)], float32
        Added up in the order that :class:`~tdt.kernels.fusion.automaton.Automaton` states.
    """
    scores = np.empty(len(tokens), np.float32)
    described = describe_model(model, 1.0)  # the model keeps what it points to
    _walk(described.ctypes.data, state, tokens, scores)
    return scores


@njit
def _walk(model: int, state: int, tokens: Any, scores: Any) -> None:
    for place in range(len(tokens)):
        scores[place], state = follow(model, state, np.int64(tokens[place]))
