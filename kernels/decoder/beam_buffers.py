"""Arrays of a beam search over U utterances, and the table that points to them (:mod:`.beam_task`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import beam_task as g
from .beam_choice import LANES, PIECE_FIELDS, PIECES
from .beam_step import CHOSEN_FIELDS, NEXT_FIELDS
from .tables import aligned

if TYPE_CHECKING:
    from .fused_buffers import Fused

# Slots of a hypothesis: one for its labels, and one for what they come from while they are fed. More would remember
# what comes back after it was dropped, which is rare (measured on speech: 64 save nothing).
SLOTS_EACH = 2


class Sizes(NamedTuple):
    """Utterances U, hypotheses of each W, automata of each K (0 for none), token rows V16, room for nodes of each."""

    utterances: int
    hypotheses: int
    models: int
    tokens: int
    room: int


class Hypotheses(NamedTuple):
    """Where the W hypotheses of U utterances stand; the first `live` of each count.

    Attributes
    ----------
    scores : ndarray [shape=(U, W)], float64
    nodes, paths, times, repeats, entries : ndarray [shape=(U, W)], int64
        Labels; labels with frames; next frame; labels in a row there; what the joint offers, an address.
    live, stops, starts : ndarray [shape=(U,)], int64
        Hypotheses; frames; first row of the utterance's frames.
    weights, masks : ndarray [shape=(U,)]
        float64 weight of all automata; int64 address of a mask or 0.
    """

    scores: Any
    nodes: Any
    paths: Any
    times: Any
    repeats: Any
    entries: Any
    live: Any
    stops: Any
    starts: Any
    weights: Any
    masks: Any


class Memory(NamedTuple):
    """What a search remembers, by utterance, in rows of int64: see the fields in :mod:`.beam_task`.

    Attributes
    ----------
    tree, ways : ndarray [shape=(U, room, 8)], int64
    book : ndarray [shape=(U, room, width)], int64
    tree_counts, way_counts, book_counts : ndarray [shape=(U,)], int64
    """

    tree: Any
    ways: Any
    book: Any
    tree_counts: Any
    way_counts: Any
    book_counts: Any


class BeamArrays(NamedTuple):
    """All arrays of a search; `table` points to the others.

    Attributes
    ----------
    table : ndarray [shape=(FIELDS,)], int64
    hypotheses : Hypotheses
    memory : Memory
    slot_nodes, slot_rounds : ndarray [shape=(U × S,)], int64
    model_states, bonuses : ndarray [shape=(U × S, K)], int64, and [shape=(U × S, V16)], float32
    kept : tuple
        Buffers that only compiled code reads.
    """

    table: Any
    hypotheses: Hypotheses
    memory: Memory
    slot_nodes: Any
    slot_rounds: Any
    model_states: Any
    bonuses: Any
    kept: tuple[Any, ...]


def slots_of(size: int) -> int:
    """Return how many slots an utterance has."""
    return SLOTS_EACH * size


def entry_width(size: int) -> int:
    """Return how many int64 an entry takes."""
    return g.CANDIDATES + g.CANDIDATE_FIELDS * (size + 1)


def beam_scratch(size: int, threads: int) -> Any:
    """Return what each thread needs for itself, int64 [threads, n]."""
    return aligned((threads, PIECES + PIECE_FIELDS * (size + 1) + LANES), np.int64)


def beam_arrays(sizes: Sizes) -> BeamArrays:
    """Return arrays for a search; memory that is never reached is never touched."""
    utterances, width, models, tokens, room = sizes
    slots = utterances * slots_of(width)
    numbers = np.zeros((5, utterances, width), np.int64)
    by_utterance = np.zeros((3, utterances), np.int64)
    weights, masks = np.zeros(utterances), np.zeros(utterances, np.int64)
    hypotheses = Hypotheses._make([np.zeros((utterances, width)), *numbers, *by_utterance, weights, masks])
    counts = np.zeros((3, utterances), np.int64)
    memory = Memory(
        np.empty((utterances, room, g.NODE_FIELDS), np.int64),
        np.empty((utterances, room, g.PATH_FIELDS), np.int64),
        np.empty((utterances, room, entry_width(width)), np.int64),
        *counts,
    )
    rows = np.zeros((3, utterances * width), np.int64)
    working = (np.zeros((width + 1, CHOSEN_FIELDS), np.int64), np.zeros((width + 1, NEXT_FIELDS), np.int64))
    table = np.zeros(g.FIELDS, np.int64)
    arrays = BeamArrays(
        table=table,
        hypotheses=hypotheses,
        memory=memory,
        slot_nodes=np.full(slots, -1, np.int64),
        slot_rounds=np.zeros(slots, np.int64),
        model_states=np.zeros((slots, models), np.int64),
        bonuses=aligned((slots, tokens) if models else (0, tokens), np.float32),
        kept=(*rows, aligned((tokens,), np.float32), *working, np.zeros((utterances, width), np.int64)),
    )
    table[[g.SIZE, g.SLOTS, g.MODELS, g.ENTRY_WIDTH]] = width, slots_of(width), models, entry_width(width)
    _point(arrays)
    return arrays


def _point(arrays: BeamArrays) -> None:
    """Write the addresses of all arrays to the table."""
    table = arrays.table
    table[g.NODE_ROOM], table[g.ENTRY_ROOM] = arrays.memory.tree.shape[1], arrays.memory.book.shape[1]
    table[g.SCORES : g.MASKS + 1] = [array.ctypes.data for array in arrays.hypotheses]
    table[g.TREE : g.BOOK_COUNTS + 1] = [array.ctypes.data for array in arrays.memory]
    slots = (arrays.slot_nodes, arrays.slot_rounds, arrays.model_states, arrays.bonuses)
    table[g.SLOT_NODES : g.BONUSES + 1] = [array.ctypes.data for array in slots]
    *places, roots = (array.ctypes.data for array in arrays.kept)
    table[g.ROW_SLOTS : g.NEXT + 1] = places
    table[g.OUT_ROOTS] = roots


def set_beam_rule(table: Any, limit: int, *, early: bool, weighted: bool) -> None:
    """Fill in the rule: labels at one frame, whether the best are chosen before fusion, whether blanks are weighted."""
    table[g.LIMIT], table[g.EARLY], table[g.WEIGHTED] = limit, early, weighted


def set_beam_fusion(table: Any, fused: Fused) -> None:
    """Point to the automata of all utterances."""
    table[g.DESCRIPTORS], table[g.LISTED] = fused.models.ctypes.data, fused.listed.ctypes.data


def more_room(arrays: BeamArrays) -> BeamArrays:
    """Return the same search with twice the room for nodes, paths and entries."""
    memory = arrays.memory
    larger = [
        np.concatenate([array, np.empty_like(array)], axis=1) for array in (memory.tree, memory.ways, memory.book)
    ]
    grown = arrays._replace(memory=Memory._make([*larger, *memory[3:]]))
    _point(grown)
    return grown
