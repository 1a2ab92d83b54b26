"""What a beam search has beside the task of :mod:`.task`: a table of its own, whose address stands there at BEAM.

Hypotheses are indices. The labels of all hypotheses of an utterance are a tree: a *node* is a sequence of labels, known
once, so that two hypotheses have equal labels where they have the same node, and what depends on the labels alone (the
prediction network's state, those of automata) is computed once a node and stays where it is: in one of the utterance's
*slots*. A *path* is a node's labels with the frames at which they were emitted. An *entry* holds what one evaluation of
the joint offers, by node and frame: hypotheses that come to the same place by other ways need no evaluation.
"""

from __future__ import annotations

from typing import Any

from ..vector.jit import inline
from ..vector.memory import get_int
from . import task as f

# Sizes: hypotheses and slots of an utterance, automata of one, room for nodes and for entries, int64 of an entry.
SIZE, SLOTS, MODELS, NODE_ROOM, ENTRY_ROOM, ENTRY_WIDTH = range(6)
# The rule: whether the best are chosen before fusion, whether blanks are weighted as pieces are, labels at one frame.
EARLY, WEIGHTED, LIMIT = 6, 7, 8
# Rounds so far.
ROUND = 9
# By hypothesis [U, W]: float64 scores; nodes, paths, next frames, labels at that frame; entries (addresses).
SCORES, NODES, PATHS, TIMES, REPEATS, ENTRIES = range(10, 16)
# By utterance: hypotheses alive; frames; first row of frames; float64 weight of all automata, address of a mask or 0.
LIVE, STOPS, STARTS, WEIGHTS, MASKS = range(16, 21)
# Nodes, paths and entries [U, room, fields], and how many there are [U].
TREE, WAYS, BOOK, TREE_COUNTS, WAY_COUNTS, BOOK_COUNTS = range(21, 27)
# By slot [U × S]: its node or -1, the round of its last use; states of automata [U × S, K], bonuses [U × S, V16].
SLOT_NODES, SLOT_ROUNDS, MODEL_STATES, BONUSES = range(27, 31)
# By row that is evaluated: slot, row of frames, entry (address). Zeros [V16].
ROW_SLOTS, ROW_FRAMES, ROW_ENTRIES, PLAIN = range(31, 35)
# What is chosen in a round [W + 1] and what comes of it; descriptors of automata, and by utterance which of them.
CHOSEN, NEXT, DESCRIPTORS, LISTED = range(35, 39)
# Which path each hypothesis's begins with [U, W]: the place of one that was carried in. How many slots stand in EMITTED
# whose bonuses are to be made before the first round.
OUT_ROOTS, FIRSTS = 39, 40
FIELDS = 41

# Fields of a node: its prefix, last label, first longer one, next of the same prefix, slot or -1, last entry or -1.
PREFIX, LABEL, CHILD, SIBLING, SLOT, ENTRY, NODE_FIELDS = 0, 1, 2, 3, 4, 5, 8
# Fields of a path: the one before (below 0: -1 - hypothesis that was carried in), label, frame, duration, two floats
# (log-probability and confidence), number of labels.
BEFORE, TOKEN, FRAME, DURATION, FLOATS, LENGTH, PATH_FIELDS = 0, 1, 2, 3, 4, 5, 8
# Fields of an entry: frame, next older entry of the node or -1, how many candidates, confidence (float32). Then the
# candidates, best first: float64 value, token, place in the duration table, log-probability (float32); the last one,
# beyond the W, is the blank that ends a run of labels at one frame.
AT, OLDER, COUNT, CONFIDENCE, CANDIDATES = range(5)
VALUE, CANDIDATE_TOKEN, STEP, LOGPROB, CANDIDATE_FIELDS = range(5)


@inline
def of(task: Any, place: int) -> Any:
    """Return a number of the beam search's table."""
    return get_int(task[f.BEAM], place)


@inline
def has_models(task: Any, u: int) -> Any:
    """Say whether utterance `u` has automata; where it has none, nothing is added, as in a batch without any."""
    models = of(task, MODELS)
    return models > 0 and get_int(of(task, LISTED) + 8 * models * u, 0) >= 0


@inline
def node_at(task: Any, u: int, node: int) -> Any:
    """Return the address of a node."""
    return of(task, TREE) + 8 * NODE_FIELDS * (u * of(task, NODE_ROOM) + node)


@inline
def path_at(task: Any, u: int, path: int) -> Any:
    """Return the address of a path."""
    return of(task, WAYS) + 8 * PATH_FIELDS * (u * of(task, NODE_ROOM) + path)


@inline
def entry_at(task: Any, u: int, entry: int) -> Any:
    """Return the address of an entry."""
    return of(task, BOOK) + 8 * of(task, ENTRY_WIDTH) * (u * of(task, ENTRY_ROOM) + entry)


@inline
def candidate_at(entry: int, place: int) -> Any:
    """Return the address of a candidate of the entry at an address."""
    return entry + 8 * (CANDIDATES + CANDIDATE_FIELDS * place)
