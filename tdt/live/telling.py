"""From utterances to updates: what is told of a stream, in order, and never twice."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tdt.live.states import Course, Event
from tdt.live.updates import LiveWord, Update
from tdt.stages import Hypothesis
from tdt.text import build

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tdt.live.settling import Closed, Running
    from tdt.spec import ModelSpec
    from tdt.text import ConfidenceLike, Transcript


class Teller:
    """Tells what has changed.

    Parameters
    ----------
    spec : ModelSpec
    confidence : {"entropy", "max_prob"} or Confidence
    course : Course
        The stream's state: tokens bring it into speech, silence out of it.
    """

    def __init__(self, spec: ModelSpec, confidence: ConfidenceLike, course: Course) -> None:
        self._spec, self._confidence, self._course = spec, confidence, course
        self._told: Update | None = None  # the latest partial of the running utterance
        self._end = 0.0  # of the last word
        self.left_pad = 0.0  # seconds of zeros before a stream shorter than a second

    def tell(self, closed: Sequence[Closed], running: Running, audio_seconds: float) -> list[Update]:
        """Return the updates that a step gives.

        Parameters
        ----------
        closed : sequence of Closed
            Utterances that it closes, the one that was running first.
        running : Running
            What it leaves open.
        audio_seconds : float
            How much of the stream has been heard.
        """
        updates: list[Update] = []
        for utterance in closed:
            updates += self._final(utterance, audio_seconds)
        whole = self.transcript(Hypothesis.concatenate([running.tokens, running.draft]), audio_seconds)
        if not whole.text.strip():
            return updates + self._silence(audio_seconds)
        updates += self._speech(whole, audio_seconds)
        settled = self.transcript(running.tokens.part(0, running.settled), audio_seconds)
        partial = _update(whole, settled, audio_seconds)
        if self._told is None or replace(self._told, audio_seconds=audio_seconds) != partial:
            updates.append(partial)
            self._told = partial
        return updates

    def transcript(self, tokens: Hypothesis, audio_seconds: float) -> Transcript:
        """Return the transcript of some tokens; times count from the start of the stream."""
        return build(
            tokens,
            self._spec,
            audio_seconds=audio_seconds,
            confidence=self._confidence,
            left_pad=self.left_pad,
            clamp=self.left_pad > 0,
        )

    def _final(self, utterance: Closed, audio_seconds: float) -> list[Update]:
        whole = self.transcript(utterance.tokens, audio_seconds)
        if not whole.text.strip():
            return []
        spoken = self._speech(whole, audio_seconds)
        final = replace(_update(whole, whole, audio_seconds), kind="final")
        self._told, self._end = None, final.end
        silence = self._silence(audio_seconds) if utterance.rule == "silence" else []
        return [*spoken, final, *silence]

    def _speech(self, whole: Transcript, audio_seconds: float) -> list[Update]:
        start = whole.words[0].start
        return [Update("speech", "", "", (), start, start, audio_seconds)] if self._course.go(Event.TOKENS) else []

    def _silence(self, audio_seconds: float) -> list[Update]:
        self._told = None
        if not self._course.go(Event.SILENCE):
            return []
        return [Update("silence", "", "", (), self._end, self._end, audio_seconds)]


def _update(whole: Transcript, settled: Transcript, audio_seconds: float) -> Update:
    """Return a partial update of an utterance whose first words are settled."""
    count = len(settled.words)
    words = tuple(
        LiveWord(word.text, word.start, word.end, word.confidence, number < count)
        for number, word in enumerate(whole.words)
    )
    draft = whole.text[len(settled.text) :]
    return Update("partial", settled.text, draft, words, words[0].start, words[-1].end, audio_seconds)
