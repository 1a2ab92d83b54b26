"""One step of a beam search for one utterance, in compiled code: the best candidates become its hypotheses.

Source: NeMo `tdt_malsd_batched_computer.py: modified_alsd_torch`, `batched_beam_decoding_utils.py: BatchedBeamHyps`.
Dead hypotheses are left out instead of filling places.
"""

from __future__ import annotations

from math import exp, log1p
from typing import Any

from ..vector.jit import inline
from ..vector.memory import get_double, get_int, keep_apart, set_double, set_int
from . import beam_task as g
from . import task as f

KEPT = -1  # as a candidate: the hypothesis itself, which has ended
# Of what is chosen: float64 score, hypothesis, candidate. Of what comes of it: float64 score, node, path, time,
# repeats, and the candidate whose label is new, an address, or 0.
SCORE, HYPOTHESIS, CANDIDATE, CHOSEN_FIELDS = range(4)
NODE, PATH, TIME, REPEATS, ADDED, NEXT_FIELDS = 1, 2, 3, 4, 5, 6


@inline
def is_active(task: Any, u: int) -> Any:
    """Say whether any hypothesis of utterance `u` has frames left."""
    first = u * g.of(task, g.SIZE)
    for i in range(first, first + get_int(g.of(task, g.LIVE), u)):
        if get_int(g.of(task, g.TIMES), i) < get_int(g.of(task, g.STOPS), u):
            return True
    return False


@inline
def has_room(task: Any, u: int) -> Any:
    """Say whether a step fits into what is there for nodes, paths and entries."""
    size, nodes = g.of(task, g.SIZE), g.of(task, g.NODE_ROOM)
    return (
        get_int(g.of(task, g.TREE_COUNTS), u) + size <= nodes
        and get_int(g.of(task, g.WAY_COUNTS), u) + size <= nodes
        and get_int(g.of(task, g.BOOK_COUNTS), u) + size <= g.of(task, g.ENTRY_ROOM)
    )


@inline
def list_rows(task: Any, u: int, m: int) -> Any:
    """Find the entries of utterance `u`'s hypotheses; those that are new become rows from `m` on. Return the next."""
    keep_apart()
    first = u * g.of(task, g.SIZE)
    for i in range(first, first + get_int(g.of(task, g.LIVE), u)):
        time = get_int(g.of(task, g.TIMES), i)
        if time >= get_int(g.of(task, g.STOPS), u):
            continue
        node = g.node_at(task, u, get_int(g.of(task, g.NODES), i))
        newer, entry = -1, get_int(node, g.ENTRY)
        while entry >= 0 and get_int(g.entry_at(task, u, entry), g.AT) > time:
            newer, entry = entry, get_int(g.entry_at(task, u, entry), g.OLDER)
        if entry < 0 or get_int(g.entry_at(task, u, entry), g.AT) != time:
            entry = _new_entry(task, u, node, newer, entry, time)
            set_int(g.of(task, g.ROW_SLOTS), m, get_int(node, g.SLOT))
            set_int(g.of(task, g.ROW_FRAMES), m, get_int(g.of(task, g.STARTS), u) + time)
            set_int(g.of(task, g.ROW_ENTRIES), m, g.entry_at(task, u, entry))
            m += 1
        set_int(g.of(task, g.ENTRIES), i, g.entry_at(task, u, entry))
    return m


@inline
def _new_entry(task: Any, u: int, node: int, newer: int, older: int, time: int) -> Any:
    """Make an entry between two of a node, which are listed from the last frame on."""
    counts = g.of(task, g.BOOK_COUNTS)
    entry = get_int(counts, u)
    set_int(counts, u, entry + 1)
    at = g.entry_at(task, u, entry)
    set_int(at, g.AT, time)
    set_int(at, g.OLDER, older)
    if newer >= 0:
        set_int(g.entry_at(task, u, newer), g.OLDER, entry)
    else:
        set_int(node, g.ENTRY, entry)
    return entry


@inline
def step_utterance(task: Any, u: int, emitted: int) -> Any:
    """Take utterance `u` a step on; slots whose labels are new are listed in EMITTED from `emitted` on. Return how far.

    LABELS and SOURCES of these slots say what to feed to which state.
    """
    keep_apart()
    chosen = _choose(task, u)
    count = 0
    for place in range(chosen):
        count = _follow(task, u, place, count)
    return _settle(task, u, count, emitted)


@inline
def _choose(task: Any, u: int) -> Any:
    """List the best candidates of all hypotheses, the first of equals first; return how many there are."""
    keep_apart()
    size, count = g.of(task, g.SIZE), 0
    first = u * size
    for h in range(get_int(g.of(task, g.LIVE), u)):
        i = first + h
        score = get_double(g.of(task, g.SCORES), i)
        if get_int(g.of(task, g.TIMES), i) >= get_int(g.of(task, g.STOPS), u):
            count = _offer(task, count, score, h, KEPT)
            continue
        entry = get_int(g.of(task, g.ENTRIES), i)
        low, high = 0, get_int(entry, g.COUNT)
        if 0 < g.of(task, g.LIMIT) <= get_int(g.of(task, g.REPEATS), i):
            low, high = size, size + 1
        for c in range(low, high):
            count = _offer(task, count, score + get_double(g.candidate_at(entry, c), g.VALUE), h, c)
    return count


@inline
def _offer(task: Any, count: int, score: float, hypothesis: int, candidate: int) -> Any:
    chosen, size = g.of(task, g.CHOSEN), g.of(task, g.SIZE)
    place = count
    while place > 0 and score > get_double(chosen, CHOSEN_FIELDS * (place - 1)):
        place -= 1
    if place >= size:
        return count
    count = min(count + 1, size)
    for later in range(count - 1, place, -1):
        for field in range(CHOSEN_FIELDS):
            set_int(chosen, CHOSEN_FIELDS * later + field, get_int(chosen, CHOSEN_FIELDS * (later - 1) + field))
    set_double(chosen, CHOSEN_FIELDS * place + SCORE, score)
    set_int(chosen, CHOSEN_FIELDS * place + HYPOTHESIS, hypothesis)
    set_int(chosen, CHOSEN_FIELDS * place + CANDIDATE, candidate)
    return count


@inline
def _follow(task: Any, u: int, place: int, count: int) -> Any:
    """Add what comes of a chosen candidate to the next hypotheses, or to the one that stands at the same place."""
    keep_apart()
    chosen = g.of(task, g.CHOSEN) + 8 * CHOSEN_FIELDS * place
    score, c = get_double(chosen, SCORE), get_int(chosen, CANDIDATE)
    i = u * g.of(task, g.SIZE) + get_int(chosen, HYPOTHESIS)
    node, path = get_int(g.of(task, g.NODES), i), get_int(g.of(task, g.PATHS), i)
    time, repeats, added = get_int(g.of(task, g.TIMES), i), get_int(g.of(task, g.REPEATS), i), 0
    if c != KEPT:
        candidate = g.candidate_at(get_int(g.of(task, g.ENTRIES), i), c)
        token = get_int(candidate, g.CANDIDATE_TOKEN)
        duration = get_int(task[f.DURATION_TABLE], get_int(candidate, g.STEP))
        if token == task[f.BLANK]:
            time, repeats = time + max(duration, 1), 0
        else:
            node, added = _longer(task, u, node, token), candidate
            time, repeats = time + duration, 0 if duration > 0 else repeats + 1
    coming = g.of(task, g.NEXT)
    for other in range(count):
        at = coming + 8 * NEXT_FIELDS * other
        if get_int(at, NODE) == node and get_int(at, TIME) == time:
            set_double(at, SCORE, _log_add(get_double(at, SCORE), score))
            return count
    at = coming + 8 * NEXT_FIELDS * count
    set_double(at, SCORE, score)
    set_int(at, NODE, node)
    set_int(at, PATH, _new_path(task, u, i, path, added) if added != 0 else path)
    set_int(at, TIME, time)
    set_int(at, REPEATS, repeats)
    set_int(at, ADDED, added)
    return count + 1


@inline
def _log_add(a: float, b: float) -> Any:
    """Return log(exp(a) + exp(b))."""
    return max(a, b) + log1p(exp(-abs(a - b)))


@inline
def _longer(task: Any, u: int, node: int, label: int) -> Any:
    """Return the node of a label more."""
    at = g.node_at(task, u, node)
    child = get_int(at, g.CHILD)
    while child >= 0:
        child_at = g.node_at(task, u, child)
        if get_int(child_at, g.LABEL) == label:
            return child
        child = get_int(child_at, g.SIBLING)
    counts = g.of(task, g.TREE_COUNTS)
    child = get_int(counts, u)
    set_int(counts, u, child + 1)
    child_at = g.node_at(task, u, child)
    set_int(child_at, g.PREFIX, node)
    set_int(child_at, g.LABEL, label)
    set_int(child_at, g.CHILD, -1)
    set_int(child_at, g.SIBLING, get_int(at, g.CHILD))
    set_int(child_at, g.SLOT, -1)
    set_int(child_at, g.ENTRY, -1)
    set_int(at, g.CHILD, child)
    return child


@inline
def _new_path(task: Any, u: int, i: int, before: int, candidate: int) -> Any:
    """Write a label of hypothesis `i` down, and return the path that ends with it."""
    counts = g.of(task, g.WAY_COUNTS)
    path = get_int(counts, u)
    set_int(counts, u, path + 1)
    at, confidence = g.path_at(task, u, path), get_int(get_int(g.of(task, g.ENTRIES), i), g.CONFIDENCE)
    set_int(at, g.BEFORE, before)
    set_int(at, g.TOKEN, get_int(candidate, g.CANDIDATE_TOKEN))
    set_int(at, g.FRAME, get_int(g.of(task, g.TIMES), i))
    set_int(at, g.DURATION, get_int(task[f.DURATION_TABLE], get_int(candidate, g.STEP)))
    low = get_int(candidate, g.LOGPROB) & 0xFFFFFFFF
    set_int(at, g.FLOATS, low | confidence << 32)
    set_int(at, g.LENGTH, 1 if before < 0 else get_int(g.path_at(task, u, before), g.LENGTH) + 1)
    return path


@inline
def _settle(task: Any, u: int, count: int, emitted: int) -> Any:
    """Make the next hypotheses the utterance's own, and give slots to their nodes where they have none."""
    keep_apart()
    first, coming, turn = u * g.of(task, g.SIZE), g.of(task, g.NEXT), g.of(task, g.ROUND)
    set_int(g.of(task, g.LIVE), u, count)
    for h in range(count):
        at, i = coming + 8 * NEXT_FIELDS * h, first + h
        set_double(g.of(task, g.SCORES), i, get_double(at, SCORE))
        set_int(g.of(task, g.NODES), i, get_int(at, NODE))
        set_int(g.of(task, g.PATHS), i, get_int(at, PATH))
        set_int(g.of(task, g.TIMES), i, get_int(at, TIME))
        set_int(g.of(task, g.REPEATS), i, get_int(at, REPEATS))
        node = g.node_at(task, u, get_int(at, NODE))
        if get_int(node, g.SLOT) < 0:  # the prefix is needed: it was alive until now, and has its slot
            node = g.node_at(task, u, get_int(node, g.PREFIX))
        set_int(g.of(task, g.SLOT_ROUNDS), get_int(node, g.SLOT), turn)
    for h in range(count):
        place = get_int(coming + 8 * NEXT_FIELDS * h, NODE)
        node = g.node_at(task, u, place)
        if get_int(node, g.SLOT) < 0:
            slot = _free_slot(task, u)
            set_int(g.of(task, g.SLOT_NODES), slot, place)
            set_int(g.of(task, g.SLOT_ROUNDS), slot, turn)
            set_int(node, g.SLOT, slot)
            set_int(task[f.LABELS], slot, get_int(node, g.LABEL))
            set_int(task[f.SOURCES], slot, get_int(g.node_at(task, u, get_int(node, g.PREFIX)), g.SLOT))
            set_int(task[f.EMITTED], emitted, slot)
            emitted += 1
    return emitted


@inline
def _free_slot(task: Any, u: int) -> Any:
    """Return the slot that was not used for longest; its node forgets it."""
    count = g.of(task, g.SLOTS)
    rounds = g.of(task, g.SLOT_ROUNDS)
    best = u * count
    for slot in range(best + 1, (u + 1) * count):
        if get_int(rounds, slot) < get_int(rounds, best):
            best = slot
    node = get_int(g.of(task, g.SLOT_NODES), best)
    if node >= 0:
        set_int(g.node_at(task, u, node), g.SLOT, -1)
    return best
