"""Where an utterance ends, and where decoding starts afresh: rules as values, and pure functions of frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdt.stages import Hypothesis

# What lies before a token: the inside of a word, the end of one, the end of a sentence; and the end of what is known.
Boundary = Literal["word part", "word", "sentence"]
_ORDER = {"word part": 0, "word": 1, "sentence": 2}

# An utterance longer than this is closed at the next end of a sentence; one of twice the length at the end of a word,
# since some models write no full stops.
LONGEST_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class EndRule:
    """What closes an utterance; all of it must hold.

    Parameters
    ----------
    name : str
    frames : int
        The utterance is at least so long.
    silent_frames : int
        At least so many frames without a token lie behind it.
    at : {"word part", "word", "sentence"}
        What must have ended, at least.
    """

    name: str
    frames: int = 0
    silent_frames: int = 0
    at: Boundary = "word part"


def usual_rules(end_of_speech_frames: int | None, frame_seconds: float) -> tuple[EndRule, ...]:
    """Return the rules of a stream: silence, where it ends an utterance at all, and length."""
    longest = round(LONGEST_SECONDS / frame_seconds)
    rules = (EndRule("sentence", longest, at="sentence"), EndRule("length", 2 * longest, at="word"))
    return rules if end_of_speech_frames is None else (EndRule("silence", 0, end_of_speech_frames), *rules)


def fired(rules: Sequence[EndRule], frames: int, silent_frames: int, boundary: Boundary) -> EndRule | None:
    """Return the first rule that closes an utterance, or None.

    Parameters
    ----------
    rules : sequence of EndRule
    frames : int
        From the utterance's first token to the end of its last.
    silent_frames : int
        From there on without a token.
    boundary : {"word part", "word", "sentence"}
        What has ended with its last token.
    """
    for rule in rules:
        if frames >= rule.frames and silent_frames >= rule.silent_frames and _ORDER[boundary] >= _ORDER[rule.at]:
            return rule
    return None


class Pause(NamedTuple):
    """A pause that is long enough: tokens before it, and the frame at which it has lasted so long."""

    tokens: int
    frame: int


def first_pause(spoken: Hypothesis, spoken_end: int | None, end: int, pause_frames: int) -> Pause | None:
    """Return the first pause of so many frames without a token.

    Parameters
    ----------
    spoken : Hypothesis
        Tokens of a piece; frames count from the start of the stream.
    spoken_end : int or None
        Frame at which the last token before the piece ended; None where no pause counts until a token comes.
    end : int
        Frame at which the piece ends.
    pause_frames : int
    """
    ends = (spoken.frames + spoken.durations).tolist()
    starts = [*spoken.frames.tolist(), end]
    for index, start in enumerate(starts):
        before = ends[index - 1] if index else spoken_end
        if before is not None and start - before >= pause_frames:
            return Pause(index, before + pause_frames)
    return None


def spoken_until(spoken: Hypothesis, spoken_end: int | None) -> int | None:
    """Return the frame at which the last token ended, with those of a piece."""
    return int(np.int64(spoken.frames[-1]) + spoken.durations[-1]) if len(spoken) else spoken_end
