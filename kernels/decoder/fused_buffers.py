"""Arrays of a run that adds something to the logits: automata and masks, and where each utterance stands in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..fusion.walking import DESCRIPTOR_PLACES, describe_model
from .fusing import ADD, MASK_FIRST
from .tables import aligned

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..fusion.automaton import Automaton


class Fused(NamedTuple):
    """What is added for B utterances of at most K automata each; arrays are updated in place.

    Attributes
    ----------
    models : ndarray [shape=(M, DESCRIPTOR_PLACES)], int64
        Descriptors of the automata with their weights; their arrays are kept in `kept`.
    listed, states : ndarray [shape=(B, K)], int64
        Which descriptors, -1 for none, and the states of these automata.
    masks, ways : ndarray [shape=(B,)], int64
        Address of a mask, float32 [V16] of 0 and -inf, or 0; bits of :mod:`.fusing`.
    bonuses : ndarray [shape=(B, V16)], float32
    made, plain : ndarray [shape=(B,)], int64
        Whether the bonuses are those of the states; what plain decoding chose last.
    tops : ndarray [shape=(B, capacity)], float32
        Log-probability of the token that plain decoding would have chosen.
    changed : ndarray [shape=(B, capacity)], int32
        Whether that is another than the one emitted.
    longest : int
        Most states on a chain of failures of any automaton.
    kept : tuple
        Arrays that addresses point to.
    """

    models: Any
    listed: Any
    states: Any
    masks: Any
    ways: Any
    bonuses: Any
    made: Any
    plain: Any
    tops: Any
    changed: Any
    longest: int
    kept: tuple[Any, ...]


class Addition(NamedTuple):
    """What is added for one utterance: automata with weights and states; a mask, bool [V], from when on."""

    models: Sequence[tuple[Automaton, float]]
    states: Sequence[int]
    allowed: Any = None
    after_blank: bool = False


def token_mask(allowed: Any, width: int) -> Any:
    """Return float32 [width]: -inf at the pieces that are not allowed, 0 elsewhere, also at the blank and behind it."""
    mask = aligned((width,), np.float32)
    mask[: len(allowed)][~allowed] = -np.inf
    return mask


def fused_state(additions: Sequence[Addition], width: int, capacity: int) -> Fused:
    """Return the arrays of a run; equal automata with equal weights are described once, equal masks made once."""
    batch, slots = len(additions), max(1, *(len(addition.models) for addition in additions))
    listed, states = np.full((batch, slots), -1, np.int64), np.zeros((batch, slots), np.int64)
    masks, ways = np.zeros((2, batch), np.int64)
    places: dict[tuple[int, float], int] = {}
    rows: list[Any] = []
    made_masks: dict[int, Any] = {}
    for u, addition in enumerate(additions):
        for slot, (model, weight) in enumerate(addition.models):
            key = (id(model), weight)
            if key not in places:
                places[key] = len(rows)
                rows.append(describe_model(model, weight))
            listed[u, slot], states[u, slot] = places[key], addition.states[slot]
        if addition.allowed is not None:
            mask = made_masks.setdefault(id(addition.allowed), token_mask(addition.allowed, width))
            masks[u] = mask.ctypes.data
            ways[u] = 0 if addition.after_blank else MASK_FIRST
        if addition.models or addition.after_blank:
            ways[u] |= ADD
    return Fused(
        models=np.array(rows, np.int64).reshape(-1, DESCRIPTOR_PLACES),
        listed=listed,
        states=states,
        masks=masks,
        ways=ways,
        bonuses=aligned((batch, width), np.float32),
        made=np.zeros(batch, np.int64),
        plain=np.zeros(batch, np.int64),
        tops=np.empty((batch, capacity), np.float32),
        changed=np.empty((batch, capacity), np.int32),
        longest=max((model.longest for addition in additions for model, _ in addition.models), default=0),
        kept=(tuple(made_masks.values()), tuple(additions)),
    )


def scratch(fused: Fused) -> Any:
    """Return a row of scores, and room for the longest chain, two int64 a state."""
    return aligned((fused.bonuses.shape[1] + 4 * fused.longest + 16,), np.float32)
