"""What a live stream tells: values, and nothing else that users see of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

UpdateKind = Literal["partial", "final", "speech", "silence"]


@dataclass(frozen=True, slots=True)
class LiveWord:
    """A word of the running utterance.

    Parameters
    ----------
    text : str
    start, end : float
        Seconds from the start of the stream.
    confidence : float
        The least of its tokens', in 0..1.
    settled : bool
        Whether it stays as it is; a word that is not may change, or vanish.
    """

    text: str
    start: float
    end: float
    confidence: float
    settled: bool


@dataclass(frozen=True, slots=True)
class Update:
    """Something that has become known of a stream.

    Parameters
    ----------
    kind : {"partial", "final", "speech", "silence"}
        "speech": an utterance begins. "partial": its text has changed. "final": it is closed, and will never change.
        "silence": nobody speaks any more.
    final : str
        Settled words of the utterance. Within one it only grows.
    draft : str
        What follows them and may still change, with the space before it: the utterance reads `final + draft`. Empty in
        a final update.
    words : tuple of LiveWord
        Those of both, in order.
    start, end : float
        Seconds from the start of the stream at which the utterance begins, and at which its last word ends.
    audio_seconds : float
        How much of the stream had been heard.
    """

    kind: UpdateKind
    final: str
    draft: str
    words: tuple[LiveWord, ...]
    start: float
    end: float
    audio_seconds: float
