"""Segments of a running recording, given out as soon as nothing that follows can change them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdt.stages import Hypothesis
from tdt.text.detokenizer import detokenizer
from tdt.text.transcript import Transcript, build, group_segments, group_words, refined_spans

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdt.spec import ModelSpec
    from tdt.text.confidence import ConfidenceLike

# Without a full stop for so long, a segment ends with the word that is complete.
LONGEST_SECONDS = 30.0


class Segmenter:
    """Turns final tokens into final segments.

    A segment ends as NeMo's do, after a word with a full stop, question or exclamation mark; in long audio it also ends
    where decoding starts afresh after a pause, and after 30 s.

    Parameters
    ----------
    spec : ModelSpec
    confidence : {"entropy", "max_prob"} or Confidence
    """

    def __init__(self, spec: ModelSpec, confidence: ConfidenceLike) -> None:
        self._spec = spec
        self._confidence: ConfidenceLike = confidence
        self._held = Hypothesis.empty()

    def add(self, tokens: Hypothesis, *, afresh: bool = False) -> Transcript | None:
        """Take the next tokens; return what has become final, if anything has.

        Parameters
        ----------
        tokens : Hypothesis
            Frames count from the start of the recording.
        afresh : bool
            A long pause lies before these tokens.
        """
        before = self._take(len(self._held)) if afresh else None
        self._held = Hypothesis.concatenate([self._held, tokens])
        now = self._take(self._final_tokens())
        parts = [made for made in (before, now) if made is not None]
        return merged(parts) if parts else None

    def add_block(
        self, steps: Sequence[tuple[Hypothesis, bool]], gaps: Sequence[tuple[int, int]] = ()
    ) -> Transcript | None:
        """Take the tokens of several windows, each with whether it starts afresh; return what has become final.

        Parameters
        ----------
        steps : sequence of (Hypothesis, bool)
        gaps : sequence of (int, int)
            First and last frame (exclusive) of speech without a token. They are told at once, with words or without.
        """
        made = [self.add(tokens, afresh=afresh) for tokens, afresh in steps]
        final = [transcript for transcript in made if transcript is not None]
        if not gaps:
            return merged(final) if final else None
        told = merged(final) if final else Transcript("", (), (), (), gaps[-1][1] * self._spec.frame_seconds)
        return told.with_gaps(gaps, self._spec)

    def flush(self) -> Transcript | None:
        """Return the rest."""
        return self._take(len(self._held))

    def _take(self, count: int) -> Transcript | None:
        if count == 0:
            return None
        final, self._held = self._held.part(0, count), self._held.part(count, len(self._held))
        end = float(final.frames[-1] + final.durations[-1]) * self._spec.frame_seconds
        return build(final, self._spec, audio_seconds=end, confidence=self._confidence)

    def _final_tokens(self) -> int:
        """Return how many of the tokens held belong to segments that are closed and followed by another word."""
        held = self._held
        if not len(held):
            return 0
        pieces = detokenizer(self._spec.pieces)
        ids = held.token_ids.tolist()
        words = group_words(ids, refined_spans(ids, held.frames.tolist(), held.durations.tolist(), pieces), pieces)
        segments = group_segments(words)
        count = segments[-2].last + 1 if len(segments) > 1 else 0
        first = segments[-1].first if segments else 0
        if (
            len(words) > 1
            and (int(held.frames[-1]) - int(held.frames[first])) * self._spec.frame_seconds > LONGEST_SECONDS
        ):
            count = max(count, words[-1].first)
        return count


def merged(parts: Sequence[Transcript], audio_seconds: float | None = None) -> Transcript:
    """Return consecutive transcripts as one.

    Parameters
    ----------
    parts : sequence of Transcript
        In order.
    audio_seconds : float, optional
        Length of the whole; that of the last part where not given.
    """
    if len(parts) == 1 and audio_seconds is None:
        return parts[0]
    last = parts[-1].audio_seconds if parts else 0.0
    return Transcript(
        text=" ".join(item.text for item in parts if item.text),
        tokens=tuple(token for item in parts for token in item.tokens),
        words=tuple(word for item in parts for word in item.words),
        segments=tuple(segment for item in parts for segment in item.segments),
        audio_seconds=last if audio_seconds is None else audio_seconds,
        logprobs=tuple(value for item in parts for value in item.logprobs),
        segment_sizes=tuple(size for item in parts for size in item.segment_sizes),
        gaps=tuple(gap for item in parts for gap in item.gaps),
    )
