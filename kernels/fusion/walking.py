"""Automata in compiled code: the next state, and the scores of all tokens as one row of bonuses.

An utterance has up to K automata, each with a weight (NeMo's alpha); what it adds to the logits of a step is the sum of
weight × score, in their order. The row is made once for every emitted token: one pass over the vocabulary an automaton,
since most tokens share the root's scores, then the arcs on the chain of failures, from the root's side on.

Source: NeMo `label_looping_base.py: advance_fusion_models`, `boosting_graph_batched.py` and `ngram_lm_batched.py:
_advance_pytorch`; the order of float32 additions is theirs.
"""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np

from ..vector.fused_rows import add_row, scale_shifted
from ..vector.jit import inline
from ..vector.memory import get_float, get_int, get_int32, keep_apart, set_float, set_int
from .automaton import LANES, Automaton

# Places in a descriptor: addresses of an Automaton's arrays, and its weight, the bits of a float32 at WEIGHT.
ARC_STARTS, LABELS, TARGETS, WEIGHTS, BACKOFFS, BACKOFF_WEIGHTS, ROOT_WEIGHTS, ROOT_TARGETS, WEIGHT, LONGEST = range(10)
DESCRIPTOR_PLACES = 10
NO_ARC = -1


def describe_model(model: Automaton, weight: float) -> Any:
    """Return the descriptor of an automaton, int64 [DESCRIPTOR_PLACES]; the caller keeps the automaton alive."""
    row = np.zeros(DESCRIPTOR_PLACES, np.int64)
    row[:WEIGHT] = [
        array.ctypes.data
        for array in (
            model.arc_starts, model.labels, model.targets, model.weights, model.backoffs, model.backoff_weights,
            model.root_weights, model.root_targets,
        )
    ]  # fmt: skip
    row[WEIGHT : WEIGHT + 1].view(np.float32)[0] = weight
    row[WEIGHT + 1] = model.longest
    return row


@inline
def find_arc(model: int, state: int, label: int) -> Any:
    """Return the arc of `state` with this label, or NO_ARC."""
    low = get_int(get_int(model, ARC_STARTS), state)
    high = get_int(get_int(model, ARC_STARTS), state + 1)
    labels = get_int(model, LABELS)
    end = high
    while low < high:
        middle = (low + high) >> 1
        if get_int32(labels, middle) < label:
            low = middle + 1
        else:
            high = middle
    if low < end and get_int32(labels, low) == label:
        return low
    return NO_ARC


@inline
def follow(model: int, state: int, label: int) -> Any:
    """Return the score of `label` in a state of the automaton described at `model`, and the state after it."""
    keep_apart()
    total = np.float32(0)
    while state != 0:
        arc = find_arc(model, state, label)
        if arc >= 0:
            return np.float32(total + get_float(get_int(model, WEIGHTS), arc)), get_int32(get_int(model, TARGETS), arc)
        total = np.float32(total + get_float(get_int(model, BACKOFF_WEIGHTS), state))
        state = get_int32(get_int(model, BACKOFFS), state)
    root = np.float32(total + get_float(get_int(model, ROOT_WEIGHTS), label))
    return root, get_int32(get_int(model, ROOT_TARGETS), label)


@inline
def _score_row(model: int, state: int, count: int, chain: int, out: int) -> None:
    """Write weight × score of all tokens in `state` to out [count]; `chain` has room for LONGEST pairs of int64."""
    keep_apart()
    weight, sums = get_float(model, 2 * WEIGHT), np.float32(0)
    length = np.int64(0)
    while state != 0:
        set_int(chain, 2 * length, state)
        set_float(chain, 4 * length + 2, sums)
        length += 1
        sums = np.float32(sums + get_float(get_int(model, BACKOFF_WEIGHTS), state))
        state = get_int32(get_int(model, BACKOFFS), state)
    scale_shifted(get_int(model, ROOT_WEIGHTS), count, sums, weight, out)
    starts, labels, weights = get_int(model, ARC_STARTS), get_int(model, LABELS), get_int(model, WEIGHTS)
    while length > 0:
        length -= 1
        state, sums = get_int(chain, 2 * length), get_float(chain, 4 * length + 2)
        for arc in range(get_int(starts, state), get_int(starts, state + 1)):
            score = np.float32(sums + get_float(weights, arc))
            set_float(out, get_int32(labels, arc), np.float32(weight * score))


@inline
def fill_bonus(
    models: int, listed: int, states: int, slots: int, mask: int, tokens: int, count: int, scratch: int, out: int
) -> None:
    """Write what is added to the logits of the pieces to `out` [count], -inf for the blank, the padding and the masked.

    Parameters
    ----------
    models : int
        Address of descriptors, int64 [M, DESCRIPTOR_PLACES].
    listed, states : int
        Addresses of `slots` int64: which descriptor (-1 for none), and the state of that automaton.
    slots : int
    mask : int
        Address of float32 [count], 0 or -inf; or 0 for none.
    tokens, count : int
        Number of pieces without the blank; of floats in a row, a multiple of 16.
    scratch : int
        Address of a row of `count` floats, followed by room for the longest chain (two int64 a state).
    out : int
    """
    keep_apart()
    chain, filled, padded = scratch + 4 * count, False, (tokens + LANES - 1) // LANES * LANES
    for slot in range(slots):
        model = get_int(listed, slot)
        if model < 0:
            continue
        at = models + 8 * DESCRIPTOR_PLACES * model
        if filled:
            _score_row(at, get_int(states, slot), padded, chain, scratch)
            add_row(scratch, padded, out)
        else:
            _score_row(at, get_int(states, slot), padded, chain, out)
            filled = True
    if not filled:
        for token in range(tokens):
            set_float(out, token, np.float32(0))
    if mask != 0:
        add_row(mask, count, out)
    for token in range(tokens, count):
        set_float(out, token, np.float32(-inf))


@inline
def advance_states(models: int, listed: int, states: int, slots: int, label: int) -> None:
    """Move the states of an utterance's automata on by an emitted label."""
    keep_apart()
    for slot in range(slots):
        model = get_int(listed, slot)
        if model >= 0:
            at = models + 8 * DESCRIPTOR_PLACES * model
            _, state = follow(at, get_int(states, slot), label)
            set_int(states, slot, state)
