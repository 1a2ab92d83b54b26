"""Where speech holds no token, and how words that a second look found there take their place: pure decisions."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tdt.longform.activity import SURE
from tdt.longform.chunking import runs
from tdt.longform.seams import SEAM_TOLERANCE
from tdt.stages import Hypothesis
from tdt.text import Detokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Float32 = npt.NDArray[np.float32]

# Frames by which a neighbour's token may be heard later or earlier where it is not heard in its own place as well.
STRAY_FRAMES = 8
# Tokens on each side of a stretch that are looked at, so that none is put in twice.
NEIGHBOURS = 8
_LEAST_BEGINNING = 0.05  # of a vocabulary that parts words


class Words(NamedTuple):
    """Which tokens begin a word, and which are marks; all others go on the word in hand."""

    begin: frozenset[int]
    marks: frozenset[int]

    @classmethod
    @lru_cache(maxsize=8)
    def of(cls, pieces: tuple[str, ...]) -> Words:
        """Return those of a vocabulary; where next to no piece begins a word, as in Japanese, each is one."""
        texts = Detokenizer(pieces)
        marks = frozenset(token for token in range(len(pieces)) if texts.alone(token) in texts.punctuation)
        begin = frozenset(token for token in range(len(pieces)) if texts.starts_word(token)) - marks
        spaced = len(begin) >= _LEAST_BEGINNING * len(pieces)
        return cls(begin if spaced else frozenset(range(len(pieces))) - marks, marks)

    def go_on(self, token: int) -> bool:
        """Say whether a token belongs to the word before it."""
        return token not in self.begin and token not in self.marks


class Stretch(NamedTuple):
    """Encoder frames from `first` to `last` (exclusive)."""

    first: int
    last: int


class Addition(NamedTuple):
    """Tokens that belong before the token number `number`, in place of it and so many as `instead` says."""

    number: int
    instead: int
    tokens: Hypothesis


def token_free(tokens: Hypothesis, first: int, last: int, least: int) -> list[Stretch]:
    """Return the stretches of at least so many frames, between two frames, in which no token lies.

    Parameters
    ----------
    tokens : Hypothesis
        In order; each lies on the frame at which it was emitted and on those that it jumps over.
    first, last : int
        Frame.
    least : int
        Frames.
    """
    found = []
    at = first
    ends = tokens.frames + np.maximum(tokens.durations, 1)
    for begin, end in [*zip(tokens.frames.tolist(), ends.tolist(), strict=True), (last, last)]:
        stop = min(begin, last)
        if stop - at >= max(least, 1):
            found.append(Stretch(at, stop))
        at = max(at, end)
    return found


def sure_speech(speech: Float32, begin: int, bridged: int) -> list[Stretch]:
    """Return where there surely is speech, breaks of up to `bridged` frames included.

    Parameters
    ----------
    speech : ndarray [shape=(n,)], float32
        Probability of speech in each encoder frame.
    begin : int
        The first of these frames.
    bridged : int
        Frames.
    """
    found: list[Stretch] = []
    for start, stop in runs(speech >= SURE):
        if found and begin + start - found[-1].last <= bridged:
            found[-1] = Stretch(found[-1].first, begin + stop)
        else:
            found.append(Stretch(begin + start, begin + stop))
    return found


def within(free: Stretch, sure: Sequence[Stretch], least: int) -> list[Stretch]:
    """Return the parts of a stretch, of at least so many frames, that surely are speech."""
    parts = [Stretch(max(free.first, one.first), min(free.last, one.last)) for one in sure]
    return [part for part in parts if part.last - part.first >= least]


def grouped(stretches: Sequence[Stretch], apart: int, longest: int) -> list[Stretch]:
    """Return stretches up to `apart` frames from each other as one, long ones in parts: none above `longest` frames."""
    found: list[Stretch] = []
    for one in stretches:
        if found and one.first - found[-1].last <= apart and one.last - found[-1].first <= longest:
            found[-1] = Stretch(found[-1].first, one.last)
            continue
        length = one.last - one.first
        parts = -(-length // longest)
        edges = [one.first + length * part // parts for part in range(parts + 1)]
        found += [Stretch(first, last) for first, last in pairwise(edges)]
    return found


def fitting(before: Hypothesis, found: Hypothesis, after: Hypothesis, place: Stretch, words: Words) -> Hypothesis:
    """Return the tokens of a second look that belong into a stretch without any: whole words, none of them twice.

    Parameters
    ----------
    before, after : Hypothesis
        Tokens that stand around the stretch.
    found : Hypothesis
        Tokens of the look, its surroundings included.
    place : Stretch
    words : Words

    Returns
    -------
    Hypothesis
        Perhaps empty. Frames lie in the stretch; the last token ends where `after` begins at the latest, and is no mark
        where that begins with one.
    """
    ids, frames = found.token_ids.tolist(), found.frames.tolist()
    first = sum(frame < place.first for frame in frames)
    last = sum(frame < place.last for frame in frames)
    known = _same(before, len(before) - 1, found, first - 1, SEAM_TOLERANCE)
    doubled = _doubled(before, found, first, last, SEAM_TOLERANCE if known else STRAY_FRAMES, ahead=False)
    first += doubled
    # What goes on a word before is taken where that word was heard again: else it would go on another one.
    while not known and not doubled and first < last and ids[first] not in words.begin:
        first += 1
    known = _same(after, 0, found, last, SEAM_TOLERANCE)
    doubled = _doubled(after, found, first, last, SEAM_TOLERANCE if known else STRAY_FRAMES, ahead=True)
    last -= doubled
    if not known and not doubled and last < len(ids) and words.go_on(ids[last]):
        last = max((n for n in range(first, last) if ids[n] in words.begin), default=first)  # a word that is cut
    if last > first and ids[last - 1] in words.marks and len(after) and int(after.token_ids[0]) in words.marks:
        last -= 1
    if not any(token in words.begin for token in ids[first:last]):
        return Hypothesis.empty()
    return _ended(found.part(first, last), after)


def _same(standing: Hypothesis, i: int, found: Hypothesis, j: int, frames: int) -> bool:
    """Say whether two tokens are one: there, equal, and not further apart than so many frames."""
    if not (0 <= i < len(standing) and 0 <= j < len(found)):
        return False
    near = abs(int(standing.frames[i]) - int(found.frames[j])) <= frames
    return near and bool(standing.token_ids[i] == found.token_ids[j])


def _doubled(standing: Hypothesis, found: Hypothesis, first: int, last: int, frames: int, *, ahead: bool) -> int:
    """Return how many of the tokens from `first` to `last` stand already: the first of these, or `ahead` the last."""
    for count in range(min(len(standing), last - first), 0, -1):
        i, j = (0, last - count) if ahead else (len(standing) - count, first)
        if all(_same(standing, i + n, found, j + n, frames) for n in range(count)):
            return count
    return 0


def _ended(taken: Hypothesis, after: Hypothesis) -> Hypothesis:
    durations = taken.durations.copy()
    if len(after):
        durations[-1] = min(int(durations[-1]), int(after.frames[0]) - int(taken.frames[-1]))
    return replace(taken, durations=durations)


def orphans(after: Hypothesis, words: Words) -> int:
    """Return how many tokens at the start go on a word that is not there; none where no word begins after them."""
    for number, token in enumerate(after.token_ids.tolist()):
        if not words.go_on(token):
            return number
    return 0


def put_in(tokens: Hypothesis, additions: Sequence[Addition]) -> Hypothesis:
    """Return tokens with others put in, in order."""
    parts, at = [], 0
    for number, instead, added in additions:
        parts += [tokens.part(at, number), added]
        at = number + instead
    return Hypothesis.concatenate([*parts, tokens.part(at, len(tokens))]) if additions else tokens
