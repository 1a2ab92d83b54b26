"""Subtitle cues: words gathered into lines that a viewer can read, broken where speech breaks."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tdt.text.transcript import Transcript, Word

# Common practice of broadcasters (two lines of 42 characters, at most 7 s, at least about one).
LINE_CHARACTERS = 42
CUE_LINES = 2
CUE_MS = 7000
SHORTEST_CUE_MS = 1000
FILM_FRAME_MS = 40  # what a cue lasts where there is no room for it at all
PAUSE_MS = 1000  # a silence of this length ends a cue

_SENTENCE_ENDS = (".", "?", "!", "…")
_CLAUSE_ENDS = (",", ";", ":")


class Cue(NamedTuple):
    """One subtitle: times in integer milliseconds, lines joined by a newline."""

    start_ms: int
    end_ms: int
    text: str


class _Piece(NamedTuple):
    """A word, or part of one too long for a line."""

    text: str
    start_ms: int
    end_ms: int


def cues(transcript: Transcript, after_ms: int = 0) -> list[Cue]:
    """Return the subtitle cues of a transcript.

    A cue ends with its sentence, before a pause of a second, and before it would hold more than two lines of 42
    characters or last longer than 7 s; where it is full, it is cut after the last comma of its second half, if there is
    one. Cues never overlap; short ones stay for a second where the next leaves room. One that takes no time, as a lone
    punctuation mark does, comes earlier where it cannot stay; a cue always lasts.

    Parameters
    ----------
    transcript : Transcript
    after_ms : int
        Where the last cue before these ends, for the parts of a running transcript.
    """
    pieces = list(_pieces(transcript.words))
    groups: list[list[_Piece]] = []
    held: list[_Piece] = []
    for piece in pieces:
        if held and _must_break(held, piece):
            groups.append(held)
            held = []
        while held and not _fits([*held, piece]):
            cut = _best_cut(held)
            groups.append(held[:cut])
            held = held[cut:]
        held.append(piece)
    if held:
        groups.append(held)
    return _timed(groups, after_ms=after_ms, limit_ms=_ms(transcript.audio_seconds))


def _pieces(words: Iterable[Word]) -> Iterator[_Piece]:
    latest_ms = 0
    for word in words:
        text = " ".join(word.text.split())
        parts = [text[at : at + LINE_CHARACTERS] for at in range(0, len(text), LINE_CHARACTERS)]
        start_ms = max(_ms(word.start), latest_ms)
        end_ms = max(_ms(word.end), start_ms)
        for index, part in enumerate(parts):
            step_ms = (end_ms - start_ms) / len(parts)
            yield _Piece(part, start_ms + round(step_ms * index), start_ms + round(step_ms * (index + 1)))
        latest_ms = end_ms


def _must_break(held: Sequence[_Piece], following: _Piece) -> bool:
    last = held[-1]
    return last.text.endswith(_SENTENCE_ENDS) or following.start_ms - last.end_ms >= PAUSE_MS


def _fits(pieces: Sequence[_Piece]) -> bool:
    return len(pieces) == 1 or (pieces[-1].end_ms - pieces[0].start_ms <= CUE_MS and len(_wrapped(pieces)) <= CUE_LINES)


def _wrapped(pieces: Sequence[_Piece]) -> list[str]:
    """Fill lines greedily; a piece is never longer than a line."""
    lines: list[str] = []
    for piece in pieces:
        if lines and len(lines[-1]) + 1 + len(piece.text) <= LINE_CHARACTERS:
            lines[-1] += " " + piece.text
        else:
            lines.append(piece.text)
    return lines


def _best_cut(pieces: Sequence[_Piece]) -> int:
    """Return how many pieces the cue keeps: up to the last clause end in its second half, else all."""
    half = (len(pieces) + 1) // 2
    for count in range(len(pieces), half - 1, -1):
        if pieces[count - 1].text.endswith(_CLAUSE_ENDS):
            return count
    return len(pieces)


def _balanced(pieces: Sequence[_Piece]) -> str:
    """Return the text on one line where it fits, else on two of most equal length."""
    text = " ".join(piece.text for piece in pieces)
    if len(text) <= LINE_CHARACTERS:
        return text
    splits = [at for at, character in enumerate(text) if character == " "]
    fitting = [at for at in splits if at <= LINE_CHARACTERS and len(text) - at - 1 <= LINE_CHARACTERS]
    best = min(fitting, key=lambda at: abs(2 * at - len(text)))
    return text[:best] + "\n" + text[best + 1 :]


def _timed(groups: Sequence[Sequence[_Piece]], *, after_ms: int, limit_ms: int) -> list[Cue]:
    """Give the groups their times; a short cue is drawn out to a second, up to the next cue or the end of the audio."""
    if not groups:
        return []
    starts = [group[0].start_ms for group in groups]
    ceilings = [following for _, following in pairwise(starts)] + [max(limit_ms, groups[-1][-1].end_ms)]
    timed: list[Cue] = []
    free_ms = after_ms
    for group, begun, ceiling in zip(groups, starts, ceilings, strict=True):
        start = max(begun, free_ms)
        end = max(group[-1].end_ms, min(start + SHORTEST_CUE_MS, ceiling))
        if end <= start:
            start = max(free_ms, end - SHORTEST_CUE_MS)
            end = max(end, start + FILM_FRAME_MS) if end <= start else end
        timed.append(Cue(start, end, _balanced(group)))
        free_ms = end
    return timed


def _ms(seconds: float) -> int:
    return max(round(seconds * 1000), 0)
